"""Ten questions to a year of messages and to the Python language reference."""

from __future__ import annotations

import json
import statistics
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from importlib import resources
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from ...core.clock import instant
from ...core.cube import Cube
from ...core.experience import Conversation, Document, Turn
from ...core.payload import Json, digest
from ...core.render import day_of
from ...memory import Memory
from ...results import Answer
from ...store import SourceMark
from ...text import Hits

__all__ = ["run"]

Echo = Callable[[str], None]
_K = 10


def run(path: Path, echo: Echo, json: bool = False) -> dict[str, Json]:
    """Remember the demo's texts at a path, ask ten questions, and tell what was found, why, and how fast.

    Args:
        path: File of the demo's memory; a second run finds it there.
        echo: Prints one line.
        json: Print nothing and leave the telling to the caller.

    Returns:
        Everything that was told, as JSON.
    """
    say = _nothing if json else echo
    with Memory.open(path) as memory:
        kept = memory.stats().cubes
        learned = _learn(memory, say, kept)
        asked = [_ask(memory, question, say) for question in _data("questions.json")["questions"]]
        say("")
        summary = _summary(memory, asked, say)
        _recall(memory, say)
    _goodbye(path, say)
    return {"learned": learned, "questions": [*asked], "summary": summary}


def _nothing(line: str) -> None:
    """Say nothing of a line."""
    del line


def _data(name: str) -> Any:  # the shape of each file is known to its reader alone
    return json.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _sessions() -> Iterator[Conversation]:
    talk = _data("conversation.json")
    for session in talk["sessions"]:
        start = instant(str(session["time"]))
        turns = tuple(
            Turn(turn["text"], speaker=turn["speaker"], time=start + timedelta(seconds=30 * number))
            for number, turn in enumerate(session["turns"])
        )
        yield Conversation(turns, session=str(session["session"]), title=str(talk["title"]))


def _learn(memory: Memory, say: Echo, kept: int) -> dict[str, Json]:
    start = time.perf_counter()
    sessions = list(_sessions())
    done = [memory.add_many(sessions)]
    for name, text in sorted(topics.items()):
        source = f"python:{name}"
        document = Document(text, source=source, title=f"Python reference: {name}")
        done.append(memory.add_source([document], SourceMark(source, digest(text), 1)))
    memory.search("warm up")  # the index follows the journal at the first search
    seconds = time.perf_counter() - start
    created, unchanged = sum(a.created for a in done), sum(a.unchanged for a in done)
    turns = sum(len(session.turns) for session in sessions)
    say("A year of messages between two friends, and the language reference that comes with every Python:")
    if kept:
        say(f"  all {unchanged:,} memories of the last run were kept, {created:,} are new")
    else:
        say(
            f"  {turns} turns and {len(topics)} documents became {created:,} memories in {seconds:.1f} s"
            f" ({created / seconds:,.0f} a second, searchable, safe on disk)"
        )
    return {"kept": kept, "created": created, "unchanged": unchanged, "seconds": seconds}


def _ask(memory: Memory, question: Mapping[str, object], say: Echo) -> dict[str, Json]:
    asked = str(question["question"])
    gold: list[str] = question["evidence"]  # type: ignore[assignment]  # the file's own shape
    start = time.perf_counter()
    found = memory.search(asked, k=_K)
    ms = (time.perf_counter() - start) * 1000
    answer = memory.ask(asked)
    is_right = _is_right(answer, question["quotes"])  # type: ignore[arg-type]  # the file's own shape
    ranks = [n for n, hit in enumerate(found.hits, 1) if _name(hit.cube) in gold]
    say("")
    say(f"? {asked}   ({question['kind']})")
    _tell(answer, say)
    say(f"    expected: {question['answer']}")
    say(f"    the answer is {'right' if is_right else 'not right, or not whole'}")
    say(f"    {_verdict(gold, ranks, answer)}; {ms:.1f} ms among {found.considered:,}")
    if found.hits:
        say(f"    why the first: {_why(found)}")
    return {
        "question": asked,
        "kind": str(question["kind"]),
        "expected": str(question["answer"]),
        "answer": answer.text,
        "is_right": is_right,
        "evidence": list(gold),
        "ranks": list(ranks),
        "ms": ms,
    }


def _tell(answer: Answer, say: Echo) -> None:
    for line in answer.text.splitlines():
        for part in textwrap.wrap(line, 104) or [""]:
            say(f"  {part}")
    for hit, number in {c.hit.cube.id: (c.hit, c.number) for c in answer.citations}.values():
        say(f"    [{number}] {_where(hit.cube)}")


def _is_right(answer: Answer, wanted: Sequence[str]) -> bool:
    """Return whether an answer is right.

    What is wanted must all be quoted, and a single thing first of all; where nothing is wanted, the answer must be that
    nothing is known.
    """
    if not wanted:
        return not answer.is_known
    quoted = answer.citations[0].quote if len(wanted) == 1 and answer.citations else answer.text
    return all(part.lower() in quoted.lower() for part in wanted)


def _verdict(gold: Sequence[str], ranks: Sequence[int], answer: Answer) -> str:
    if not gold:
        return "nothing to find" + ("" if not answer.is_known else ", and yet it quotes something")
    if not ranks:
        return f"the evidence is not among the first {_K}"
    return f"evidence at rank {', '.join(map(str, ranks))}"


def _why(found: Hits) -> str:
    names = {"turn": "its words", "window1": "words around it", "window2": "words further around"}
    names |= {"section": "its session", "dense": "meaning", "speaker": "speaker named", "literal": "letter for letter"}
    said = [f"{names.get(r.leg, r.leg)} #{r.rank}" for r in found.hits[0].why if r.rank]
    return ", ".join(said)


def _name(cube: Cube) -> str:
    p = cube.header.provenance
    return p.source or f"{cube.owner.session}:{(p.position or 0) + 1}"


def _where(cube: Cube) -> str:
    p = cube.header.provenance
    if p.unit == "turn":
        return f"{p.speaker}, {day_of(cube.time)}, {cube.owner.session}"
    return f"{p.title}, characters {p.span[0]}-{p.span[1]}" if p.span else str(p.title)


def _summary(memory: Memory, asked: Sequence[Mapping[str, Json]], say: Echo) -> dict[str, Json]:
    with_gold = [a for a in asked if a["evidence"]]
    first = len([a for a in with_gold if a["ranks"] and a["ranks"][0] == 1])  # type: ignore[index]  # a JSON list
    ten = sum(1 for a in with_gold if a["ranks"])
    right = sum(1 for a in asked if a["is_right"])
    ms = statistics.median(float(a["ms"]) for a in asked)  # type: ignore[arg-type]  # a JSON number
    stats = memory.stats()
    say(
        f"{right} of {len(asked)} answers by quotation are right and whole: what is expected is quoted, a single thing"
        " first of all"
    )
    say(
        f"{ten} of {len(with_gold)} questions with an answer have evidence in the first ten hits, {first} at rank 1;"
        f" a search takes {ms:.1f} ms (median); {stats.bytes / max(1, stats.cubes):,.0f} bytes a memory on disk"
    )
    return {"right": right, "first": first, "ten": ten, "of": len(with_gold), "median_ms": ms, "bytes": stats.bytes}


def _recall(memory: Memory, say: Echo) -> None:
    say("")
    say('What a prompt would get for "Mrs Pryor" in 300 tokens (memory.recall):')
    recalled = memory.recall("What happened to Mrs Pryor?", budget_tokens=300)
    for line in recalled.text.splitlines():
        for part in textwrap.wrap(line, 104):
            say(f"  {part}")
    say(f"  ({recalled.context.footprint.tokens} tokens)")


def _goodbye(path: Path, say: Echo) -> None:
    say("")
    say("Now you:")
    say(f"  pinyon search 'Where did the almanac come from?' --path {path} --why")
    say(f"  pinyon add 'The spare key hangs behind the blue door.' --path {path}")
    say(f"  pinyon ask 'Where is the spare key?' --path {path}")
    say("  pinyon import ~/notes     (Markdown, PDF, Word, EPUB, HTML, code, chat exports)")
    say("  pinyon --help")
    say("Run the demo again to see that everything was kept.")
