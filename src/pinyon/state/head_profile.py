"""Which attention heads of a model copy from far away into what it writes, measured once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..core.cube import Cube, Draft
from ..core.header import Header, Origin, Provenance
from ..core.payload import Json, State, StateFormat, canonical
from ..errors import BadInput, Damaged, NotFound, StoreError, TooNew
from ..files import whole_file
from ..models.fingerprint import Fingerprint, mismatch
from ..store import Blobs

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = ["FORMAT", "THRESHOLD", "Head", "HeadProfile", "HeadTrial", "stability"]

THRESHOLD = 0.1  # paper
FORMAT: StateFormat = "head_profile"  # a state of its own kind: no cache, and `attach` refuses it
_VERSION = 1
_RULE = "set of places, exact span, row of the token before; trials with a word recall above one half count"

Head = tuple[int, int]
"""Layer and query head, from 0."""


@dataclass(frozen=True, slots=True)
class HeadTrial:
    """One question about one needle.

    Args:
        told: The sentence that was hidden.
        length: Tokens of the prompt.
        depth: Where it lay, 0 to 1.
        seed: Of the text around it.
        answer: What the model wrote.
        recall: Share of the needle's words in it.
        hits: Layer, head and share of the needle's tokens that this head copied.
        looks: Layer, head and highest attention on the needle's sentence while the question was read.
    """

    told: str
    length: int
    depth: float
    seed: int
    answer: str
    recall: float
    hits: tuple[tuple[int, int, float], ...]
    looks: tuple[tuple[int, int, float], ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HeadTrial:
        """Return a trial of the fields that `dataclasses.asdict` gives."""
        shares = {
            name: tuple((int(layer), int(head), float(share)) for layer, head, share in data.get(name, ()))
            for name in ("hits", "looks")
        }
        return cls(**{**data, **shares})

    @property
    def is_counted(self) -> bool:
        """Whether the model repeated the needle; of the others nothing can be learned."""
        return self.recall > 0.5  # official code


@dataclass(frozen=True, slots=True, repr=False)
class HeadProfile:
    """The retrieval score of every head of one model, with the trials it comes from.

    Args:
        layers: Number L of layers.
        heads: Query heads H of each.
        kv_heads: Key/value heads G of each.
        trials: All that were done, those that failed too.
        binding: Fingerprint of the model, as `Backbone.binding` gives it.
        threshold: From which mean score on a head counts as a retrieval head.

    Raises:
        BadInput: The numbers do not fit each other.
    """

    layers: int
    heads: int
    kv_heads: int
    trials: tuple[HeadTrial, ...]
    binding: Mapping[str, Json]
    threshold: float = THRESHOLD

    def __post_init__(self) -> None:
        if min(self.layers, self.heads, self.kv_heads) < 1 or self.heads % self.kv_heads:
            raise BadInput(
                f"{self.layers!r} layers of {self.heads!r} heads do not share {self.kv_heads!r} key/value heads"
            )
        if not 0 < self.threshold <= 1:
            raise BadInput(f"a threshold must be above 0 and at most 1, got {self.threshold!r}")
        for trial in self.trials:
            for layer, head, share in (*trial.hits, *trial.looks):
                if not (
                    0 <= layer < self.layers and 0 <= head < self.heads and 0 <= share <= 1.001
                ):  # sums of attention
                    raise BadInput(f"a head ({layer}, {head}) with a share of {share!r} is not one of this model")

    def __repr__(self) -> str:
        return f"HeadProfile({self.digest})"  # a policy that holds it is known by it

    @property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return sha256(canonical(self.to_json()).encode()).hexdigest()

    @property
    def counted(self) -> tuple[HeadTrial, ...]:
        """The trials in which the model repeated the needle."""
        return tuple(trial for trial in self.trials if trial.is_counted)

    @property
    def scores(self) -> dict[Head, float]:
        """Mean share of the needle that each head copied, over the counted trials; every head is named."""
        return self._mean(lambda share: share)

    @property
    def finding(self) -> dict[Head, float]:
        """Mean over the counted trials of each head's highest attention on the needle while the question was read.

        These heads find the place; they are others than those that copy from it, in earlier layers.
        """
        counted = self.counted
        total = dict.fromkeys(self._every, 0.0)
        for trial in counted:
            for layer, head, share in trial.looks:
                total[layer, head] += share
        return {head: value / max(1, len(counted)) for head, value in total.items()}

    @property
    def activation(self) -> dict[Head, float]:
        """Share of the counted trials in which a head copied at all."""
        return self._mean(lambda share: float(share > 0))

    @property
    def retrieval_heads(self) -> tuple[Head, ...]:
        """The heads at or above the threshold, best first."""
        scores = self.scores
        return tuple(head for head in self.ranked if scores[head] >= self.threshold)

    @property
    def ranked(self) -> tuple[Head, ...]:
        """Every head, best first; equals in their order."""
        scores = self.scores
        return tuple(sorted(scores, key=lambda head: (-scores[head], head)))

    def kv_scores(self) -> tuple[tuple[float, ...], ...]:
        """Return the score of each key/value head, the highest of the query heads that share it, (L, G)."""
        return self._by_kv_head(self.scores)

    def kv_finding(self) -> tuple[tuple[float, ...], ...]:
        """Return the same of `finding`, (L, G)."""
        return self._by_kv_head(self.finding)

    def _by_kv_head(self, of: Mapping[Head, float]) -> tuple[tuple[float, ...], ...]:
        shared = self.heads // self.kv_heads
        return tuple(
            tuple(
                max(of[layer, head] for head in range(group * shared, (group + 1) * shared))
                for group in range(self.kv_heads)
            )
            for layer in range(self.layers)
        )

    def must_fit(self, binding: Mapping[str, Json]) -> None:
        """Refuse a model that the profile was not measured on.

        Args:
            binding: What the model is, `Backbone.binding`.

        Raises:
            BadInput: It is another one, in words what differs.
        """
        apart = mismatch(Fingerprint.from_json(self.binding), Fingerprint.from_json(binding))
        if apart:
            raise BadInput(
                f"the head profile was measured on another model: {', '.join(apart)}",
                hint="measure this one with find_heads",
            )

    def to_json(self) -> dict[str, Json]:
        """Return everything as a JSON object, with the mean scores for whoever only reads."""
        scores, activation = self.scores, self.activation
        shown: list[Json] = [
            {"layer": layer, "head": head, "score": scores[layer, head], "activation": activation[layer, head]}
            for layer, head in self.ranked
            if scores[layer, head] > 0
        ]
        trials: list[Json] = [cast("Json", asdict(trial)) for trial in self.trials]  # plain numbers and texts
        return cast(
            "dict[str, Json]",
            json.loads(
                canonical(
                    {
                        "format": "pinyon-head-profile",
                        "version": _VERSION,
                        "rule": _RULE,
                        "layers": self.layers,
                        "heads": self.heads,
                        "kv_heads": self.kv_heads,
                        "threshold": self.threshold,
                        "binding": dict(self.binding),
                        "scores": shown,
                        "trials": json.loads(json.dumps(trials)),  # tuples as lists
                    }
                )
            ),
        )

    @classmethod
    def from_json(cls, data: object) -> HeadProfile:
        """Return a profile as `to_json` wrote it.

        Raises:
            Damaged: It is none.
            TooNew: A later version wrote it.
        """
        try:
            read = cast("Mapping[str, Any]", data)  # looked at field by field
            if read["format"] != "pinyon-head-profile":
                raise ValueError(read["format"])
            if int(read["version"]) > _VERSION:
                raise TooNew(f"the head profile has format {read['version']}, this version reads {_VERSION}")
            trials = tuple(HeadTrial.from_json(trial) for trial in read["trials"])
            layers, heads, kv_heads = (int(read[name]) for name in ("layers", "heads", "kv_heads"))
            return cls(layers, heads, kv_heads, trials, dict(read["binding"]), float(read["threshold"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Damaged(f"this is no head profile: {error}") from error

    def save(self, path: Path) -> None:
        """Write it as a JSON file.

        Raises:
            StoreError: It cannot be written.
        """
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=1) + "\n"
        try:
            with whole_file(path) as file:
                file.write(text.encode())
        except OSError as error:
            raise StoreError(
                f"the head profile cannot be written to {str(path)!r}: {error.strerror or error}"
            ) from error

    @classmethod
    def load(cls, path: Path, backbone: Backbone | None = None) -> HeadProfile:
        """Read a JSON file.

        Args:
            path: Which.
            backbone: The model it is to be used with; None only looks at it.

        Raises:
            BadInput: It was measured on another model.
            Damaged: The file holds no profile.
            NotFound: There is no such file.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"there is no head profile {str(path)!r}", hint="`pinyon heads MODEL` makes one") from error
        except OSError as error:
            raise StoreError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error
        return _checked(_parsed(data, str(path)), backbone)

    def draft(self, blobs: Blobs) -> Draft:
        """Return the draft of a cube that keeps the profile.

        A state and no text: it says something about one model and nothing to a reader, so search must not find it, and
        a state names the model it may be used with and leaves with its blobs.

        Args:
            blobs: Where its bytes go.
        """
        data = canonical(self.to_json()).encode()
        payload = State((blobs.put(data, role="profile"),), dict(self.binding), format=FORMAT)
        header = Header(provenance=Provenance(origin=Origin.CONVERSION, title="retrieval heads"))
        return Draft(payload, header, key=f"head-profile {sha256(canonical(dict(self.binding)).encode()).hexdigest()}")

    @classmethod
    def of_cube(cls, cube: Cube, blobs: Blobs, backbone: Backbone | None = None) -> HeadProfile:
        """Read the profile that a cube keeps.

        Args:
            cube: Made of `draft`.
            blobs: Where its bytes rest.
            backbone: As for `load`.

        Raises:
            BadInput: The cube keeps something else, or it was measured on another model.
            Damaged: Its bytes were changed.
        """
        payload = cube.payload
        if not isinstance(payload, State) or payload.format != FORMAT or len(payload.blobs) != 1:
            raise BadInput(f"the cube {cube.id!r} keeps no head profile")
        return _checked(_parsed(bytes(blobs.view(payload.blobs[0])), cube.id), backbone)

    @property
    def _every(self) -> list[Head]:
        return [(layer, head) for layer in range(self.layers) for head in range(self.heads)]

    def _mean(self, worth: Callable[[float], float]) -> dict[Head, float]:
        counted = self.counted
        total = dict.fromkeys(self._every, 0.0)
        for trial in counted:
            for layer, head, share in trial.hits:
                total[layer, head] += worth(share)
        return {head: value / max(1, len(counted)) for head, value in total.items()}


def stability(one: HeadProfile, other: HeadProfile) -> float:
    """Return the correlation (Pearson) of two profiles over all heads, -1 to 1; 0 when one has no differences.

    Raises:
        BadInput: They are of models of unequal shape.
    """
    first, second = one.scores, other.scores
    if first.keys() != second.keys():
        raise BadInput("profiles of models of unequal shape cannot be compared")
    return _pearson([first[head] for head in first], [second[head] for head in first])


def _pearson(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    over = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    spread = (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5
    return over / spread if spread else 0.0


def _parsed(data: bytes, name: str) -> HeadProfile:
    try:
        read = json.loads(data)
    except ValueError as error:
        raise Damaged(f"{name} is no head profile: {error}") from error
    return HeadProfile.from_json(read)


def _checked(profile: HeadProfile, backbone: Backbone | None) -> HeadProfile:
    if backbone is not None:
        profile.must_fit(backbone.binding())
    return profile
