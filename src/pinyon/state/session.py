"""A conversation with a local model that never outgrows its bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from ..core.payload import Json
from ..errors import BadInput
from ..models._network import surprise
from ..models.base import Message
from ._session_file import pack, policy_json, read_file, unpack, write_file
from .compress import Compressor
from .policy import CachePolicy, check_policy, shape_of

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = ["CHUNK", "Session"]

Role = Literal["system", "user", "assistant"]
CHUNK = 256
"""Most tokens read at once where nothing else is said; ours."""
_BURST = 32  # entries freed at once while an answer grows: each cut copies the cache
_QUESTION, _ANSWER = "pinyonquestion", "pinyonanswer"  # stand for turns that are in the cache already


class Session:
    """Read and answer without end while keys and values stay within some bytes.

    Before anything is read, a cut makes room for it, so the budget holds at every moment. What is read is divided
    into pieces of at most half of what the sinks leave. No head holds more entries than the model has positions,
    however large the budget is; where a policy keeps the positions that entries were read at, all that is held is
    renumbered once they come to the model's last one. One thread at a time.

    Args:
        backbone: Reads and answers.
        policy: Says what stays.
        budget_bytes: Of keys and values, at least two tokens more than the sinks.
        system: What the model is told first, or None.
        chunk: Most tokens read at once, >= 1.

    Attributes:
        cache: What is held.
        turn: Turns so far: each `say` and each `read` is one, the system's words are not.

    Raises:
        BadInput: The budget holds too few tokens, `chunk` is below 1, `policy` is none, or the keys of the model cannot
            be moved, so that the talk would end at its last position.

    Source: the turn loop of Yao, Li and Zhao 2024, arXiv 2405.12528; pieces as its eviction asks for.
    """

    def __init__(
        self,
        backbone: Backbone,
        policy: CachePolicy,
        *,
        budget_bytes: int,
        system: str | None = None,
        chunk: int = CHUNK,
    ) -> None:
        check_policy(policy)
        if isinstance(budget_bytes, bool) or not isinstance(budget_bytes, int):
            raise BadInput(f"budget_bytes must be a whole number, got {budget_bytes!r}")
        shape = shape_of(backbone)
        entries, sinks = shape.entries_within(budget_bytes), int(getattr(policy, "sinks", 0))
        if backbone.limit is not None:
            entries = min(entries, backbone.limit)
        if chunk < 1:
            raise BadInput(f"chunk must be >= 1, got {chunk!r}")
        if entries < sinks + 2:
            raise BadInput(
                f"a budget of {budget_bytes!r} bytes holds {entries} tokens, at least {sinks + 2} are needed",
                hint=f"a token needs {shape.token_bytes} bytes",
            )
        self.backbone = backbone
        self.policy = policy
        self.budget_bytes = budget_bytes
        self.cache = backbone.cache()
        if self.cache.rope is None and (backbone.limit is not None or policy.positions == "cache"):
            raise BadInput(
                f"the keys of {backbone.name!r} cannot be moved to new positions, so a talk with it comes to an end",
                hint="take a model with rotary positions whose scaling does not depend on the length read",
            )
        self.turn = 0
        self._system = system
        self._is_open = False  # an answer stands at the end, its turn is not closed yet
        self._last: int | None = None  # the last token read
        self._chunk = chunk
        self._cutter = Compressor(backbone, self.cache, policy, entries=entries, longest=backbone.limit)
        least = min(min(heads) for heads in self._cutter.limits)
        self._piece = max(1, min(chunk, (least - sinks) // 2))

    @property
    def logits(self) -> Tensor | None:
        """What the model foretells next, float32 (V,); None before anything was read."""
        return self.cache.logits

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return self.cache.nbytes

    @property
    def entries(self) -> int:
        """Entries each head may hold; where a policy divides them, their mean."""
        return self._cutter.entries

    def read(self, content: str | Sequence[int], *, role: Role | None = None) -> int:
        """Read text or tokens as a turn of its own, and return how many tokens that were.

        Args:
            content: Text, or token ids.
            role: Who says it, laid out by the model's template; None for text that is read as it stands.

        Raises:
            BadInput: Token ids were given a role, there is no such role, what should be read is neither text nor ids,
                or the backbone has no tokenizer for text.
        """
        if role is not None and role not in get_args(Role):
            raise BadInput(f"role must be one of {', '.join(get_args(Role))}, got {role!r}")
        if not isinstance(content, Iterable):
            raise BadInput(f"a session reads text or token ids, got {content!r}")
        if not isinstance(content, str):
            if role is not None:
                raise BadInput("tokens are read as they stand", hint="leave role out")
            ids = list(content)
        elif role is None:
            ids = self._encode(content)
        else:
            ids = self._encode(self._laid_out(Message(role, content), opening=False))
        self._feed(ids)
        self.turn += 1
        self._is_open = self._is_open and role is None
        return len(ids)

    def say(self, message: str, *, max_tokens: int = 256) -> str:
        """Answer a message, always by the likeliest token.

        Raises:
            BadInput: `max_tokens` is below 1, or the backbone has no tokenizer.
        """
        return "".join(self.stream(message, max_tokens=max_tokens))

    def stream(self, message: str, *, max_tokens: int = 256) -> Iterator[str]:
        """Answer a message piece by piece; a turn that is not read to its end ends where it was left.

        Raises:
            BadInput: `max_tokens` is below 1, the message is no text, or the backbone has no tokenizer.
        """
        if not isinstance(message, str):
            raise BadInput(f"a message is text, got {message!r}")
        if max_tokens < 1:
            raise BadInput(f"max_tokens must be >= 1, got {max_tokens!r}")
        self._feed(self._encode(self._laid_out(Message("user", message), opening=True)))
        self._is_open = True
        return self._spoken(max_tokens)

    def continuation(self, max_tokens: int) -> Iterator[int]:
        """Yield the likeliest next tokens, each read before it is given; the model's end of a turn is not given.

        Raises:
            BadInput: Nothing was read yet.
        """
        if self.cache.logits is None:
            raise BadInput("a session that has read nothing cannot go on", hint="read something first")
        for left in range(max_tokens, 0, -1):
            chosen = int(self.cache.logits.argmax())
            if chosen in self.backbone.stop_ids:
                return
            self._feed([chosen], coming=left)
            yield chosen

    def save(self, path: str | Path) -> None:
        """Write all of it to a file, aside first and then renamed: `load` goes on bit for bit.

        Raises:
            StoreError: The file cannot be written; what was there stays.
        """
        write_file(Path(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return what `save` writes."""
        facts: dict[str, Json] = {
            "binding": dict(self.backbone.binding()),
            "policy": policy_json(self.policy),
            "budget_bytes": self.budget_bytes,
            "chunk": self._chunk,
            "turn": self.turn,
            "system": self._system,
            "is_open": self._is_open,
            "last": self._last,
        }
        return pack(facts, {**self.cache.tensors(), **self._cutter.tensors()})

    @classmethod
    def load(cls, source: str | Path | bytes, backbone: Backbone, policy: CachePolicy) -> Session:
        """Go on with a session that was saved.

        Args:
            source: A file, or what `to_bytes` returned.
            backbone: Equal to the one it was saved with.
            policy: Equal to the one it was saved with.

        Raises:
            Damaged: The bytes are cut off or changed.
            BadInput: Another model or policy made it.
            NotFound: There is no such file.
        """
        name = "the session" if isinstance(source, bytes) else f"the session {str(source)!r}"
        facts, tensors = unpack(source if isinstance(source, bytes) else read_file(Path(source)), name)
        if facts["binding"] != backbone.binding():
            raise BadInput(f"{name} was saved with another model than {backbone.name!r}", hint="load that model")
        if facts["policy"] != policy_json(policy):
            raise BadInput(f"{name} was saved with the policy {facts['policy']!r}, not {policy_json(policy)!r}")
        session = cls(
            backbone,
            policy,
            budget_bytes=int(str(facts["budget_bytes"])),
            system=None if facts["system"] is None else str(facts["system"]),
            chunk=int(str(facts["chunk"])),
        )
        session._restore(facts, tensors)
        return session

    def _restore(self, facts: dict[str, Json], tensors: dict[str, Tensor]) -> None:
        held = {name: part for name, part in tensors.items() if not name.startswith("queries.")}
        self.cache = type(self.cache).from_tensors(held, self.cache.rope)
        self.cache.to(self.backbone.device)
        entries, longest = self._cutter.entries, self.backbone.limit
        self._cutter = Compressor(self.backbone, self.cache, self.policy, entries=entries, longest=longest)
        self._cutter.restore({name: part.to(self.backbone.device) for name, part in tensors.items()})
        self.turn = int(str(facts["turn"]))
        self._is_open = bool(facts["is_open"])
        self._last = None if facts["last"] is None else int(str(facts["last"]))

    def _spoken(self, max_tokens: int) -> Iterator[str]:
        try:
            ids: list[int] = []
            told = ""
            for token in self.continuation(max_tokens):
                ids.append(token)
                text = self.backbone.decode(ids)
                if not text.endswith("\ufffd"):  # half of a character waits for its other half
                    yield text[len(told) :]
                    told = text
            text = self.backbone.decode(ids)
            if text != told:
                yield text[len(told) :]
        finally:
            self.turn += 1

    def _feed(self, ids: Sequence[int], *, coming: int = 0) -> None:
        """Read tokens, with a cut before each piece; `coming` tokens are expected in a row."""
        surprise = getattr(self.policy, "surprise", None)
        self.cache.tokens.turn = self.turn
        for start in range(0, len(ids), self._piece):
            piece = list(ids[start : start + self._piece])
            self._make_room(len(piece), coming)
            before, origin = self.cache.logits, self.cache.read
            hook = self._cutter.watch if self.policy.window else None
            logits = self.backbone.forward(
                piece, self.cache, logits="last" if surprise is None else "all", after_layer=hook
            )
            assert logits is not None  # asked for
            if surprise is not None:
                noted = surprisals(piece, logits, before, self._last, official=surprise == "official")
                self.cache.tokens.set_surprisal(torch.arange(origin, self.cache.read, device=noted.device), noted)
            self._last = piece[-1]

    def _make_room(self, count: int, coming: int) -> None:
        """Let some tokens fit the budget and the positions of the model."""
        if self._cutter.exceeds(count):
            self._cutter.make_room(max(count, min(coming, _BURST, self._piece)))
        if self.backbone.limit is not None and self.cache.next_position + count > self.backbone.limit:
            self._cutter.renumber()

    def _encode(self, text: str) -> list[int]:
        is_first = self.cache.read == 0 and getattr(self.backbone.tokenizer, "chat_template", None) is None
        return self.backbone.encode(text, special=is_first)

    def _laid_out(self, message: Message, *, opening: bool) -> str:
        """Return the text that adds a turn to what has been read, the end of an open answer before it."""
        if self.cache.read == 0:
            first = [] if self._system is None else [Message("system", self._system)]
            return self.backbone.render([*first, message], opening=opening)
        talk = [Message("user", _QUESTION), Message("assistant", _ANSWER)]
        closing = self.backbone.render(talk, opening=False).rpartition(_ANSWER)[2]
        known = talk[:1] if message.role == "assistant" else talk
        base = self.backbone.render(known, opening=False)
        longer = self.backbone.render([*known, message], opening=opening)
        added = longer.removeprefix(base) if longer.startswith(base) else f"\n{message.role}: {message.content}\n"
        return closing + added if self._is_open else added


def surprisals(
    ids: Sequence[int], logits: Tensor, before: Tensor | None, last: int | None, *, official: bool
) -> Tensor:
    """Return how surprising tokens were when they came, in nats, (q,).

    Args:
        ids: The q tokens.
        logits: (q, V) after each of them.
        before: (V,) after the token before them, or None.
        last: The token before them, or None.
        official: Score as the released code of SirLLM does: each token by the surprise of repeating the token before
            it; the first of several by the highest of them.
    """
    wanted = torch.tensor(ids, device=logits.device)
    rest = surprise(logits[:-1], wanted[:-1] if official else wanted[1:])  # (q - 1,) of every token but the first
    asked = last if official else ids[0]
    if before is not None and asked is not None and not (official and len(ids) > 1):
        first = surprise(before[None], torch.tensor([asked], device=logits.device))[0]
    else:
        first = rest.max() if len(rest) else torch.zeros((), device=logits.device)
    return torch.cat((first[None].to(rest), rest))
