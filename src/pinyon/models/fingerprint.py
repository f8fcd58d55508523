"""What a state is bound to: weights, tokenizer, template, adapters, number type, rotary positions, architecture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..core.payload import Json
from ..errors import BadInput
from ..extras import require
from ._marks import TokenizerMarks, WeightMarks, adapter_facts, keep_digest, kept_digest

__all__ = ["Fingerprint", "FingerprintMaker", "mismatch"]

_WORDS = {
    "weights": "the weights differ",
    "tokenizer": "the tokenizer differs",
    "template": "the chat template differs",
    "adapters": "the adapters differ",
    "dtype": "the number type differs",
    "rope": "the rotary positions differ",
    "architecture": "the architecture differs",
}
_BLOCK = 1 << 24
_PASSING = frozenset(
    # says nothing about what the network computes
    "_name_or_path architectures auto_map chunk_size_feed_forward dtype id2label label2id output_attentions "
    "output_hidden_states problem_type quantization_config return_dict torch_dtype transformers_version use_cache "
    "initializer_range rope_parameters rope_scaling rope_theta bos_token_id eos_token_id pad_token_id".split()
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Names everything that a key or value depends on beside the text.

    Args:
        weights: SHA-256 over all tensors in the order of their names: name, number type, shape, bytes.
        tokenizer: SHA-256 over vocabulary, merges, rules and special tokens; empty without a tokenizer.
        template: SHA-256 of the chat template; empty without one.
        adapters: Digests of the active adapters and of their settings, in their order.
        dtype: Number type of weights and caches, such as "float32".
        rope: SHA-256 over the rotary parameters.
        architecture: SHA-256 over what else the configuration says of the network.
    """

    weights: str
    tokenizer: str
    template: str
    adapters: tuple[str, ...]
    dtype: str
    rope: str
    architecture: str

    @property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return _sha(json.dumps(asdict(self), sort_keys=True))

    def as_json(self) -> dict[str, Json]:
        """Return it as a state cube keeps it."""
        return {**asdict(self), "adapters": list(self.adapters)}

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Fingerprint:
        """Read what `as_json` returned.

        Raises:
            BadInput: A part is missing or no text.
        """
        texts = {field.name: data.get(field.name) for field in fields(cls) if field.name != "adapters"}
        adapters = data.get("adapters")
        if not isinstance(adapters, list) or not all(isinstance(part, str) for part in (*texts.values(), *adapters)):
            raise BadInput(f"a fingerprint names {', '.join(_WORDS)}, got {sorted(data)!r}")
        return cls(**{name: str(text) for name, text in texts.items()}, adapters=tuple(str(one) for one in adapters))


def mismatch(a: Fingerprint, b: Fingerprint) -> list[str]:
    """Return in words what differs between two fingerprints, empty when nothing does.

    Example:
        >>> from dataclasses import replace
        >>> a = Fingerprint("w", "t", "c", (), "float32", "r", "a")
        >>> mismatch(a, replace(a, weights="v", dtype="bfloat16"))
        ['the weights differ', "the number type differs ('float32' and 'bfloat16')"]
    """
    found = []
    for name, words in _WORDS.items():
        one, other = getattr(a, name), getattr(b, name)
        if one != other:
            found.append(f"{words} ({one!r} and {other!r})" if name == "dtype" else words)
    return found


class FingerprintMaker:
    """Makes the fingerprint of one network, and computes what costs time only when it may have changed.

    Args:
        network: A transformers network.
        tokenizer: Its tokenizer, or None.
        marks: What tells the contents of the files its weights were read from, taken before they were read; with it the
            weights' part is kept in `cache_folder`, so that it costs nothing the next time.
        cache_folder: Where it is kept; None keeps it in memory only.
    """

    def __init__(
        self, network: Any, tokenizer: Any | None, *, marks: str | None = None, cache_folder: Path | None = None
    ) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._marks = marks
        self._folder = cache_folder
        self._looks = WeightMarks(network)
        self._loaded_as = None if marks is None else self._looks.look()
        self._weights: tuple[object, str] | None = None
        self._words: tuple[TokenizerMarks, str] | None = None

    def make(self, adapters: Sequence[str] = ()) -> Fingerprint:
        """Return the fingerprint as the network stands now.

        Args:
            adapters: Digests of what acts on the network beside its modules, in their order. What adapters among its
                modules say of themselves, such as whether they are switched on, counts by itself.
        """
        config = self._network.config.get_text_config(decoder=True).to_dict()
        rope = {name: config.get(name) for name in ("rope_parameters", "rope_scaling", "rope_theta", "head_dim")}
        rest = {name: value for name, value in config.items() if name not in _PASSING}
        template = getattr(self._tokenizer, "chat_template", None)
        inside = adapter_facts(self._network, weights_digest)
        return Fingerprint(
            weights=self._weights_digest(),
            tokenizer=self._tokenizer_digest(),
            template="" if template is None else _sha(json.dumps(template, sort_keys=True)),
            adapters=(*adapters, *(() if inside is None else (_sha(inside),))),
            dtype=str(self._network.get_input_embeddings().weight.dtype).removeprefix("torch."),
            rope=_sha(json.dumps(rope, sort_keys=True, default=str)),
            architecture=_sha(json.dumps(rest, sort_keys=True, default=str)),
        )

    def _weights_digest(self) -> str:
        state = self._looks.look()
        if self._weights is not None and self._weights[0] == state:
            return self._weights[1]
        file = self._cached_file() if state == self._loaded_as else None
        digest = kept_digest(file) or weights_digest(self._network.state_dict())
        if file is not None:
            keep_digest(file, digest)
        self._weights = (state, digest)
        return digest

    def _tokenizer_digest(self) -> str:
        if self._tokenizer is None:
            return ""
        if self._words is None or not self._words[0].is_the_same():
            self._words = (TokenizerMarks(self._tokenizer), _sha(_tokenizer_text(self._tokenizer)))
        return self._words[1]

    def _cached_file(self) -> Path | None:
        if self._folder is None or self._marks is None:
            return None
        first = next(iter(self._network.state_dict().values()))
        return self._folder / "fingerprints" / f"{_sha(json.dumps([_RULE, str(first.dtype), self._marks]))}.txt"


_RULE = 1  # a change of what is hashed changes this


def weights_digest(weights: Mapping[str, Any]) -> str:
    """Return SHA-256 over tensors in the order of their names; one that is tied to another counts by name only."""
    torch = require("torch", "read the weights of a model")
    total = hashlib.sha256()
    seen: dict[tuple[int, tuple[int, ...], str], str] = {}
    for name in sorted(weights):
        part = weights[name].detach()
        same = seen.setdefault((part.data_ptr(), tuple(part.shape), str(part.dtype)), name)
        total.update(json.dumps([name, str(part.dtype), list(part.shape), same if same != name else ""]).encode())
        if same == name:
            flat = part.contiguous().reshape(-1)
            step = max(_BLOCK // max(part.element_size(), 1), 1)
            for start in range(0, flat.numel(), step):
                block = flat[start : start + step].cpu()
                total.update(memoryview(block.view(torch.uint8).numpy()))
    return total.hexdigest()


def _tokenizer_text(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and hasattr(backend, "to_str"):
        rules = json.loads(backend.to_str())
        rules.pop("truncation", None)  # left by the latest call
        rules.pop("padding", None)
    else:
        rules = tokenizer.get_vocab()
    return json.dumps([rules, tokenizer.special_tokens_map], sort_keys=True, default=str)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
