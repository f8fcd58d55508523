"""Facts about the tokens a cache has read, by origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput

__all__ = ["TokenFacts", "TokenTable"]


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What is known about some tokens; the three tensors have one shape.

    Args:
        ids: Token ids, int64; -1 where unknown.
        surprisal: Nats, float32; nan where unknown.
        turns: Number of the turn a token belongs to, int64; -1 where unknown.
    """

    ids: Tensor
    surprisal: Tensor
    turns: Tensor


class TokenTable:
    """Token ids, surprisal and turns of what a cache has read, looked up by origin.

    Args:
        device: Where its tensors rest.

    Attributes:
        turn: The number that tokens get as they are added, >= 0.
    """

    def __init__(self, *, device: str | torch.device = "cpu") -> None:
        self.turn = 0
        self._origins = torch.zeros(0, dtype=torch.int64, device=device)  # (N,) increasing
        self._ids = torch.zeros(0, dtype=torch.int64, device=device)
        self._surprisal = torch.zeros(0, dtype=torch.float32, device=device)
        self._turns = torch.zeros(0, dtype=torch.int64, device=device)

    def __len__(self) -> int:
        return len(self._origins)

    @property
    def origins(self) -> Tensor:
        """The tokens it knows, int64 (N,), increasing."""
        return self._origins

    @property
    def ids(self) -> Tensor:
        """Their ids, int64 (N,)."""
        return self._ids

    @property
    def surprisal(self) -> Tensor:
        """Their surprisal in nats, float32 (N,), nan where unknown."""
        return self._surprisal

    @property
    def turns(self) -> Tensor:
        """Their turns, int64 (N,)."""
        return self._turns

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(int(part.nbytes) for part in self._parts().values())

    def add(self, origins: Tensor, ids: Tensor, surprisal: Tensor | None = None) -> None:
        """Note tokens that come after all it knows.

        Args:
            origins: int64 (n,), increasing.
            ids: int64 (n,).
            surprisal: float32 (n,); None when unknown.

        Raises:
            BadInput: A token does not come after those before it.
        """
        if len(origins) and len(self) and int(origins[0]) <= int(self._origins[-1]):
            raise BadInput(f"token {int(origins[0])} was noted before")
        unknown = torch.full(origins.shape, torch.nan, device=self._origins.device)
        self._origins = torch.cat((self._origins, origins.to(self._origins)))
        self._ids = torch.cat((self._ids, ids.to(self._ids)))
        self._surprisal = torch.cat((self._surprisal, unknown if surprisal is None else surprisal.to(self._surprisal)))
        self._turns = torch.cat((self._turns, torch.full_like(self._origins[: len(origins)], self.turn)))

    def set_surprisal(self, origins: Tensor, surprisal: Tensor) -> None:
        """Note how surprising some tokens were; those it does not know are passed over.

        Args:
            origins: int64 (n,).
            surprisal: Nats, (n,).
        """
        places, known = self._find(origins)
        self._surprisal = self._surprisal.clone()
        self._surprisal[places[known]] = surprisal.to(self._surprisal)[known]

    def lookup(self, origins: Tensor) -> TokenFacts:
        """Return the facts of tokens.

        Args:
            origins: int64, any shape.

        Returns:
            Tensors of that shape.
        """
        places, known = self._find(origins)
        if not len(self):
            none = torch.full_like(origins, -1)
            return TokenFacts(none, torch.full(origins.shape, torch.nan, device=origins.device), none.clone())
        return TokenFacts(
            torch.where(known, self._ids[places], -1),
            torch.where(known, self._surprisal[places], torch.nan),
            torch.where(known, self._turns[places], -1),
        )

    def prune(self, origins: Tensor) -> None:
        """Forget all tokens but these, so that an endless session holds constant bytes.

        Args:
            origins: int64, any shape, doubles allowed.
        """
        self._take(torch.isin(self._origins, origins.to(self._origins)))

    def crop(self, length: int) -> None:
        """Forget tokens whose origin is `length` or later."""
        self._take(self._origins < length)

    def clone(self) -> TokenTable:
        """Return a deep copy."""
        return self._with({name: part.clone() for name, part in self._parts().items()})

    def to(self, device: str | torch.device) -> TokenTable:
        """Return it with its tensors on a device."""
        return self._with({name: part.to(device) for name, part in self._parts().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return all it holds as named tensors."""
        return {**self._parts(), "turn": torch.tensor(self.turn)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> TokenTable:
        """Build a table of what `tensors` returned.

        Raises:
            KeyError: A tensor is missing.
            BadInput: Their lengths differ.
        """
        table = cls()
        table._origins, table._ids = tensors["origins"], tensors["ids"]
        table._surprisal, table._turns = tensors["surprisal"], tensors["turns"]
        table.turn = int(tensors["turn"])
        if len({tuple(part.shape) for part in table._parts().values()}) != 1:
            raise BadInput("the facts of tokens have unequal lengths")
        return table

    @classmethod
    def concatenate(cls, parts: Sequence[TokenTable], offsets: Sequence[int]) -> TokenTable:
        """Join tables; each part's origins grow by its offset, and a token that two parts know keeps the first's facts.

        Args:
            parts: At least one.
            offsets: As many.
        """
        origins = torch.cat([part._origins + offset for part, offset in zip(parts, offsets, strict=True)])
        order = origins.argsort(stable=True)
        ordered = origins[order]
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[1:] = ordered[1:] != ordered[:-1]
        order = order[first]
        table = cls()
        table._origins = origins[order]
        table._ids = torch.cat([part._ids for part in parts])[order]
        table._surprisal = torch.cat([part._surprisal for part in parts])[order]
        table._turns = torch.cat([part._turns for part in parts])[order]
        table.turn = max(part.turn for part in parts)
        return table

    def _find(self, origins: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.searchsorted(self._origins, origins.contiguous()).clamp(max=max(len(self) - 1, 0))
        known = self._origins[places] == origins if len(self) else torch.zeros_like(origins, dtype=torch.bool)
        return places, known

    def _take(self, stays: Tensor) -> None:
        if not bool(stays.all()):
            self._origins, self._ids = self._origins[stays], self._ids[stays]
            self._surprisal, self._turns = self._surprisal[stays], self._turns[stays]

    def _parts(self) -> dict[str, Tensor]:
        return {"origins": self._origins, "ids": self._ids, "surprisal": self._surprisal, "turns": self._turns}

    def _with(self, parts: Mapping[str, Tensor]) -> TokenTable:
        return TokenTable.from_tensors({**parts, "turn": torch.tensor(self.turn)})
