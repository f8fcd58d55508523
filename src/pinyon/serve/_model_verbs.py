"""The verb that looks inside a local model, as a table; it opens no memory of the user."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .outcomes import Shown
from .verb import Given, Parameter, Verb

if TYPE_CHECKING:
    from ..memory import Memory

__all__ = ["MODEL_VERBS"]


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
)  # fmt: skip
"""Heads."""
