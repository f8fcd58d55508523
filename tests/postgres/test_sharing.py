"""Subscribing into a memory on a server: the same as into a file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.importing import export, import_archive
from pinyon.sharing import publish, terms_of, unpublish
from pinyon.store import Seal
from pinyon.subscribing import Pulled, pull, subscribe, subscriptions

pytestmark = pytest.mark.postgres
pytest.importorskip("psycopg")


def test_a_server_subscribes_counts_and_lets_go(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = str(tmp_path / "registry")
    with Memory.open(":memory:", user="ann", space="bees") as ann, Memory.open(address, user="bob") as bob:
        hives = ann.add("The hives stand behind the mill.").cubes[0]
        ann.add("Bees swarm in May.")
        publish(ann, "bees", folder, name="bees", terms=terms_of("calls=2"))
        assert subscribe(bob, "bees", folder).created == 2
        assert bob.search("hives").hits
        assert bob.recall("hives").hits
        assert subscriptions(bob)[0].used == 2
        assert not bob.search("hives").hits
        ann.update(hives.id, text="The hives stand in the orchard.")
        publish(ann, "bees", folder, name="bees", terms=terms_of("calls=9"))
        assert pull(bob) == (Pulled("bees", "2", "1", updated=2),)
        assert {cube.text for cube in bob.iterate()} == {"The hives stand in the orchard.", "Bees swarm in May."}
        unpublish(ann, "bees", folder)
        assert pull(bob)[0].closed == 2
        assert not list(bob.iterate())
        assert bob.verify().is_sound


def test_no_call_beyond_the_last_is_given_to_many_at_once(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = str(tmp_path / "registry")
    with Memory.open(":memory:", user="ann", space="bees") as ann, Memory.open(address, user="bob") as bob:
        ann.add("The hives stand behind the mill.")
        publish(ann, "bees", folder, name="bees", terms=terms_of("calls=7"))
        subscribe(bob, "bees", folder)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: len(bob.search("hives").hits), range(16)))
        assert len([number for number in found if number]) == 7


def test_a_sealed_archive_goes_onto_a_server_and_back(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Memory.open(":memory:", user="ann") as ann, Memory.open(address, user="ann") as there:
        ann.add("The hives stand behind the mill.")
        export(ann, tmp_path / "a", seal=Seal(b"k" * 32, "bob"))
        assert import_archive(there, tmp_path / "a", seal_key=b"k" * 32).created == 1
        assert [cube.text for cube in there.iterate()] == ["The hives stand behind the mill."]
