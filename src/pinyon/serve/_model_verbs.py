"""The verbs of a local model alone, as a table: they open no memory of the user."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import click

from . import _later
from ._state_verbs import size_of
from .outcomes import Shown
from .screen import Screen, is_terminal
from .verb import Given, Parameter, Verb

if TYPE_CHECKING:
    from ..chatting import TalkPolicy
    from ..memory import Memory

__all__ = ["MODEL_VERBS", "run_chat"]


def _heads(memory: Memory, given: Given) -> Shown:  # noqa: ARG001  # it looks at a model, not at a memory
    room = import_module("pinyon.measure.heads")  # a room beside this one: named where it is used, not imported
    found = room.heads(
        given.text("model"),
        trials=given.integer("trials"),
        lengths=given.text("lengths"),
        threshold=given.integer("threshold"),
        seed=given.integer("seed"),
        check=given.is_set("check"),
        facts=given.maybe("facts", str),
        text=given.maybe("text", str),
        out=given.maybe("out", str),
        log=given.maybe("log", str),
        png=given.maybe("png", str),
        progress=given.progress,
    )
    return Shown(found.data, tuple(found.text.rstrip().split("\n")))


def _chat(memory: Memory, given: Given) -> Shown:  # noqa: ARG001  # it talks with a model, not with a memory
    from ..chatting import chat

    done = chat(
        given.text("model"),
        cast("Iterable[str]", given.values.get("lines") or ()),
        policy=cast("TalkPolicy", given.text("policy")),
        half_life=given.maybe("half_life", int),
        budget=given.maybe("budget", str),
        system=given.maybe("system", str),
        save=given.maybe("save", str),
        resume=given.is_set("resume"),
        max_tokens=given.integer("max_tokens"),
        progress=given.progress,
    )
    said = f"{done.turns} turns, {done.read_tokens} tokens read"
    return Shown(asdict(done), (f"saved in {done.saved}: {said}" if done.saved else f"not saved: {said}",))


def run_chat(screen: Screen, verb: Verb, values: Mapping[str, Any]) -> int:
    """Read lines from standard input until it ends, and write each answer as it comes.

    Args:
        screen: Where answers are shown; with JSON one document a turn, and one for the whole talk.
        verb: The verb.
        values: Its parameters.
    """
    from ..chatting import Piece, Said

    def told(step: object) -> None:
        if isinstance(step, Piece) and not screen.is_json:
            _write(_later.render.visible(step.text))
        elif isinstance(step, Said) and screen.is_json:
            screen.document(asdict(step))
        elif isinstance(step, Said):
            _write("\n")
            held = f"{size_of(step.held_bytes)} held"
            screen.say(f"turn {step.turn}: {held}, {step.held_tokens} of {step.read_tokens} tokens")

    is_asked = is_terminal(sys.stdin) and not screen.is_json
    if is_asked:
        screen.say("say something; an empty line changes nothing, Ctrl-D ends")
    done = cast("Shown", verb.run(cast("Memory", None), {**values, "lines": _lines(is_asked=is_asked)}, told))
    if screen.is_json:
        screen.document(done.data)
        return 0
    for line in done.lines:
        screen.say(line)
    return 0


def _lines(*, is_asked: bool) -> Iterator[str]:
    """Yield the lines of standard input, each as soon as it is there."""
    while sys.stdin is not None:
        if is_asked:
            click.echo("> ", err=True, nl=False)
        line = sys.stdin.buffer.readline()
        if not line:
            return
        yield line.decode("utf-8", "replace")


def _write(text: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding), nl=False)


MODEL_VERBS: tuple[Verb, ...] = (
    Verb(
        "heads",
        "Find the attention heads of a local model that copy from far away into what it writes.",
        "Facts are hidden in a text and asked for; a head counts when it looks at the very token that is written."
        " A few heads in a hundred do. The profile tells cache policies which heads need a long memory, and an audit"
        " whether an answer was read or invented. Needs the extra torch, for pictures the extra bench.",
        (
            "pinyon heads smollm2 --out smollm2.heads.json --png heads.png",
            "pinyon heads smollm2 --check --json",
        ),
        (
            Parameter("model", "Id on the Hugging Face hub, folder, .gguf file, or smollm2", "text", "argument",
                      shown="MODEL", is_required=True),
            Parameter("trials", "Facts to hide", "integer", "option", ("--trials",), "N", 20, least=1),
            Parameter("lengths", "Tokens of the prompts, divided by commas", "text", "option", ("--lengths",), "N,N",
                      "500,700,900"),
            Parameter("threshold", "From which score on a head counts, in per cent", "integer", "option",
                      ("--threshold",), "N", 10, least=1, most=100),
            Parameter("seed", "Of the trials", "integer", "option", ("--seed",), "N", 0, least=0),
            Parameter("check", "Silence the best five, and five others ten times, and ask for other facts", "flag",
                      "option", ("--check",)),
            Parameter("facts", "File of facts to hide, one JSON object a line with told, question and answer", "file",
                      "option", ("--facts",), "FILE"),
            Parameter("text", "File whose sentences the facts are hidden in", "file", "option", ("--text",), "FILE"),
            Parameter("out", "File for the profile", "file", "option", ("--out",), "FILE"),
            Parameter("log", "File of the trials; an interrupted search goes on there", "file", "option", ("--log",),
                      "FILE"),
            Parameter("png", "File for a map of the heads", "file", "option", ("--png",), "FILE"),
        ),
        ("pinyon.measure.heads:heads",),
        _heads,
        can_create=True,
    ),
    Verb(
        "chat",
        "Talk with a local model without end, in constant bytes.",
        "Each line of standard input is answered on standard output, as the answer comes; how many bytes are held is"
        " said beside it. What stays where not all can is chosen by the policy; with --save the talk rests in a file"
        " at its end, also when it is interrupted, and --resume goes on with it bit for bit. Nothing of it goes into"
        " the memory.\n\nNeeds the extra torch.",
        (
            "pinyon chat smollm2 --budget 20MB --save talk.session",
            "pinyon chat smollm2 --save talk.session --resume",
            "cat lines.txt | pinyon chat smollm2 --policy window --json",
        ),
        (
            Parameter("model", "smollm2, an id of the Hugging Face hub, a folder or a GGUF file, with @device:type"
                      " behind it where it is to be another one", "text", "argument", shown="MODEL", is_required=True),
            Parameter("policy", "What stays: sirllm what surprised the model, window the first tokens and the latest,"
                      " key-norm what has small keys, snapkv what the latest tokens look at", "choice", "option",
                      ("--policy",), default="sirllm", choices=("sirllm", "window", "key-norm", "snapkv")),
            Parameter("half_life", "Turns after which a surprise counts half, with sirllm; none fades when not given",
                      "integer", "option", ("--half-life",), "TURNS", least=1),
            Parameter("budget", "Most bytes of keys and values, as 20MB; 20MB when not given, or as the saved talk"
                      " has it", "text", "option", ("--budget",), "BYTES"),
            Parameter("system", "What the model is told first", "text", "option", ("--system",), "TEXT"),
            Parameter("save", "File that the talk rests in at its end", "file", "option", ("--save",), "FILE"),
            Parameter("resume", "Go on with the talk in the file of --save", "flag", "option", ("--resume",)),
            Parameter("max_tokens", "Most tokens of an answer", "integer", "option", ("--max-tokens",), "N", 256,
                      least=1),
            Parameter("lines", "What is said, line by line", "text", "input", is_many=True),
        ),
        ("pinyon.chatting:chat",),
        _chat,
        can_create=True,
    ),
)  # fmt: skip
"""Heads and chat."""
