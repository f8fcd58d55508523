from __future__ import annotations

import json
import math
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.errors import BadInput, MissingExtra, ModelError, NotFound, UnreadableSource
from pinyon.measure.registry import MEASURES, NOWHERE, SUBJECTS, Places, check, measure_called, subject_called
from pinyon.measure.subject import Passage, Subject
from pinyon.measure.subjects import (
    BM25,
    Dense,
    FullContext,
    Hybrid,
    LastTokens,
    PinyonMemory,
    Random,
    Rival,
    Server,
    read_description,
)
from pinyon.measure.subjects.shown import introduced
from pinyon.testing import HashEmbedder

PASSAGES = (
    Passage("1", "I keep bees behind the old mill.", "Ann", datetime(2024, 5, 1, tzinfo=UTC), "session 1"),
    Passage("2", "The spare key hangs in the shed.", "Tom", datetime(2024, 5, 1, tzinfo=UTC), "session 1"),
    Passage("3", "We moved to Lisbon in the spring.", "Ann", datetime(2024, 6, 2, tzinfo=UTC), "session 2"),
    Passage("4", "The dentist said that the tooth must go.", "Tom", datetime(2024, 6, 2, tzinfo=UTC), "session 2"),
)
OTHER = (Passage("9", "Somebody else keeps bees on a roof.", "Eve"),)
QUESTION = "Where are the bees?"

RIVAL = """
def version():
    return "1.2"

def prepare():
    print("a library says something")

def open_store(folder, embed, dimensions):
    (folder / "file").write_bytes(b"12345")
    return Store(embed)

class Store:
    def __init__(self, embed):
        self.embed, self.rows = embed, {}

    def add(self, space, passages):
        for passage, row in zip(passages, self.embed([p["shown"] for p in passages])):
            if "crash" in passage["text"]:
                raise SystemExit("I crash")
            if "refuse" in passage["text"]:
                raise ValueError("I refuse")
            self.rows.setdefault(space, []).append((passage["id"], row))

    def search(self, space, question, k):
        query = self.embed([question])[0]
        found = [(id, sum(a * b for a, b in zip(row, query))) for id, row in self.rows.get(space, [])]
        return sorted(found, key=lambda pair: -pair[1])[:k]
"""

MCP = """
import json, sys
held = []
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
    else:
        given = message["params"]["arguments"]
        if message["params"]["name"] == "keep":
            held.append(given["what"])
            result = {"content": [{"type": "text", "text": "kept"}]}
        elif message["params"]["name"] == "look":
            words = set(given["what"].lower().replace("?", "").split())
            ranked = sorted(held, key=lambda text: -len(words & set(text.lower().rstrip(".").split())))
            found = {"found": [{"memory": text} for text in ranked[: given["most"]]]}
            result = {"content": [{"type": "text", "text": json.dumps(found)}]}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "double.py"
    path.write_text(RIVAL, encoding="utf-8")
    return path


@pytest.fixture(params=["pinyon", "full", "last", "bm25", "dense", "hybrid", "random", "rival"])
def subject(request: pytest.FixtureRequest, tmp_path: Path, script: Path) -> Iterator[Subject]:
    made: Subject
    if request.param == "rival":
        made = Rival("double", Path(sys.executable), tmp_path / "store", embedder=HashEmbedder(), script=script)
    elif request.param == "pinyon":
        made = PinyonMemory(tmp_path, embedder=HashEmbedder())
    else:
        made = subject_called(request.param, tmp_path / "store", NOWHERE)
    yield made
    made.close()


def test_every_subject_keeps_spaces_apart_and_gives_each_passage_once(subject: Subject) -> None:
    subject.add("a", PASSAGES[:2])
    subject.add("b", OTHER)
    subject.add("a", PASSAGES[2:])
    found = [hit.id for hit in subject.search("a", QUESTION, 10)]
    assert set(found) <= {"1", "2", "3", "4"}
    assert len(found) == len(set(found)) > 0
    assert len(subject.search("a", QUESTION, 2)) <= 2
    assert [hit.score for hit in subject.search("a", QUESTION, 4)] == sorted(
        (hit.score for hit in subject.search("a", QUESTION, 4)), reverse=True
    )


def test_every_subject_recalls_within_its_budget_what_it_says_it_does(subject: Subject) -> None:
    subject.add("a", PASSAGES)
    context = subject.recall("a", QUESTION, 45)
    if subject.name != "full context":
        assert context.tokens <= 45
    assert context.ids
    for passage in PASSAGES:
        assert (passage.text in context.text) == (passage.id in context.ids)


def test_every_subject_tells_what_it_holds(subject: Subject) -> None:
    subject.add("a", PASSAGES)
    held = subject.footprint()
    assert held.memory_bytes >= 0
    assert (held.disk_bytes > 0) == (subject.name in ("pinyon", "double"))


def test_the_controls_that_look_at_words_find_them() -> None:
    for control in (BM25(), Dense(), Hybrid()):
        control.add("a", PASSAGES)
        assert control.search("a", QUESTION, 1)[0].id == "1"


def test_the_last_tokens_are_the_last_and_the_whole_is_whole() -> None:
    last, full = LastTokens(), FullContext()
    for control in (last, full):
        control.add("a", PASSAGES)
    assert [hit.id for hit in last.search("a", QUESTION, 2)] == ["4", "3"]
    assert full.recall("a", QUESTION, 1).ids == ("1", "2", "3", "4")


def test_chance_depends_on_seed_and_question_alone() -> None:
    many = [Passage(str(number), f"text {number}") for number in range(50)]

    def drawn(seed: int, question: str) -> list[str]:
        control = Random(seed)
        control.add("a", many)
        return [hit.id for hit in control.search("a", question, 50)]

    assert drawn(1, "x") == drawn(1, "x")
    assert drawn(1, "x") != drawn(2, "x")
    assert drawn(1, "x") != drawn(1, "y")


def test_an_id_is_taken_once() -> None:
    control = BM25()
    control.add("a", PASSAGES)
    with pytest.raises(BadInput, match="holds a passage '1' already"):
        control.add("a", PASSAGES[:1])


words = st.lists(st.sampled_from("bee mill key shed moon river stone".split()), min_size=1, max_size=8).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(words, min_size=1, max_size=12), words)
def test_bm25_is_its_formula(texts: list[str], question: str) -> None:
    control = BM25(k1=1.5, b=0.6)
    control.add("a", [Passage(str(place), text) for place, text in enumerate(texts)])
    split = [control.terms(text) for text in texts]
    mean = sum(map(len, split)) / len(split)
    for place, score in enumerate(control.scores("a", question)):
        wanted = 0.0
        for term in control.terms(question):
            holding = sum(term in terms for terms in split)
            weight = math.log(1 + (len(split) - holding + 0.5) / (holding + 0.5))
            count = Counter(split[place])[term]
            wanted += weight * count * 2.5 / (count + 1.5 * (1 - 0.6 + 0.6 * len(split[place]) / mean))
        assert score == pytest.approx(wanted)


def test_fusion_adds_the_reciprocal_ranks_of_both_legs() -> None:
    bm25, dense, hybrid = BM25(), Dense(), Hybrid()
    for control in (bm25, dense, hybrid):
        control.add("a", PASSAGES)
    ranks = [{hit.id: place for place, hit in enumerate(c.search("a", QUESTION, 4), 1)} for c in (bm25, dense)]
    for hit in hybrid.search("a", QUESTION, 4):
        assert hit.score == pytest.approx(sum(1 / (60 + rank[hit.id]) for rank in ranks))


def test_pinyon_finds_and_quotes_without_the_numbers_of_citations(tmp_path: Path) -> None:
    memory = PinyonMemory(tmp_path)
    memory.add("a", PASSAGES)
    memory.add("a", [Passage("5", "The ferry leaves at nine.")])  # neither speaker nor role: a note
    assert memory.search("a", QUESTION, 1)[0].id == "1"
    assert memory.search("a", "When does the ferry leave?", 1)[0].id == "5"
    answer = memory.ask("a", "When does the ferry leave?")
    assert answer is not None
    assert "nine" in answer
    assert "[1]" not in answer
    memory.close()


# --- rivals --------------------------------------------------------------------------------------------------------


def test_a_rival_gets_the_same_vectors_as_everybody(script: Path, tmp_path: Path) -> None:
    rival = Rival("double", Path(sys.executable), tmp_path / "store", script=script)
    dense = Dense()
    for one in (rival, dense):
        one.add("a", PASSAGES)
    for theirs, ours in zip(rival.search("a", QUESTION, 4), dense.search("a", QUESTION, 4), strict=True):
        assert (theirs.id, theirs.score) == (ours.id, pytest.approx(ours.score, abs=1e-5))
    assert rival.version == "1.2"
    assert rival.footprint().disk_bytes == 5
    rival.close()


def test_what_a_rival_says_reaches_whoever_asked(script: Path, tmp_path: Path) -> None:
    rival = Rival("double", Path(sys.executable), tmp_path / "store", embedder=HashEmbedder(), script=script)
    with pytest.raises(ModelError, match="double: ValueError: I refuse"):
        rival.add("a", [Passage("1", "please refuse this")])
    rival.add("a", PASSAGES[1:])  # it lives on
    with pytest.raises(ModelError, match="double has ended: I crash"):
        rival.add("a", [Passage("8", "please crash now")])
    rival.close()


def test_a_rival_without_an_environment_is_named_with_the_way_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"python benchmarks/rivals.py mem0"):
        subject_called("mem0", tmp_path / "x", Places(rivals=tmp_path))
    with pytest.raises(BadInput, match="--rivals"):
        check((), ("mem0",), NOWHERE)


# --- servers -------------------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    held: dict[str, list[dict[str, str]]]

    def do_POST(self) -> None:
        given_ = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        here = self.held.setdefault(given_["user"], [])
        if self.path == "/add":
            here.append({"ref": given_["ref"], "text": given_["text"]})
            self._answer(200, {"ok": True})
        elif self.path == "/find" and self.headers["X-Key"] == "secret":
            asked = set(given_["q"].lower().strip("?").split())
            scored = [(len(asked & set(one["text"].lower().rstrip(".").split())), one) for one in here]
            scored.sort(key=lambda pair: -pair[0])
            hits = [{"meta": {"ref": one["ref"]}, "points": points} for points, one in scored[: given_["top"]]]
            self._answer(200, {"data": {"hits": hits}})
        else:
            self._answer(403, {})

    def _answer(self, code: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    handler = type("Handler", (_Handler,), {"held": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


HTTP = """
name = "double over HTTP"
kind = "http"
address = "{address}"
hits = "data.hits"
id = "meta.ref"
score = "points"
headers = {{ X-Key = "{key}" }}

[add]
to = "/add"
body = {{ user = "{{space}}", ref = "{{id}}", text = "{{text}}" }}

[search]
to = "/find"
body = {{ user = "{{space}}", q = "{{question}}", top = "{{k}}" }}
"""


def test_a_server_behind_http_is_a_subject(address: str, tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(HTTP.format(address=address, key="secret"), encoding="utf-8")
    server = subject_called(str(path), tmp_path / "x", NOWHERE)
    server.add("a", [*PASSAGES, Passage("5", "braces {space} and {k} stay as they are")])
    server.add("b", OTHER)
    assert server.name == "double over HTTP"
    assert server.search("a", "keep bees", 2)[0].id == "1"
    assert server.search("a", "braces {space} stay", 1)[0].id == "5"
    assert server.recall("a", "keep bees", 30).ids == ("1",)
    assert server.ask("a", "keep bees") is None
    server.close()


def test_a_server_that_refuses_is_told_with_its_code(address: str, tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(HTTP.format(address=address, key="wrong"), encoding="utf-8")
    server = Server(read_description(path))
    server.add("a", PASSAGES)
    with pytest.raises(ModelError, match="answered 403 to POST /find"):
        server.search("a", QUESTION, 2)


def test_a_server_behind_mcp_is_a_subject(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(MCP, encoding="utf-8")
    path = tmp_path / "server.toml"
    command = json.dumps(f"'{sys.executable}' '{tmp_path / 'server.py'}'")
    path.write_text(
        f'name = "double over MCP"\nkind = "mcp"\naddress = {command}\nhits = "found"\ntext = "memory"\n'
        '[add]\nto = "keep"\nbody = { what = "{text}" }\n'
        '[search]\nto = "look"\nbody = { what = "{question}", most = "{k}" }\n',
        encoding="utf-8",
    )
    server = Server(read_description(path))
    server.add("a", PASSAGES)
    assert server.search("a", "who moved to lisbon", 2)[0].id == "3"
    server.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [("kind = 'ftp'\n[add]\n[search]", "kind is 'ftp'"), ("kind = 'http'", "'add'"), ("=", "Invalid")],
)
def test_a_description_that_lacks_something_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableSource, match=said):
        read_description(path)


# --- names ---------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_one_word() -> None:
    for table in (MEASURES, SUBJECTS):
        names = [known.name for known in table]
        assert len(set(names)) == len(names)
        assert all(" " not in name for name in names)


def test_a_name_that_is_not_known_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no measure 'lokomo'"):
        measure_called("lokomo", NOWHERE)
    with pytest.raises(NotFound, match="pinyon, pinyon-bm25"):
        subject_called("pinion", tmp_path, NOWHERE)
    with pytest.raises(NotFound, match=r"defines no 'Nobody'"):
        subject_called(f"{Path(__file__).with_name('doubles.py')}:Nobody", tmp_path, NOWHERE)
    with pytest.raises(NotFound, match=r"no file 'nowhere.py'"):
        subject_called("nowhere.py:Good", tmp_path, NOWHERE)


def test_passages_are_shown_with_day_session_and_speaker() -> None:
    assert introduced(PASSAGES[0]) == "[1 May 2024, session 1] Ann: I keep bees behind the old mill."
    assert introduced(Passage("1", "x", role="user")) == "user: x"
    assert introduced(Passage("1", "x")) == "x"
