"""A talk with a local model that never ends, line by line, in constant bytes; saved, and gone on with bit for bit."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from .errors import BadInput, NotFound
from .states import backbone_from

if TYPE_CHECKING:
    from .models.backbone import Backbone
    from .state.policy import CachePolicy
    from .state.session import Session

__all__ = ["Chatted", "Piece", "Said", "TalkPolicy", "chat"]

TalkPolicy = Literal["sirllm", "window", "key-norm", "snapkv"]
"""What stays where not all can: what surprised (SirLLM), the first and the latest tokens (StreamingLLM), keys of small
norm, or what the latest tokens look at (SnapKV)."""

_BUDGET = "20MB"  # some 430 tokens of a model of 135 million weights in 32 bits; ours
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kMG]?)B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


@dataclass(frozen=True, slots=True)
class Piece:
    """Some letters of an answer, as soon as they are there."""

    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """A turn of a talk.

    Args:
        turn: Its number, from 1; the talk counts on when it is gone on with.
        line: What was said to the model.
        text: What it answered.
        held_bytes: Bytes of keys and values now.
        held_tokens: Tokens whose entries are held, as a mean over layers and heads.
        read_tokens: Tokens that were read since the talk began.
        ms: Milliseconds that the turn took.
    """

    turn: int
    line: str
    text: str
    held_bytes: int
    held_tokens: int
    read_tokens: int
    ms: float


@dataclass(frozen=True, slots=True)
class Chatted:
    """A talk that came to its end.

    Args:
        turns: Turns of the whole talk.
        read_tokens: Tokens that were read since it began.
        held_bytes: Bytes of keys and values.
        budget_bytes: What they may be at most.
        saved: The file that it rests in; None where none was named.
        is_interrupted: Whether it was interrupted.
    """

    turns: int
    read_tokens: int
    held_bytes: int
    budget_bytes: int
    saved: str | None
    is_interrupted: bool


def chat(
    model: Backbone | str,
    lines: Iterable[str],
    *,
    policy: TalkPolicy = "sirllm",
    half_life: int | None = None,
    budget: str | int | None = None,
    system: str | None = None,
    save: str | Path | None = None,
    resume: bool = False,
    max_tokens: int = 256,
    progress: Callable[[Piece | Said], object] | None = None,
) -> Chatted:
    """Answer line by line, however many there are, while keys and values stay within some bytes.

    For a person at a terminal or a program that pipes lines; `Backbone.session` is the same in Python, step by step.
    An interruption ends the talk as the end of the lines does. Where a file is named, the talk rests in it at the end,
    whatever ended it.

    Args:
        model: A `Backbone`, or the name of one.
        lines: What is said; empty lines are passed over.
        policy: What stays where not all can.
        half_life: Turns after which a surprise counts half, >= 1, with ``sirllm``; None lets none fade.
        budget: Bytes of keys and values, as a number or as ``20MB``; None takes 20MB, or that of the saved talk.
        system: What the model is told first.
        save: File that the talk rests in.
        resume: Go on with the talk that rests there.
        max_tokens: Most tokens of an answer, >= 1.
        progress: Told each piece of an answer, and each turn.

    Raises:
        BadInput: An argument cannot be used, or does not fit the saved talk.
        NotFound: The saved talk is not there.
        Damaged: The saved talk was cut off or changed.
        ModelError: The model cannot be loaded, or the device ran out of memory.
        StoreError: The talk cannot be written; what was there stays.
    """
    if max_tokens < 1:
        raise BadInput(f"max_tokens must be >= 1, got {max_tokens!r}")
    size = None if budget is None else _bytes_of(budget)
    file = None if save is None else Path(save).expanduser()
    _check_file(file, system, is_there=resume)
    session = _session(model, policy, half_life, size, system, file if resume else None)
    told, is_interrupted = progress or _nobody, False
    try:
        for line in lines:
            if words := line.strip():
                told(_turn(session, words, max_tokens, told))
    except KeyboardInterrupt:
        is_interrupted = True
    finally:
        if file is not None:
            session.save(file)
    read, held = session.cache.read, session.nbytes
    return Chatted(session.turn, read, held, session.budget_bytes, None if file is None else str(file), is_interrupted)


def _turn(session: Session, line: str, max_tokens: int, told: Callable[[Piece], object]) -> Said:
    start = time.perf_counter()
    pieces = []
    for piece in session.stream(line, max_tokens=max_tokens):
        pieces.append(piece)
        told(Piece(piece))
    ms = (time.perf_counter() - start) * 1000
    held, each = session.nbytes, session.backbone.bytes_per_token
    return Said(session.turn, line, "".join(pieces).strip(), held, round(held / each), session.cache.read, ms)


def _session(
    model: Backbone | str,
    policy: TalkPolicy,
    half_life: int | None,
    size: int | None,
    system: str | None,
    saved: Path | None,
) -> Session:
    """Return a talk that begins, or the saved one."""
    if policy not in get_args(TalkPolicy):
        raise BadInput(f"there is no policy {policy!r}", hint=f"one of {', '.join(get_args(TalkPolicy))}")
    if half_life is not None and (policy != "sirllm" or half_life < 1):
        raise BadInput(f"a half-life of {half_life!r} turns is not possible here", hint="at least 1, with sirllm")
    backbone = backbone_from(model) if isinstance(model, str) else model
    chosen = _policy(policy, half_life)
    if saved is None:
        return backbone.session(chosen, budget_bytes=size or _bytes_of(_BUDGET), system=system)
    from .state.session import Session

    session = Session.load(saved, backbone, chosen)
    if size is not None and size != session.budget_bytes:
        raise BadInput(
            f"the talk in {str(saved)!r} was saved with a budget of {session.budget_bytes} bytes, not {size}",
            hint="leave the budget out",
        )
    return session


def _policy(name: TalkPolicy, half_life: int | None) -> CachePolicy:
    from .state import KeyNorm, SinkWindow, SnapKV, Surprisal

    match name:
        case "sirllm":
            return Surprisal(decay=1.0 if half_life is None else 2 ** (-1 / half_life))
        case "window":
            return SinkWindow()
        case "key-norm":
            return KeyNorm(positions="cache")
        case "snapkv":
            return SnapKV()


def _bytes_of(size: str | int) -> int:
    """Return a number of bytes, written as ``20MB``, ``512kB`` or ``20000000``."""
    found = _SIZE.fullmatch(str(size).strip())
    if found is None:
        raise BadInput(f"{size!r} is no number of bytes", hint="write 20MB, 512kB or 20000000")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _check_file(file: Path | None, system: str | None, *, is_there: bool) -> None:
    """Refuse before the talk what could not be saved after it."""
    if file is None:
        if is_there:
            raise BadInput("nothing says which talk to go on with", hint="name its file with --save")
        return
    if is_there:
        if system is not None:
            raise BadInput("a talk that is gone on with was told its first words already", hint="leave them out")
        if not file.exists():
            raise NotFound(f"there is no session {str(file)!r}", hint="without --resume a talk begins")
    elif file.exists():
        raise BadInput(f"{str(file)!r} is there", hint="go on with it by --resume, or take another name")
    if not file.parent.is_dir():
        raise BadInput(f"there is no folder {str(file.parent)!r}", hint="make it first, or take another")


def _nobody(_: object) -> None:
    return None
