from __future__ import annotations

import random

import numpy as np
import pytest

from pinyon.core.cube import Cube
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.index import Table
from pinyon.index._threads import ThreadOrder

from .ruled import NOW


def _cube(draw: random.Random, row: int, version: int, seq: int) -> Cube:
    header = Header(
        provenance=Provenance(
            unit=draw.choice(("turn", "turn", "turn", "note")),
            thread=draw.choice(("a", "b", "c", None)),
            position=draw.randrange(30),
        ),
        life=Life(state=draw.choice(("generated", "generated", "generated", "archived"))),
    )
    return Cube(f"{row:032x}", row, version, "main", Scope(), Text("x"), header, NOW, NOW, "", "", seq)


@pytest.mark.parametrize("inserted", [0, 3, 10_000])
@pytest.mark.parametrize("seed", range(4))
def test_an_order_that_grows_is_that_of_sorting_anew(seed: int, inserted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinyon.index._threads._INSERTED", inserted)
    draw, table, order = random.Random(seed), Table(), ThreadOrder()
    versions: dict[int, int] = {}
    for seq in range(1, 120):
        row = draw.choice((len(versions) + 1, *versions))
        versions[row] = versions.get(row, 0) + 1
        table.add(_cube(draw, row, versions[row], seq), 1)
        if draw.random() < 0.4:
            alive = table.column("alive").copy()
            for links in (order.links(table, alive), order.links(table, np.flatnonzero(alive))):
                for mine, theirs in zip(links, table.links(), strict=True):
                    np.testing.assert_array_equal(mine, theirs)
