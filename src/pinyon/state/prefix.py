"""Texts as states: what a model has read of them is kept, bound to that model, and attached instead of read again."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.cube import Cube, Draft
from ..core.header import Header, Lineage, Origin, Parent, Provenance
from ..core.payload import Json, State
from ..core.render import introduction
from ..errors import BadInput, Damaged
from ..models.base import Message
from ..models.cache import StateCache
from ..models.fingerprint import Fingerprint, mismatch
from ..store import Blobs
from .origins import Origins, Piece, origins_from_json, origins_to_json
from .quantize import Form
from .tensor_file import TensorFile, cache_from, read_tensors, state_bytes

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = [
    "Attached",
    "Costs",
    "Segment",
    "StoredError",
    "attach",
    "build",
    "content_of",
    "digest_of",
    "divergence",
    "draft_of",
    "in_common",
    "measure_costs",
    "passages_of",
    "prompt_ids",
    "read_segment",
    "segment_of",
    "why_not",
]

LAYOUT = "numbered passages in the system turn, 1"
"""Names how texts are laid out; another layout asks for another name, and old states are then built again."""

_SENTINELS = ("?", "The", "1", " x", "\n", "é")
"""Beginnings of a question that tokenizers join with what stands before in different ways."""
_PROBE = "What is said about this?"
_ROLE = "tensors"


@dataclass(frozen=True, slots=True)
class Segment:
    """A text that stands first in a prompt, as one model reads it.

    Args:
        content: The system turn.
        ids: Its tokens, cut where the template begins the next turn, so that whatever follows leaves them alone.
        origins: Which of them came from which memory.
    """

    content: str
    ids: tuple[int, ...]
    origins: Origins

    @property
    def digest(self) -> str:
        """SHA-256 of the tokens."""
        return digest_of(self.ids)


@dataclass(frozen=True, slots=True)
class Attached:
    """A state that is ready to be read on from.

    Args:
        cache: A copy of its own.
        ids: The tokens that it has read.
        origins: Which of them came from which memory.
        is_approximate: Whether its numbers differ from what the model would compute.
    """

    cache: StateCache
    ids: tuple[int, ...]
    origins: Origins
    is_approximate: bool


@dataclass(frozen=True, slots=True)
class StoredError:
    """How far stored numbers are from those the model computed.

    Args:
        keys_max: Largest absolute error of a key.
        keys_mean: Mean absolute error of the keys.
        values_max: As for keys.
        values_mean: As for keys.
        divergence: KL divergence in nats of the next token after a short question.
    """

    keys_max: float
    keys_mean: float
    values_max: float
    values_mean: float
    divergence: float

    def as_json(self) -> dict[str, Json]:
        """Return it with four significant digits."""
        return {name: float(f"{getattr(self, name):.4g}") for name in self.__slots__}


def digest_of(ids: Sequence[int]) -> str:
    """Return the SHA-256 of token ids."""
    return hashlib.sha256(torch.tensor(list(ids), dtype=torch.int64).numpy().tobytes()).hexdigest()


def passages_of(cubes: Sequence[Cube], *, first: int = 1) -> list[str]:
    """Return each memory as a numbered passage with its date and speaker.

    Raises:
        BadInput: One holds no words.
    """
    silent = next((cube for cube in cubes if not cube.text.strip()), None)
    if silent is not None:
        raise BadInput(f"cube {silent.id!r} is of kind {silent.kind.value}, it has no words to read")
    return [f"[{number}] {introduction(cube)}{cube.text.strip()}" for number, cube in enumerate(cubes, first)]


def content_of(cubes: Sequence[Cube], instructions: str) -> str:
    """Return the first turn of a prompt: instructions, if there are any, and numbered passages.

    Raises:
        BadInput: A cube holds no words.
    """
    return "\n".join([*([f"{instructions}\n\nPassages:"] if instructions else []), *passages_of(cubes)])


def prompt_ids(backbone: Backbone, messages: Sequence[Message]) -> list[int]:
    """Return a conversation as the tokens that `Backbone.generate` would read."""
    tokenizer = backbone.tokenizer
    return backbone.encode(backbone.render(messages), special=getattr(tokenizer, "chat_template", None) is None)


def segment_of(backbone: Backbone, cubes: Sequence[Cube], *, instructions: str = "") -> Segment:
    """Lay texts out as the first turn of a prompt and return the tokens that no question can change.

    The tokens are those that prompts with quite different questions share, cut after the last token of the template.

    Args:
        backbone: Whose tokenizer and template.
        cubes: Text cubes, in the order of their passages.
        instructions: What stands before the passages.

    Raises:
        BadInput: There is no text, the model has no tokenizer, its template changes the texts, or it is too long.

    Source: Li et al. 2025, MemOS, arXiv 2507.03724, "plaintext to activation": a memory is rendered first and kept.
    Deviates: the paper says nothing of borders; here the tokens are compared with those of whole prompts.
    """
    if not cubes:
        raise BadInput("a state is made of at least one text")
    passages = passages_of(cubes)
    content = content_of(cubes, instructions)
    prompts = [backbone.render([Message("system", content), Message("user", begun)]) for begun in _SENTINELS]
    special = getattr(backbone.tokenizer, "chat_template", None) is None
    read = [backbone.encode(prompt, special=special) for prompt in prompts]
    shared = read[0][: min(_alike(read[0], other) for other in read)]
    pieces = _pieces(prompts[0], cubes, passages)
    origins = Origins.of(pieces, _offsets(backbone, prompts[0], special=special, tokens=len(read[0])))
    length = _after_template(backbone, shared, max((span.end for span in origins.spans), default=0))
    origins = origins.cut(length)
    if set(origins.sources) != {cube.id for cube in cubes}:
        raise BadInput(f"the template of {backbone.name!r} lets a question change what stands before it")
    if backbone.limit is not None and length >= backbone.limit:
        raise BadInput(
            f"these texts have {length} tokens and the model {backbone.name!r} reads at most {backbone.limit}",
            hint="make it of fewer texts",
        )
    return Segment(content, tuple(read[0][:length]), origins)


def _after_template(backbone: Backbone, shared: Sequence[int], passages_end: int) -> int:
    """Return where to cut: after the template's last special token, which nothing is joined with.

    A template that writes none after the passages is cut where these end: what stands behind them is its own, always
    the same, and keeps a question from being joined with them.
    """
    special = set(getattr(backbone.tokenizer, "all_special_ids", None) or ())
    last = max((place for place, id in enumerate(shared) if id in special), default=-1)
    return last + 1 if last >= passages_end else min(passages_end, len(shared))


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many of the first tokens are the same."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def in_common(base: Attached, segment: Segment, gone: Sequence[str] = ()) -> int:
    """Return how many of the first tokens of a segment a state has read, before anything of memories that are gone.

    The last token is never among them: something has to be read for the model to go on.
    """
    return min(_alike(base.ids, segment.ids), base.origins.first_of(gone), len(segment.ids) - 1)


def _pieces(prompt: str, cubes: Sequence[Cube], passages: Sequence[str]) -> list[Piece]:
    pieces: list[Piece] = []
    at = 0
    for cube, passage in zip(cubes, passages, strict=True):
        start = prompt.find(passage, at)
        if start < 0:
            raise BadInput(f"the chat template changes the words of cube {cube.id!r}, so it cannot be kept as state")
        at = start + len(passage)
        pieces.append(Piece(cube.id, cube.version, start, at))
    return pieces


def _offsets(backbone: Backbone, text: str, *, special: bool, tokens: int) -> list[tuple[int, int]]:
    """Return the characters of each token; where the tokenizer cannot say, a token's border may be off by one token."""
    tokenizer = backbone.tokenizer
    if getattr(tokenizer, "is_fast", False):
        told = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)  # type: ignore[misc]
        return [(int(start), int(end)) for start, end in told["offset_mapping"]]
    ends = [0] * tokens
    for place in range(1, len(text) + 1):
        count = min(tokens, len(backbone.encode(text[:place], special=special)))
        ends[max(0, count - 1)] = place
    starts = [0, *ends[:-1]]
    return [(max(0, start - 1), max(start, end) + 1) for start, end in zip(starts, ends, strict=True)]


def read_segment(
    backbone: Backbone,
    segment: Segment,
    *,
    base: Attached | None = None,
    gone: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Attached:
    """Let the model read a segment.

    Args:
        backbone: The model.
        segment: What to read.
        base: A state that begins alike, of which what is the same is kept and the rest cut out; an approximate one is
            not used. It is taken over.
        gone: Memories of which nothing may stay: the base is cut before the first token that holds any of them.
        progress: Told the number of tokens after each part.
    """
    cache = backbone.cache()
    kept = 0
    if base is not None and not base.is_approximate:
        kept = in_common(base, segment, gone)
        if kept:
            cache = base.cache
            cache.crop(kept)
    backbone.prefill(segment.ids[kept:], cache, progress=progress)
    return Attached(cache, segment.ids, segment.origins, is_approximate=False)


def build(
    backbone: Backbone,
    cubes: Sequence[Cube],
    blobs: Blobs,
    *,
    form: Form = "full",
    instructions: str = "",
    base: Attached | None = None,
    gone: Sequence[str] = (),
    adapters: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Draft:
    """Read texts and return the draft of a cube that holds what the model then knows.

    Rights, expiry and owner are the caller's to lay over; the lineage names the texts.

    Args:
        backbone: The model.
        cubes: Text cubes, in the order of their passages.
        blobs: Where the tensors go; they are there on return, and no cube names them yet.
        form: How numbers rest.
        instructions: What stands before the passages.
        base: As for `read_segment`.
        gone: As for `read_segment`.
        adapters: Digests of the adapters that are active.
        progress: Told the number of tokens after each part.

    Raises:
        BadInput: As for `segment_of`.
        StoreError: The tensors could not be written; nothing of them is left.

    Cost: one reading of the texts; 2 · layers · key/value heads · width · bytes of a number, for each token.
    Source: Li et al. 2025, MemOS, arXiv 2507.03724, section on activation memory.
    Deviates: safetensors instead of a pickled object; bound to weights, tokenizer, template and tokens.
    """
    segment = segment_of(backbone, cubes, instructions=instructions)
    read = read_segment(backbone, segment, base=base, gone=gone, progress=progress)
    return draft_of(backbone, read, cubes, blobs, form=form, instructions=instructions, adapters=adapters)


def draft_of(
    backbone: Backbone,
    read: Attached,
    cubes: Sequence[Cube],
    blobs: Blobs,
    *,
    form: Form = "full",
    instructions: str = "",
    adapters: Sequence[str] = (),
    said: Mapping[str, Json] | None = None,
) -> Draft:
    """Return the draft of a cube that holds what was read; arguments as for `build`.

    Args:
        backbone: The model.
        read: What it has read.
        cubes: The texts.
        blobs: Where the tensors go.
        form: How numbers rest.
        instructions: What stands before the passages.
        adapters: Digests of the adapters that were active.
        said: What else the payload says of itself.
    """
    data = state_bytes(read.cache, form, {"ids": digest_of(read.ids)})
    details: dict[str, Json] = {
        "layout": LAYOUT,
        "instructions": hashlib.sha256(instructions.encode()).hexdigest(),
        "form": form,
        "approximate": read.is_approximate or form != "full",
        "spans": origins_to_json(read.origins),
        **(said or {}),
    }
    if form != "full":
        details["errors"] = stored_error(backbone, read, read_tensors(data)).as_json()
    binding = {**backbone.binding(adapters), "first_position": 0, "token_ids": digest_of(read.ids)}
    payload = State((blobs.put(data, role=_ROLE),), binding, tokens=len(read.ids), details=details)
    lineage = Lineage(tuple(Parent(cube.id, cube.version, "converted") for cube in cubes))
    header = Header(
        provenance=Provenance(origin=Origin.CONVERSION, title=cubes[0].header.provenance.title), lineage=lineage
    )
    return Draft(payload, header)


def why_not(state: State, binding: Mapping[str, Json]) -> str:
    """Return why a state may not be used with a model, as a part of a sentence; an empty text when it may.

    Args:
        state: The state.
        binding: What the model is now, `Backbone.binding`.
    """
    if state.format != "kv_cache":
        return f"it is a {state.format}, no cache"
    try:
        apart = mismatch(Fingerprint.from_json(state.binding), Fingerprint.from_json(binding))
    except BadInput:
        return "it does not say what it was made with"
    if apart:
        return f"it was made with another model: {', '.join(apart)}"
    if state.binding.get("first_position") != 0:
        return "it does not stand at the beginning of a prompt"
    if not state.blobs:
        return "it was dropped to save room"
    return "" if state.details.get("layout") == LAYOUT else "it was laid out in another way"


def attach(
    backbone: Backbone,
    state: State,
    file: TensorFile,
    *,
    binding: Mapping[str, Json] | None = None,
    share: bool = False,
) -> Attached:
    """Return a state as a cache, ready to be read on from.

    Args:
        backbone: The model.
        state: The payload.
        file: Its tensors, `StateShelf.get`; they stay as they are.
        binding: What the model is now, with the adapters that are active; None asks it.
        share: Copy nothing; see `cache_from`.

    Raises:
        BadInput: It was made with another model, tokenizer, template, adapter, number type or layout.
        Damaged: Its tensors are not what the payload says.
    """
    reason = why_not(state, backbone.binding() if binding is None else binding)
    if reason:
        raise BadInput(f"the state may not be used: {reason}", hint="build it again from its texts")
    cache = cache_from(file, backbone.cache().rope, share=share)
    ids = tuple(cache.tokens.ids.tolist())
    if digest_of(ids) != state.binding.get("token_ids") or cache.read != state.tokens or len(ids) != state.tokens:
        raise Damaged("the tensors of the state hold other tokens than it names")
    entries = [group for layer in cache.layers for group in layer.groups]
    if cache.shape != backbone.cache().shape or any(
        part.dtype is not backbone.dtype for e in entries for part in e.tensors[:2]
    ):
        raise Damaged(f"the tensors of the state are not those of the model {backbone.name!r}")
    origins = origins_from_json(state.details.get("spans"), state.tokens)
    if backbone.device.type != "cpu":
        cache = cache.to(backbone.device)
    return Attached(cache, ids, origins, is_approximate=bool(state.details.get("approximate", True)))


def divergence(exact: Tensor, other: Tensor) -> float:
    """Return the KL divergence in nats from what one distribution of the next token says to what another says.

    Args:
        exact: Logits, (V,).
        other: Logits, (V,).
    """
    one, two = (torch.log_softmax(logits.detach().double().cpu(), dim=-1) for logits in (exact, other))
    return max(0.0, float((one.exp() * (one - two)).sum()))


def stored_error(backbone: Backbone, read: Attached, file: TensorFile) -> StoredError:
    """Return how far the numbers in a file are from those that the model has just computed."""
    cache = cache_from(file, read.cache.rope)
    off: dict[str, list[tuple[float, float, int]]] = {"keys": [], "values": []}
    for mine, theirs in zip(read.cache.layers, cache.layers, strict=True):
        for one, two in zip(mine.groups, theirs.groups, strict=True):
            for name in off:
                apart = (getattr(one, name).float().cpu() - getattr(two, name).float()).abs()
                off[name].append((float(apart.max()), float(apart.sum()), apart.numel()))
    most = {name: max((m for m, _, _ in found), default=0.0) for name, found in off.items()}
    mean = {name: sum(s for _, s, _ in found) / max(1, sum(n for _, _, n in found)) for name, found in off.items()}
    probe = backbone.encode(_PROBE) if backbone.tokenizer is not None else list(read.ids[:8])
    exact, stored = (backbone.prefill(probe, one) for one in (read.cache.clone(), cache.to(backbone.device)))
    return StoredError(most["keys"], mean["keys"], most["values"], mean["values"], divergence(exact, stored))


@dataclass(frozen=True, slots=True)
class Costs:
    """What the forms of a memory cost with one model on one machine, in seconds for each token of the memory.

    Args:
        t_direct: To read it as text.
        t_cached: To attach it as stored state.
        t_build: To build that state, once.
        bytes_per_token: Bytes of the state.
    """

    t_direct: float
    t_cached: float
    t_build: float
    bytes_per_token: int


def measure_costs(backbone: Backbone, blobs: Blobs, *, tokens: int = 256, form: Form = "full") -> Costs:
    """Measure what reading, attaching and building cost with a model on this machine.

    Args:
        backbone: The model.
        blobs: Where a state is written and read back; nothing of it stays.
        tokens: Length of the text that is read, >= 8; arbitrary tokens of the model.
        form: How numbers rest.

    Raises:
        BadInput: There are too few tokens.
    """
    if tokens < 8:
        raise BadInput(f"costs are measured on at least 8 tokens, got {tokens!r}")
    tokens = tokens if backbone.limit is None else min(tokens, backbone.limit - 1)
    ids = [7 + (number * 31) % max(1, min(backbone.vocabulary, 5000) - 8) for number in range(tokens)]
    backbone.prefill(ids[:8], backbone.cache())  # what is slow at first is slow once
    start = time.perf_counter()
    cache = backbone.cache()
    backbone.prefill(ids, cache)
    direct = time.perf_counter() - start
    data = state_bytes(cache, form, {"measured": secrets.token_hex(8)})  # another process may measure now
    blob = blobs.put(data)
    build = time.perf_counter() - start
    try:
        start = time.perf_counter()
        cache_from(read_tensors(blobs.view(blob)), cache.rope)
        cached = time.perf_counter() - start
    finally:
        blobs.remove(blob)
    return Costs(direct / tokens, cached / tokens, build / tokens, -(-len(data) // tokens))
