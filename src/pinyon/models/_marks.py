"""What shows cheaply whether files, weights, a tokenizer or adapters are still what they were."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..extras import require
from ..files import whole_file
from ._bundled import sampled_digest

__all__ = ["TokenizerMarks", "WeightMarks", "adapter_facts", "file_marks", "keep_digest", "kept_digest"]

_SAMPLES = 64  # numbers of a tensor; the 273 tensors of SmolLM2 take some 2 ms
_PIECES = 512  # of a vocabulary, tokenized at each look; some 1 ms
_RULES = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_STOCK = ("torch", "transformers")  # what their modules do stands in the configuration and in the weights
_SAID = ("active_adapters", "disable_adapters", "merged", "scaling")  # what an adapter of peft says of itself


def file_marks(files: Sequence[Path]) -> str | None:
    """Return what tells the contents of files: path, size, times, inode and sampled bytes; None where one is missing.

    The time of the last change of an inode cannot be set back, so that a file which was written to or put in the place
    of another is seen whatever its name, size and time of writing.
    """
    try:
        told = [(str(file.resolve()), file.stat()) for file in files]
        marks = [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev] for name, s in told]
        return json.dumps([marks, sampled_digest(*files)]) if files else None
    except OSError:
        return None


def kept_digest(file: Path | None) -> str | None:
    """Return the digest that `keep_digest` wrote, None where there is none or it is torn."""
    try:
        text = "" if file is None else file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if len(text) == 64 and set(text) <= set("0123456789abcdef") else None


def keep_digest(file: Path, digest: str) -> None:
    """Keep a digest; a folder that cannot be written to only costs time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as written:
            written.write(digest.encode("ascii"))
    except OSError:
        return


class WeightMarks:
    """Looks at the weights of a network: where they lie, how often torch wrote to them, and some of their numbers.

    The numbers show writes that torch does not count: through ``.data``, through numpy, or into a mapped file. They
    are evenly spaced over each tensor, so a write that touches all of a tensor or a good part of it is seen, and one
    that touches a few of its numbers most often is not.

    Args:
        network: A torch module.
    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self._torch = require("torch", "read the weights of a model")
        self._places: tuple[object, ...] = ()
        self._samples: list[list[Any]] = []

    def look(self) -> object:
        """Return what differs from an earlier look whenever a change was seen."""
        parts = self._network.state_dict(keep_vars=True)
        places = tuple((name, part.data_ptr(), tuple(part.shape), part.dtype) for name, part in parts.items())
        if places != self._places:
            self._places, self._samples = places, self._sampled(parts.values())
        sha = hashlib.sha256()
        for views in self._samples:
            numbers = self._torch.cat([view.reshape(-1) for view in views]).view(self._torch.uint8)
            sha.update(memoryview(numbers.cpu().numpy()))
        return places, tuple(part._version for part in parts.values()), sha.digest()

    def _sampled(self, parts: Any) -> list[list[Any]]:
        """Return views of some numbers of each tensor, by device and type."""
        views: dict[tuple[str, str], list[Any]] = {}
        for part in parts:
            if part.numel() and part.device.type != "meta":
                views.setdefault((str(part.device), str(part.dtype)), []).append(_some_of(part.detach()))
        return list(views.values())


def _some_of(tensor: Any) -> Any:
    """Return a view of some 64 numbers of a tensor, evenly spaced."""
    if not tensor.is_contiguous():
        most = max(1, round(_SAMPLES ** (1 / max(1, tensor.ndim))))
        return tensor[tuple(slice(None, None, max(1, size // most)) for size in tensor.shape)]
    step = max(1, tensor.numel() // _SAMPLES)
    while step > 1 and math.gcd(step, tensor.shape[-1]) > 1:  # else they would all lie in a few columns
        step -= 1
    return tensor.view(-1)[::step]


class TokenizerMarks:
    """Looks at a tokenizer: its rules, its special tokens, and what it makes of a part of its vocabulary.

    Each look takes the next evenly spaced part, so that a vocabulary of up to 512 tokens is seen whole at once and
    a larger one after as many looks as it takes, 96 for SmolLM2.

    Args:
        tokenizer: Of transformers, as it stands now.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        self._turn = 0
        self._size = len(tokenizer)
        self._turns = max(1, -(-self._size // _PIECES))
        self._rules = self._look_at_rules()
        self._parts = [self._look_at_part(turn) for turn in range(self._turns)]

    def is_the_same(self) -> bool:
        """Return whether nothing is seen to differ from what it was at first."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is not self._backend or self._look_at_rules() != self._rules:
            return False
        turn = self._turn = (self._turn + 1) % self._turns
        return self._look_at_part(turn) == self._parts[turn]

    def _look_at_rules(self) -> object:
        said = (len(self._tokenizer), str(self._tokenizer.special_tokens_map))
        if self._backend is None:
            return said
        rules = [getattr(self._backend, name, None) for name in _RULES]
        model = getattr(self._backend, "model", None)
        flags = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
        plain = sorted((name, str(value)) for name, value in flags.items() if not callable(value))
        added: dict[int, object] = getattr(self._backend, "get_added_tokens_decoder", dict)()
        return (
            said,
            tuple(b"" if rule is None else bytes(rule.__getstate__()) for rule in rules),
            type(model).__name__,
            tuple(plain),
            str(sorted(added.items())),
        )

    def _look_at_part(self, turn: int) -> int:
        """Return a number that stands for what becomes of each `turns`-th token."""
        model = getattr(self._backend, "model", None)
        if model is None:
            return hash(tuple(self._tokenizer.convert_ids_to_tokens(list(range(turn, self._size, self._turns)))))
        words = (model.id_to_token(number) for number in range(turn, self._size, self._turns))
        return hash(tuple((word, _made_of(model.tokenize, word)) for word in words if word))


def _made_of(tokenize: Callable[[str], Any], word: str) -> tuple[int, ...]:
    try:
        return tuple(piece.id for piece in tokenize(word))
    except Exception:  # a model without a token for the unknown refuses some words with a bare one
        return ()


def adapter_facts(network: Any, digest: Callable[[Mapping[str, Any]], str]) -> str | None:
    """Return what adapters and other additions to a network say of themselves, None where there are none.

    An adapter's weights are weights of the network. What they are not is told here: which are active, merged or
    switched off, with which factor, and whatever flags, numbers and words lie in modules that neither torch nor
    transformers brings. Adapters of peft are read without peft.

    Args:
        network: A torch module.
        digest: Makes a digest of named tensors.
    """
    common = vars(require("torch", "read the weights of a model").nn.Module())
    found = []
    for name, module in network.named_modules():
        if type(module).__module__.partition(".")[0] in _STOCK:
            continue
        own = {key: value for key, value in vars(module).items() if key not in common}
        tensors = {key: value for key, value in own.items() if hasattr(value, "data_ptr")}
        said = _said_by(module)
        if "active_adapters" in said:  # which says the same as these, in one way
            own = {key: value for key, value in own.items() if key[0] != "_" and key != "active_adapter"}
        facts = {key: told for key, value in own.items() if (told := _plain(value)) is not None} | said
        if facts or tensors:
            found.append([name, type(module).__qualname__, facts, digest(tensors) if tensors else ""])
    return json.dumps(found, sort_keys=True) if found else None


def _said_by(module: Any) -> dict[str, object]:
    """Return what an adapter says of itself by properties."""
    found: dict[str, object] = {}
    for name in _SAID:
        try:
            told = _plain(getattr(module, name, None))
        except Exception:  # a property of somebody else's that cannot answer now says nothing
            continue
        if told is not None:
            found[name] = told
    return found


def _plain(value: object) -> object:
    """Return a value as JSON has it, None where it is no plain one."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (set, frozenset)):
        return sorted(str(one) for one in value)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): told for key, one in value.items() if (told := _plain(one)) is not None}
    return None
