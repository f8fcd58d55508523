"""The verb that converts memories into states of a local model, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from . import _later
from .outcomes import Shown
from .verb import FILTERS, Given, Parameter, Verb, how_many

if TYPE_CHECKING:
    from ..core.payload import State
    from ..memory import Memory
    from ..results import Converted
    from ..states import StateForm

__all__ = ["STATE_VERBS"]

_ID_SHOWN = 10  # as lists of memories show them


def _convert(memory: Memory, given: Given) -> Shown:
    return _shown(
        memory.convert(
            given.texts("ids"),
            query=given.maybe("query", str),
            k=given.integer("k"),
            where=given.where(),
            to=cast("Literal['state']", given.text("to")),
            backbone=given.maybe("backbone", str),
            form=cast("StateForm | None", given.maybe("form", str)),
            progress=given.progress,
        )
    )


def _shown(done: Converted) -> Shown:
    state = cast("State", done.cube.payload)
    data: dict[str, Any] = {
        "cube": _later.cube_to_json(done.cube),
        "sources": [cube.id for cube in done.sources],
        "outcome": done.outcome,
        "tokens": done.tokens,
        "reused": done.reused,
        "bytes": done.bytes,
        "ms": done.ms,
        "replaced": list(done.replaced),
    }
    said = "is there already" if done.outcome == "unchanged" else f"read in {done.ms / 1000:.1f} s"
    size = f"{done.tokens} tokens, {done.bytes} bytes"
    lines = [f"{done.cube.id[:_ID_SHOWN]}  state of {len(done.sources)} texts, {size}: {said}"]
    if done.reused:
        lines.append(f"{done.reused} tokens were kept from an older state")
    lines += [f"{id[:_ID_SHOWN]} went: this one takes its place" for id in done.replaced]
    errors = state.details.get("errors")
    if isinstance(errors, dict):
        lines.append("approximate: " + ", ".join(f"{name} {value}" for name, value in errors.items()))
    return Shown(cast("Any", data), tuple(lines))


STATE_VERBS: tuple[Verb, ...] = (
    Verb(
        "convert",
        "Let a local model read memories once and keep what it then knows.",
        "`ask --model local:…` with the same model attaches the state instead of reading the memories again. The state"
        " is stale when one of them changes, and is forgotten with them; converting again makes it anew and keeps what"
        " was read before the first change. Without ids and a query, everything that the filters admit is converted."
        " Needs the extra torch.",
        (
            "pinyon convert 3f9a1c2b 77d0e1aa --to state --model smollm2",
            "pinyon convert --space manual --model smollm2 --form int8",
        ),
        (
            Parameter("ids", "Ids of texts, or of states that are to be made again", "text", "argument", is_many=True),
            Parameter("query", "The best hits of a question instead", "text", "option", ("--query",), "QUESTION"),
            how_many("How many hits of the question"),
            Parameter("to", "Into what", "choice", "option", ("--to",), default="state", choices=("state",)),
            Parameter("backbone", "The model: smollm2, an id of the Hugging Face hub, a folder or a GGUF file", "text",
                      "option", ("--model",), "MODEL"),
            Parameter("form", "How numbers rest; full is exact, the others take a third and a sixth of the bytes",
                      "choice", "option", ("--form",), choices=("full", "int8", "int4")),
            *FILTERS,
        ),
        ("pinyon.memory:Memory.convert",),
        _convert,
    ),
)  # fmt: skip
"""Convert."""
