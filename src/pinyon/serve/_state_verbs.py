"""The verb that converts memories into states of a local model, as a table, and what a person reads of a state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from . import _later
from .outcomes import Shown
from .verb import FILTERS, Given, Parameter, Verb, how_many

if TYPE_CHECKING:
    from ..core.cube import Cube
    from ..core.payload import State
    from ..memory import Memory
    from ..results import Converted
    from ..state.fuse import FuseMode
    from ..states import StateForm

__all__ = ["STATE_VERBS", "said_by", "size_of", "state_lines"]

_ID_SHOWN = 10  # as lists of memories show them
_SAID_MS = 100.0  # a model that was loaded in less is not worth a word


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
            fuse=cast("FuseMode | None", given.maybe("fuse", str)),
            repaired=given.integer("repaired"),
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
        "loading_ms": done.loading_ms,
        "replaced": list(done.replaced),
    }
    said = "is there already" if done.outcome == "unchanged" else f"read in {done.ms / 1000:.1f} s"
    said += f", after {done.loading_ms / 1000:.1f} s to load the model" if done.loading_ms >= _SAID_MS else ""
    size = f"{done.tokens} tokens, {done.bytes} bytes"
    lines = [f"{done.cube.id[:_ID_SHOWN]}  state of {len(done.sources)} texts, {size}: {said}"]
    if done.reused:
        lines.append(f"{done.reused} tokens were kept from older states")
    lines += [f"{id[:_ID_SHOWN]} went: this one takes its place" for id in done.replaced]
    errors = state.details.get("errors")
    if isinstance(errors, dict):
        lines.append("approximate: " + ", ".join(f"{name} {value}" for name, value in errors.items()))
    return Shown(cast("Any", data), (*lines, *_fused(state)))


def _fused(state: State) -> list[str]:
    """Say how a state was put together of others, and which of them could not be used."""
    said: Any = state.details.get("fused")
    if not isinstance(said, dict):
        return []
    lines = [f"{id[:_ID_SHOWN]} was not used, its texts were read: {why}" for id, why in said["read_again"].items()]
    if said["made_by"] != "recompute":
        lines.append(f"approximate: fused by {said['made_by']}, {said['divergence']} nats off on a sample")
    elif said["measured"] is not None:
        lines.append(f"exact: {said['mode']} would be {said['measured']} nats off, so everything was read")
    return lines


def said_by(cube: Cube) -> str:
    """Return what a cube says, or what it is where it says nothing."""
    if cube.kind.value != "state":
        return cube.text or f"({cube.kind.value})"
    state = cast("State", cube.payload)
    stale = ", stale" if cube.header.life.stale else ""
    return f"(state of {_count(len(_sources(cube)))}, {state.tokens} tokens{stale})"


def size_of(number: int) -> str:
    """Spell a number of bytes."""
    if number < 1000:
        return f"{number} bytes"
    size, unit = number / 1000, "kB"
    for larger in ("MB", "GB"):
        if size >= 1000:
            size, unit = size / 1000, larger
    return f"{size:.1f} {unit}"


def state_lines(cube: Cube) -> dict[str, str]:
    """Return what there is to say of a state, by name; what is empty is not known. Of another cube, nothing."""
    if cube.kind.value != "state":
        return {}
    state = cast("State", cube.payload)
    details: Any = state.details
    errors = details.get("errors")
    lost = ", ".join(f"{name} {value}" for name, value in errors.items()) if isinstance(errors, dict) else ""
    form = details.get("form") or ""
    exact = " (approximate)" if details.get("approximate") else " (exact)" if form else ""
    held = size_of(sum(blob.bytes for blob in state.blobs))
    digest = str(state.binding.get("weights") or "")[:_ID_SHOWN]
    return {
        "tokens": str(state.tokens),
        "bytes": held if state.blobs else "none: dropped to save room; converting its texts makes it again",
        "form": f"{form}{exact}",
        "model": " ".join(part for part in (str(details.get("model") or ""), digest and f"weights {digest}") if part),
        "numbers": str(state.binding.get("dtype") or ""),
        "made of": ", ".join(id[:_ID_SHOWN] for id in _sources(cube)),
        "stale": "yes: one of its texts changed; converting it again makes it anew" if cube.header.life.stale else "no",
        "errors": lost,
    }


def _sources(cube: Cube) -> list[str]:
    return [parent.id for parent in cube.header.lineage.parents if parent.relation == "converted"]


def _count(texts: int) -> str:
    return "1 text" if texts == 1 else f"{texts} texts"


STATE_VERBS: tuple[Verb, ...] = (
    Verb(
        "convert",
        "Let a local model read memories once and keep what it then knows.",
        "`ask --model local:…` with the same model attaches the state instead of reading the memories again. The state"
        " is stale when one of them changes, and is forgotten with them; converting again makes it anew and keeps what"
        " was read before the first change. Without ids and a query, everything that the filters admit is converted."
        " With --fuse, states become one state of all their texts, which are not read again.\n\n"
        "Needs the extra torch.",
        (
            "pinyon convert 3f9a1c2b 77d0e1aa --to state --model smollm2",
            "pinyon convert --space manual --model smollm2 --form int8",
            "pinyon convert 9a01c2d3 b77e0f1a --fuse repair --model smollm2",
        ),
        (
            Parameter("ids", "Ids of texts, or of states that are to be made again", "text", "argument", is_many=True),
            Parameter("query", "The best hits of a question instead", "text", "option", ("--query",), "QUESTION"),
            how_many("How many hits of the question"),
            Parameter("to", "Into what", "choice", "option", ("--to",), default="state", choices=("state",)),
            Parameter("backbone", "The model: smollm2, an id of the Hugging Face hub, a folder or a GGUF file, with"
                      " @device:type behind it where it is to be another one, as smollm2@cuda:bfloat16;"
                      " PINYON_BACKBONE when not given", "text", "option", ("--model",), "MODEL"),
            Parameter("form", "How numbers rest; full is exact, int8 takes some 43 % of the bytes, int4 33 %",
                      "choice", "option", ("--form",), choices=("full", "int8", "int4")),
            Parameter("fuse", "Make one state of the states that are named; recompute reads again and is exact, the"
                      " others are approximate, measured, and not taken where they are more than 0.1 nats off",
                      "choice", "option", ("--fuse",), choices=("recompute", "reposition", "repair")),
            Parameter("repaired", "Tokens of each later state that repair reads again", "integer", "option",
                      ("--repaired",), "TOKENS", 16, least=0),
            *FILTERS,
        ),
        ("pinyon.memory:Memory.convert",),
        _convert,
    ),
)  # fmt: skip
"""Convert."""
