"""Caches as bytes: safetensors with a header that says how the numbers are stored."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import Tensor

from ..errors import BadInput, Damaged, TooNew
from ..models.cache import StateCache
from ..models.rope import Rope
from .quantize import Form, quantize_pair, restore_pair

__all__ = ["TensorFile", "cache_from", "read_tensors", "state_bytes", "tensor_bytes"]

_VERSION = 1
_LONGEST_HEADER = 100_000_000  # bytes, as the safetensors library has it
_DTYPES: Mapping[str, torch.dtype] = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
    "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip
_FACTS = "pinyon"  # key of the header under which ours stand


@dataclass(frozen=True, slots=True)
class TensorFile:
    """What stands in a file of tensors.

    Args:
        tensors: By name; they look into the bytes they were read from and are not to be written.
        facts: What the writer said of them.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, object]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def tensor_bytes(tensors: Mapping[str, Tensor], facts: Mapping[str, object] | None = None) -> bytes:
    """Return tensors as safetensors, equal ones kept once.

    Args:
        tensors: By name, on any device.
        facts: Plain JSON that says what they are.
    """
    kept: dict[str, Tensor] = {}
    same: dict[str, str] = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu")
        twin = _twin(plain, kept) if plain.dtype is torch.int64 else None
        if twin is None:
            kept[name] = plain.clone(memory_format=torch.contiguous_format) if _is_part(plain) else plain
        else:
            same[name] = twin
    said = json.dumps({"version": _VERSION, "same": same, **(facts or {})}, sort_keys=True)
    return bytes(save(kept, metadata={_FACTS: said}))


def _twin(tensor: Tensor, kept: Mapping[str, Tensor]) -> str | None:
    """Return the name of an equal tensor; positions and origins are the same in every layer that was not cut."""
    equal = (
        n for n, t in kept.items() if t.dtype == tensor.dtype and t.shape == tensor.shape and torch.equal(t, tensor)
    )
    return next(equal, None)


def _is_part(tensor: Tensor) -> bool:
    """Return whether a tensor is a part of a storage, which safetensors writes only as a whole."""
    return not tensor.is_contiguous() or tensor.untyped_storage().nbytes() != tensor.nbytes


def read_tensors(data: bytes | memoryview) -> TensorFile:
    """Read what `tensor_bytes` wrote, without copying the numbers.

    Args:
        data: A buffer; the tensors look into it where it can be written, as a private map of a file can.

    Raises:
        Damaged: The bytes are cut, or are no tensors.
        TooNew: A later pinyon wrote them.
    """
    view = memoryview(data)
    if view.readonly:
        view = memoryview(bytearray(view))  # torch looks only into what could be written
    try:
        size = int.from_bytes(view[:8], "little")
        if len(view) < 8 or size > min(_LONGEST_HEADER, len(view) - 8):
            raise Damaged("the tensors are cut off, or are none")
        header = json.loads(bytes(view[8 : 8 + size]))
        facts = json.loads(header.pop("__metadata__", {}).get(_FACTS, "{}"))
        body = view[8 + size :]
        tensors = {name: _tensor(body, told) for name, told in header.items()}
        tensors |= {name: tensors[twin] for name, twin in facts.get("same", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise Damaged(f"what should be tensors is none: {str(error)[:120]}") from error
    if not isinstance(facts.get("version", 0), int) or facts.get("version", 0) > _VERSION:
        raise TooNew(f"these tensors were written in format {facts.get('version')!r}, this pinyon reads {_VERSION}")
    return TensorFile(tensors, facts)


def _tensor(body: memoryview, told: Mapping[str, object]) -> Tensor:
    dtype = _DTYPES[str(told["dtype"])]
    shape = [int(size) for size in told["shape"]]  # type: ignore[attr-defined]  # a list, else TypeError
    start, end = (int(place) for place in told["data_offsets"])  # type: ignore[attr-defined]
    number = math.prod(shape)
    if min(shape, default=0) < 0 or not 0 <= start <= end <= len(body) or end - start != number * dtype.itemsize:
        raise ValueError(f"a tensor of shape {shape} does not lie at {start}:{end}")
    if not number:
        return torch.zeros(shape, dtype=dtype)
    return torch.frombuffer(body, dtype=dtype, count=number, offset=start).reshape(shape)


def state_bytes(cache: StateCache, form: Form = "full", facts: Mapping[str, object] | None = None) -> bytes:
    """Return everything a cache holds but its last logits, as bytes.

    Args:
        cache: Read, not changed.
        form: How keys and values rest; anything but ``full`` is approximate.
        facts: What else is said of it.
    """
    found = {name: tensor for name, tensor in cache.tensors().items() if name != "cache.logits"}
    out: dict[str, Tensor] = {}
    for name, tensor in found.items():
        stem, _, part = name.rpartition(".")
        if part == "keys":
            pair = quantize_pair(tensor, found[f"{stem}.values"], form)
            out |= {f"{stem}.{key}": stored for key, stored in pair.items()}
        elif part != "values":
            out[name] = tensor
    return tensor_bytes(out, {"form": form, **(facts or {})})


def cache_from(file: TensorFile, rope: Rope | None, *, share: bool = False) -> StateCache:
    """Return a cache from what `state_bytes` wrote.

    Args:
        file: What was read; it is not changed by anything that this project does with the cache.
        rope: How the model rotates keys.
        share: Leave the numbers where they lie instead of copying them: a cache puts new tensors in the place of old
            ones and never writes into them, so that this is safe for whoever keeps from writing into them himself.

    Raises:
        Damaged: The tensors are not those of a cache.
    """
    form: Form = file.facts.get("form", "full")  # type: ignore[assignment]  # checked below
    pairs: dict[str, dict[str, Tensor]] = {}
    out: dict[str, Tensor] = {}
    for name, tensor in file.tensors.items():
        stem, found, part = name.partition(".keys") if ".keys" in name else name.partition(".values")
        if found:
            pairs.setdefault(stem, {})[f"{found[1:]}{part}"] = tensor
        else:
            out[name] = tensor if share else tensor.clone()
    try:
        for stem, tensors in pairs.items():
            keys, values = restore_pair(tensors, form)
            is_apart = share or form != "full"  # restored numbers are new ones
            out[f"{stem}.keys"], out[f"{stem}.values"] = (keys, values) if is_apart else (keys.clone(), values.clone())
        return StateCache.from_tensors(out, rope)
    except (BadInput, KeyError, RuntimeError) as error:
        raise Damaged(f"the tensors are not those of a state: {str(error)[:120]}") from error
