"""Any memory behind HTTP or MCP as a subject, told by a small file how to add and to search."""

from __future__ import annotations

import json
import shlex
import subprocess
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any, Literal, cast

from ...core.payload import Json
from ...errors import BadInput, ModelError, UnreadableSource
from ..subject import Context, Held, Passage, Ranked
from .shown import Kept, introduced

__all__ = ["Description", "Server", "read_description"]

_RECALLED = 200  # passages tried for a prompt
_PROTOCOL = "2025-06-18"  # of MCP
_TIMEOUT_SECONDS = 60.0
_CLOSING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """One call: where it goes and what it says.

    Args:
        to: Path below the address for HTTP, name of the tool for MCP.
        body: JSON in which ``{text}``, ``{shown}``, ``{id}``, ``{space}``, ``{speaker}``, ``{role}``, ``{session}``,
            ``{time}``, ``{question}`` and ``{k}`` are filled in; a text that is nothing but ``{k}`` becomes a number.
        method: Of HTTP.
    """

    to: str
    body: Json
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Description:
    """How a server is spoken to.

    Args:
        name: For tables.
        kind: ``http``, or ``mcp`` for a program that speaks it over standard input and output.
        address: Address of the server; for MCP the command that starts it.
        add: Called once a passage.
        search: Called once a question.
        hits: Where the list of hits stands in the answer, names divided by dots; empty for the answer itself.
        id: Where the id stands in a hit; empty when hits are recognised by their text.
        text: Where the text stands in a hit, when they have no id.
        score: Where the score stands in a hit; empty when only the order counts.
        headers: Of HTTP.
    """

    name: str
    kind: Literal["http", "mcp"]
    address: str
    add: Step
    search: Step
    hits: str = ""
    id: str = "id"
    text: str = ""
    score: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def read_description(path: Path) -> Description:
    """Read a TOML file; `docs/guides/measure.md` shows one.

    Raises:
        UnreadableSource: It cannot be read, or something is missing.
    """
    try:
        read: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        if read["kind"] not in ("http", "mcp"):
            raise BadInput(f"kind is {read['kind']!r}")
        if strange := sorted(set(read) - {field.name for field in fields(Description)}):
            raise BadInput(f"it says {strange[0]!r}, which is no part of a description")
        return Description(**{**read, "add": Step(**read["add"]), "search": Step(**read["search"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableSource(
            f"{path.name!r} describes no server: {error}",
            hint="it needs name, kind (http or mcp), address, [add] and [search] with to and body",
        ) from error


class Server:
    """A memory behind a protocol.

    Args:
        description: How to speak to it.

    Raises:
        ModelError: It cannot be started.
    """

    is_elsewhere = True

    def __init__(self, description: Description) -> None:
        self.name = description.name
        self._how = description
        self._kept = Kept()
        self._ids: dict[tuple[str, str], list[str]] = {}
        self._line = _Mcp(description) if description.kind == "mcp" else None

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Send the passages one by one."""
        self._kept.add(space, passages)
        for passage in passages:
            values = {
                "id": passage.id, "text": passage.text, "shown": introduced(passage), "space": space,
                "speaker": passage.speaker or "", "role": passage.role or "user", "session": passage.session or "",
                "time": passage.time.isoformat() if passage.time else "",
            }  # fmt: skip
            for words in {passage.text, values["shown"]}:
                self._ids.setdefault((space, words), []).append(passage.id)
            self._call(self._how.add, values)

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        """Search, and find out which passages the hits are.

        Raises:
            ModelError: It failed, or gave hits none of which is a passage that was added.
        """
        answer = self._call(self._how.search, {"space": space, "question": question, "k": k})
        hits = _inside(answer, self._how.hits)
        if not isinstance(hits, list):
            raise ModelError(f"{self.name} gave no list of hits at {self._how.hits!r}")
        found: dict[str, float] = {}
        for place, hit in enumerate(hits):
            for id in self._ids_of(space, hit):
                found.setdefault(id, self._score_of(hit, place))
        if hits and not found:
            where = f"text stands at {self._how.text!r}" if self._how.text else f"id stands at {self._how.id!r}"
            raise ModelError(
                f"{self.name} gave {len(hits)} hits, none of them a passage that it was given: of the first {where},"
                f" where it says {self._said(hits[0])!r}",
                hint="mend id or text in the description",
            )
        return [Ranked(id, score) for id, score in found.items()][:k]

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        """Pack the best of what it finds, in the layout that all share."""
        return self._kept.packed(space, [hit.id for hit in self.search(space, question, _RECALLED)], budget_tokens)

    def ask(self, space: str, question: str) -> str | None:  # noqa: ARG002  # the protocol's
        """Return None: only its retrieval is measured."""
        return None

    def footprint(self) -> Held:
        """Return nothing: what a server holds cannot be seen from here."""
        return Held(0, 0)

    def close(self) -> None:
        """End the program that was started, if one was."""
        if self._line is not None:
            self._line.close()

    def _said(self, hit: Json) -> Json:
        return _inside(hit, self._how.text or self._how.id)

    def _ids_of(self, space: str, hit: Json) -> Sequence[str]:
        """Return the passages that a hit stands for: several when their words are the same, none when it is unknown."""
        said = str(self._said(hit))
        if self._how.text:
            return self._ids.get((space, said), ())
        return (said,) if said in self._kept.of(space) else ()

    def _score_of(self, hit: Json, place: int) -> float:
        if not self._how.score:
            return float(-place)
        score = _inside(hit, self._how.score)
        try:
            return float(cast("float", score))  # numbers may come as texts
        except (TypeError, ValueError) as error:
            raise ModelError(f"{self.name} gave {score!r} at {self._how.score!r}, where its score should be") from error

    def _call(self, step: Step, values: Mapping[str, object]) -> Json:
        body = _filled(step.body, values)
        return _over_http(self._how, step, body) if self._line is None else self._line.call(step.to, body)


def _filled(template: Json, values: Mapping[str, object]) -> Json:
    """Return a template with its places filled in."""
    if isinstance(template, dict):
        return {name: _filled(inner, values) for name, inner in template.items()}
    if isinstance(template, list):
        return [_filled(inner, values) for inner in template]
    if not isinstance(template, str):
        return template
    if template == "{k}":
        return cast("Json", values.get("k"))
    parts = template.split("{")  # not str.format: what is filled in may hold braces
    out = parts[0]
    for part in parts[1:]:
        name, closed, rest = part.partition("}")
        out += str(values[name]) + rest if closed and name in values else "{" + part
    return out


def _inside(data: Json, path: str) -> Json:
    """Return what stands at "a.b.0" in JSON, None when nothing does."""
    for name in path.split(".") if path else ():
        if isinstance(data, dict):
            data = data.get(name)
        elif isinstance(data, list) and name.isdigit() and int(name) < len(data):
            data = data[int(name)]
        else:
            return None
    return data


def _over_http(how: Description, step: Step, body: Json) -> Json:
    request = urllib.request.Request(
        how.address.rstrip("/") + step.to,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **how.headers},
        method=step.method,
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            content = answer.read()
        return cast("Json", json.loads(content)) if content.strip() else None
    except urllib.error.HTTPError as error:
        with error:
            raise ModelError(f"{how.name} answered {error.code} to {step.method} {step.to}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{how.name} could not be asked at {how.address!r}: {error}") from error


class _Mcp:
    """A client of the Model Context Protocol over standard input and output, as far as calling tools needs it."""

    def __init__(self, how: Description) -> None:
        self._name = how.name
        self._number = 0
        try:
            self._process = subprocess.Popen(
                shlex.split(how.address),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
            )
        except OSError as error:
            raise ModelError(f"{how.name} cannot be started by {how.address!r}: {error.strerror}") from error
        self._to = cast("IO[str]", self._process.stdin)  # pipes, as it was started
        self._from = cast("IO[str]", self._process.stdout)
        client: dict[str, Json] = {"name": "pinyon", "version": "1"}
        self._asked("initialize", {"protocolVersion": _PROTOCOL, "capabilities": {}, "clientInfo": client})
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def call(self, tool: str, arguments: Json) -> Json:
        """Return the structured result of a tool, or its text, read as JSON where it is JSON."""
        result = self._asked("tools/call", {"name": tool, "arguments": arguments})
        if not isinstance(result, dict) or result.get("isError"):
            raise ModelError(f"{self._name} failed at {tool!r}: {_text(result)}")
        if (structured := result.get("structuredContent")) is not None:
            return structured
        try:
            return cast("Json", json.loads(_text(result)))
        except ValueError:
            return _text(result)

    def close(self) -> None:
        """End the server."""
        self._to.close()  # it ends with its input
        try:
            self._process.wait(_CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._from.close()

    def _asked(self, method: str, params: dict[str, Json]) -> Json:
        self._number += 1
        self._send({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        for line in self._from:
            message = json.loads(line)
            if message.get("id") == self._number:
                if "error" in message:
                    raise ModelError(f"{self._name} refused {method!r}: {message['error'].get('message', '')}")
                return cast("Json", message["result"])
        raise ModelError(f"{self._name} has ended with exit code {self._process.wait()}")

    def _send(self, message: dict[str, Json]) -> None:
        try:
            self._to.write(json.dumps(message) + "\n")
            self._to.flush()
        except OSError as error:
            raise ModelError(f"{self._name} has ended") from error


def _text(result: Json) -> str:
    content = _inside(result, "content")
    parts = content if isinstance(content, list) else []
    return "\n".join(str(_inside(part, "text")) for part in parts if _inside(part, "type") == "text")
