"""Measures whose answers, verdicts and memories come from a model behind an endpoint."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pinyon.errors import PinyonError
from pinyon.measure.desk import measured
from pinyon.measure.runner import read_reports
from pinyon.measure.subject import Passage
from pinyon.measure.subjects.rival import Rival, interpreter
from pinyon.settings import key_for, load_settings


def conversation(tmp_path: Path) -> Path:
    turns = [
        {"speaker": "Ann", "dia_id": "D1:1", "text": "I bought a red kayak."},
        {"speaker": "Tom", "dia_id": "D1:2", "text": "The red ferry leaves at nine."},
    ]
    talk = {
        "sample_id": "a",
        "conversation": {
            "speaker_a": "Ann", "speaker_b": "Tom", "session_1": turns,
            "session_1_date_time": "1:56 pm on 8 May, 2023",
        },
        "qa": [
            {"question": "When does the red ferry leave?", "answer": 9, "evidence": ["D1:2"], "category": 2},
            {"question": "At what time is the ferry?", "answer": 9, "evidence": ["D1:2"], "category": 2},
            {"question": "What did Tom buy?", "adversarial_answer": "a kayak", "evidence": ["D1:1"], "category": 5},
        ],
    }  # fmt: skip
    path = tmp_path / "locomo.json"
    path.write_text(json.dumps([talk]), encoding="utf-8")
    return path


class _Endpoint(BaseHTTPRequestHandler):
    """Answers as OpenAI's does: reads the context, judges everything right, makes a memory of the last message."""

    asked: list[dict[str, object]]

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(given)
        told = "\n".join(str(message["content"]) for message in given["messages"])
        if "CORRECT or WRONG" in told:
            said = "CORRECT"
        elif given["model"] == "writer":
            last = told.rpartition("New Messages")[2]
            facts = [f"{word} was talked about" for word in ("bees", "ferries") if word in last.lower()]
            said = json.dumps({"memory": [{"text": fact} for fact in facts]})
        else:
            said = "9" if "leaves at nine" in told else "No information available"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": given["model"], "choices": [choice]}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def asked() -> list[dict[str, object]]:
    return []


@pytest.fixture
def address(asked: list[dict[str, object]]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Endpoint", (_Endpoint,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_key_of_a_named_model_is_that_of_its_service(tmp_path: Path) -> None:
    keys = {"HOME": str(tmp_path), "ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "PINYON_GENERATOR": "openai:x@y"}
    assert (key_for("anthropic:x", keys), key_for("openai:x@http://h", keys)) == ("a", "o")
    assert key_for("anthropic:x", {**keys, "PINYON_API_KEY": "p"}) == "p"


def test_a_reader_and_a_judge_of_the_command_line_reach_the_measure(
    address: str, asked: list[dict[str, object]], tmp_path: Path
) -> None:
    pytest.importorskip("httpx")
    path = conversation(tmp_path)
    found = measured(
        "run", ["locomo"], subjects="pinyon,last", data=str(path), out=str(tmp_path / "out"),
        reader=f"openai:reader@{address}", judge=f"openai:judge@{address}",
    )  # fmt: skip
    assert found.is_good, found.text
    reports = {report.subject: report for report in read_reports([tmp_path / "out"])}
    for report in reports.values():
        assert report.value("answer F1", "temporal") == 1.0
        assert report.value("judged right") == 1.0
        assert "--reader openai:reader@" in report.command
    assert [call["model"] for call in asked].count("reader") == 6
    assert [call["model"] for call in asked].count("judge") == 4
    with pytest.raises(PinyonError, match=r"are of another (judge|reader)"):
        measured("run", ["locomo"], subjects="pinyon", data=str(path), out=str(tmp_path / "out"))


@pytest.mark.slow
def test_mem0_writes_its_memories_with_the_model_it_is_given(
    address: str, asked: list[dict[str, object]], tmp_path: Path
) -> None:
    try:
        python = interpreter(Path(load_settings().bench_cache), "mem0-llm")
    except PinyonError:
        pytest.skip("no environment of mem0: python benchmarks/rivals.py mem0")
    writer = {"model": "writer", "base_url": address, "api_key": "unused"}
    rival = Rival("mem0-llm", python, tmp_path / "store", writer=writer)
    rival.add("one space", [Passage("1", "I keep bees."), Passage("2", "Hm."), Passage("3", "The ferries are late.")])
    assert {call["model"] for call in asked} == {"writer"}
    assert len(asked) == 3
    assert [hit.id for hit in rival.search("one space", "Who keeps bees?", 10)] == ["1", "3"]
    assert rival.recall("one space", "bees", 50).ids == ("1", "3")
    assert rival.version.endswith("with writer")
    rival.close()
