from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from doubles import OTHER, PASSAGES, QUESTION

from pinyon.errors import ModelError, UnreadableSource
from pinyon.measure.registry import (
    NOWHERE,
    subject_called,
)
from pinyon.measure.subject import Passage
from pinyon.measure.subjects import (
    Server,
    read_description,
)

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


@pytest.mark.parametrize("place", ['id = "meta.id"', 'id = "meta"', 'text = "memory"'])
def test_a_server_whose_hits_are_never_recognised_is_told(address: str, tmp_path: Path, place: str) -> None:
    path = tmp_path / "server.toml"
    text = HTTP.format(address=address, key="secret").replace('id = "meta.ref"', place)
    path.write_text(text, encoding="utf-8")
    server = Server(read_description(path))
    assert server.search("a", QUESTION, 2) == []  # nothing was added
    server.add("a", PASSAGES)
    with pytest.raises(ModelError, match="gave 2 hits, none of them a passage"):
        server.search("a", QUESTION, 2)


def test_a_server_without_scores_where_they_should_be_is_told(address: str, tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(HTTP.format(address=address, key="secret").replace('"points"', '"marks"'), encoding="utf-8")
    server = Server(read_description(path))
    server.add("a", PASSAGES)
    with pytest.raises(ModelError, match="gave None at 'marks', where its score should be"):
        server.search("a", QUESTION, 2)


def test_equal_words_stand_for_all_their_passages(address: str, tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    text = HTTP.format(address=address, key="secret").replace('id = "meta.ref"', 'text = "meta.ref"')
    path.write_text(text.replace('ref = "{id}"', 'ref = "{text}"'), encoding="utf-8")
    server = Server(read_description(path))
    server.add("a", [Passage("1", "yes"), Passage("2", "the mill"), Passage("3", "yes")])
    assert [hit.id for hit in server.search("a", "yes", 3)] == ["1", "3", "2"]


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
    [
        ("kind = 'ftp'\n[add]\n[search]", "kind is 'ftp'"),
        ("kind = 'http'", "'add'"),
        ("=", "Invalid"),
        ("kind = 'http'\nfoo = 1", "'foo', which is no part of a description"),
    ],
)
def test_a_description_that_lacks_something_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableSource, match=said):
        read_description(path)
