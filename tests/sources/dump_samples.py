"""Dumps in the shapes that other memories give, with words of our own."""

from __future__ import annotations

from pinyon.core.payload import Json

WHEN = "2024-05-02T10:00:00+00:00"
LATER = "2024-08-01T00:00:00Z"

MEM0: dict[str, Json] = {
    "results": [
        {
            "id": "6f1f0c7e-0000-4000-8000-000000000001",
            "memory": "Ann moved to Bergen.",
            "hash": "d41d8cd9",
            "metadata": {"topic": "home", "event_date": "2024-05-01"},
            "categories": ["places"],
            "created_at": WHEN,
            "updated_at": LATER,
            "user_id": "ann",
            "actor_id": "Ann",
            "role": "user",
        },
        {
            "id": "6f1f0c7e-0000-4000-8000-000000000002",
            "memory": "The cellar is flooded.",
            "hash": "e41d8cd9",
            "metadata": None,
            "created_at": WHEN,
            "updated_at": None,
            "user_id": "ann",
            "expiration_date": "2024-06-01",
        },
    ],
    "relations": [{"source": "ann", "relationship": "lives_in", "target": "bergen"}],
}

LETTA: dict[str, Json] = {
    "agents": [
        {
            "id": "agent-0",
            "name": "Sam",
            "agent_type": "letta_v1_agent",
            "block_ids": ["block-0"],
            "messages": [
                {"id": "message-0", "role": "system", "content": [{"type": "text", "text": "You are Sam."}]},
                {
                    "id": "message-1",
                    "role": "user",
                    "name": "Ann",
                    "content": [{"type": "text", "text": "My cat is called Ludo."}],
                    "created_at": WHEN,
                    "tool_calls": None,
                },
                {
                    "id": "message-2",
                    "role": "assistant",
                    "content": [
                        {"type": "reasoning", "reasoning": "A cat.", "is_native": True},
                        {"type": "text", "text": "A fine name."},
                    ],
                    "created_at": WHEN,
                },
            ],
        }
    ],
    "groups": [],
    "blocks": [
        {"id": "block-0", "label": "human", "value": "Ann studies lichens.", "limit": 5000},
        {"id": "block-1", "label": "empty", "value": "", "limit": 5000},
    ],
    "files": [{"id": "file-0", "file_name": "a.txt", "content": "Rent is due on Fridays."}],
    "sources": [],
    "tools": [],
    "mcp_servers": [],
}

LETTA_EARLIER: dict[str, Json] = {
    "agent_type": "memgpt_agent",
    "name": "Old Sam",
    "core_memory": [{"label": "persona", "value": "I am Sam.", "created_at": WHEN}],
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "prompt"}], "created_at": WHEN},
        {
            "role": "user",
            "content": [{"type": "text", "text": '{"type": "user_message", "message": "I row.", "time": "noon"}'}],
            "created_at": WHEN,
        },
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Thinking about rowing."}],
            "tool_calls": [
                {"id": "call-1", "function": {"name": "send_message", "arguments": '{"message": "Which boat?"}'}}
            ],
            "created_at": WHEN,
        },
        {"role": "tool", "tool_call_id": "call-1", "content": [{"type": "text", "text": '{"status": "OK"}'}]},
        {"role": "user", "content": [{"type": "text", "text": '{"type": "heartbeat", "reason": "timer"}'}]},
    ],
}

PASSAGES: list[Json] = [
    {
        "id": "passage-6f1f0c7e-0000-4000-8000-000000000003",
        "text": "Ann's boat is called Petrel.",
        "archive_id": "archive-1",
        "created_at": WHEN,
        "tags": ["boats"],
        "metadata": {"page": 3},
        "embedding": [0.5, 0.25],
    }
]

GRAPHITI: dict[str, Json] = {
    "edges": [
        {
            "uuid": "e1",
            "group_id": "ann",
            "source_node_uuid": "n1",
            "target_node_uuid": "n2",
            "created_at": WHEN,
            "name": "LIVES_IN",
            "fact": "Ann lives in Oslo.",
            "fact_embedding": [0.5],
            "episodes": ["p1"],
            "valid_at": "2020-01-01T00:00:00Z",
            "invalid_at": "2024-05-01T00:00:00Z",
            "expired_at": WHEN,
            "attributes": {"street": "Pilestredet"},
        },
        {
            "uuid": "e2",
            "group_id": "ann",
            "source_node_uuid": "n1",
            "target_node_uuid": "n3",
            "created_at": WHEN,
            "name": "LIVES_IN",
            "fact": "Ann lives in Bergen.",
            "episodes": ["p1"],
            "valid_at": "2024-05-01T00:00:00Z",
            "invalid_at": None,
            "expired_at": None,
            "attributes": {},
        },
        {
            "uuid": "e3",
            "group_id": "ann",
            "source_node_uuid": "n1",
            "target_node_uuid": "n4",
            "created_at": WHEN,
            "name": "RENTS",
            "fact": "Ann rents the mill.",
            "episodes": [],
            "valid_at": "2024-05-01T00:00:00Z",
            "invalid_at": "2099-01-01T00:00:00Z",
            "expired_at": None,
            "attributes": {},
        },
    ],
    "nodes": [
        {
            "uuid": "n1",
            "name": "Ann",
            "group_id": "ann",
            "labels": ["Entity"],
            "created_at": WHEN,
            "summary": "Keeps bees.",
            "attributes": {},
        }
    ],
    "episodes": [
        {
            "uuid": "p1",
            "name": "chat",
            "group_id": "ann",
            "labels": [],
            "created_at": WHEN,
            "source": "message",
            "source_description": "chat",
            "content": "Ann: I moved to Bergen yesterday.",
            "valid_at": "2024-05-02T09:00:00Z",
            "entity_edges": ["e2"],
        }
    ],
}

ZEP: list[Json] = [
    {
        "uuid": "z1",
        "fact": "Bo plays the cello.",
        "name": "PLAYS",
        "source_node_uuid": "b1",
        "target_node_uuid": "b2",
        "created_at": WHEN,
    },
    {
        "uuid": "z2",
        "fact": "Bo plays the viola.",
        "name": "PLAYS",
        "source_node_uuid": "b1",
        "target_node_uuid": "b3",
        "created_at": WHEN,
        "expired_at": LATER,
    },
]

ZEP_MESSAGES: dict[str, Json] = {
    "session_id": "s1",
    "messages": [
        {"uuid": "m1", "role": "Bo", "role_type": "user", "content": "The cello is old.", "created_at": WHEN},
        {"uuid": "m2", "role": "Helper", "role_type": "assistant", "content": "How old?", "created_at": WHEN},
    ],
}

LANGGRAPH: list[Json] = [
    {
        "namespace": ["memories", "ann"],
        "key": "a1",
        "value": {"text": "Ann keeps bees.", "topic": "garden"},
        "created_at": WHEN,
        "updated_at": LATER,
        "score": None,
    },
    {
        "namespace": ["memories", "ann"],
        "key": "a2",
        "value": {"kind": "Memory", "content": {"content": "Ann prefers tea."}},
        "created_at": WHEN,
        "updated_at": WHEN,
    },
    {"namespace": ["profile"], "key": "ann", "value": {"name": "Ann", "age": 40}, "created_at": WHEN},
]

MEMOS: dict[str, Json] = {
    "nodes": [
        {
            "id": "6f1f0c7e-0000-4000-8000-000000000005",
            "memory": "Ann has two hives.",
            "metadata": {
                "user_id": "ann",
                "status": "activated",
                "type": "fact",
                "memory_type": "LongTermMemory",
                "key": "hives",
                "tags": ["bees"],
                "sources": [{"type": "chat", "role": "user", "content": "two hives now"}],
                "version": 2,
                "history": [
                    {"version": 1, "memory": "Ann has one hive.", "created_at": WHEN, "archived_memory_id": None}
                ],
                "created_at": WHEN,
                "updated_at": LATER,
            },
        },
        {
            "id": "6f1f0c7e-0000-4000-8000-000000000006",
            "memory": "Ann has no garden.",
            "metadata": {"status": "archived", "memory_type": "LongTermMemory", "updated_at": LATER},
        },
    ],
    "edges": [
        {
            "source": "6f1f0c7e-0000-4000-8000-000000000005",
            "target": "6f1f0c7e-0000-4000-8000-000000000006",
            "type": "MERGED_TO",
        }
    ],
    "total_nodes": 2,
    "total_edges": 1,
}

MEMOS_POINTS: list[Json] = [
    {"id": "6f1f0c7e-0000-4000-8000-000000000005", "vector": [0.5, 0.25], "payload": node}
    for node in (MEMOS["nodes"] if isinstance(MEMOS["nodes"], list) else [])
]

MEMOS_SETTINGS: dict[str, Json] = {
    "model_schema": "memos.configs.mem_cube.GeneralMemCubeConfig",
    "user_id": "ann",
    "cube_id": "c1",
    "config_filename": "config.json",
    "text_mem": {"backend": "general_text", "config": {"extractor_llm": {"api_key": "s3cret"}}},
    "act_mem": {"backend": "uninitialized", "config": {}},
    "para_mem": {"backend": "uninitialized", "config": {}},
}

CHROMA: dict[str, Json] = {
    "ids": ["c1", "c2"],
    "embeddings": None,
    "documents": ["Ann's bread needs two days.", None],
    "metadatas": [{"topic": "bread", "date": "2023-01-02"}, None],
    "uris": None,
    "data": None,
    "included": ["documents", "metadatas"],
}

QDRANT: dict[str, Json] = {
    "result": {
        "points": [{"id": 7, "payload": {"text": "Ann paints doors green.", "room": "hall"}, "vector": [0.5]}],
        "next_page_offset": None,
    },
    "status": "ok",
    "time": 0.01,
}

ALL: dict[str, tuple[str, Json]] = {
    "mem0": ("mem0", MEM0),
    "mem0 list": ("mem0", MEM0["results"]),
    "mem0 by user": ("mem0", {"ann": MEM0, "bo": {"results": []}}),
    "letta": ("letta", LETTA),
    "letta earlier": ("letta", LETTA_EARLIER),
    "letta passages": ("letta", PASSAGES),
    "letta passages held": ("letta", {"passages": PASSAGES}),
    "graphiti": ("graphiti", GRAPHITI),
    "graphiti edges": ("graphiti", GRAPHITI["edges"]),
    "zep": ("zep", ZEP),
    "zep messages": ("zep", ZEP_MESSAGES),
    "zep threads": ("zep", [ZEP_MESSAGES]),
    "langgraph": ("langgraph", LANGGRAPH),
    "langgraph held": ("langgraph", {"items": LANGGRAPH}),
    "memos": ("memos", MEMOS),
    "memos list": ("memos", MEMOS["nodes"]),
    "memos points": ("memos", MEMOS_POINTS),
    "memos cube": ("memos", {"text_mem": [{"cube_id": "c1", "memories": MEMOS["nodes"]}], "act_mem": []}),
    "chroma": ("chroma", CHROMA),
    "qdrant": ("qdrant", QDRANT),
    "qdrant points": ("qdrant", {"points": [{"id": 7, "payload": {"text": "Ann paints doors green."}}]}),
}
"""Every form: the name of the system, and the dump."""
