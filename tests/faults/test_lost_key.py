"""A key that is lost, wrong, damaged or somebody else's is named in one sentence, and not a byte is changed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pinyon.core.cube import Draft
from pinyon.core.header import Header
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.errors import BadInput, Damaged, PinyonError, StoreError, WrongKey
from pinyon.store import SqliteEngine, Store

pytest.importorskip("cryptography")
pytest.importorskip("sqlcipher3")

from pinyon.store.vault import Vault, decrypt_store, new_key

KEY = bytes(range(32))
TEXTS = [f"Ann told Bob about mill number {number} behind the river." for number in range(60)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return an encrypted memory with cubes and a blob, closed."""
    path = tmp_path / "here" / "m.db"
    engine = SqliteEngine(path, keys=Vault.create(path, KEY).keys)
    drafts = [Draft(Text(text), Header()) for text in TEXTS]
    Store(engine).put(drafts, owner=Scope(), space="s", now=datetime(2024, 5, 1, tzinfo=UTC))
    engine.blobs.put(b"x" * 3_000_000)
    engine.close()
    return path


def content(path: Path) -> dict[str, bytes]:
    folder = path.parent
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def refused(path: Path, step: Callable[[], object], kind: type[PinyonError], *words: str) -> str:
    """Check that a step is refused in one sentence with a hint, and that every file is as it was."""
    before = content(path)
    with pytest.raises(kind) as caught:
        step()
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert all(word in caught.value.message for word in (str(path), *words))
    assert content(path) == before
    return caught.value.message


def test_no_key_says_that_it_is_encrypted(path: Path) -> None:
    refused(path, lambda: SqliteEngine(path), WrongKey, "is encrypted and no key was given")


@pytest.mark.parametrize("key", [new_key(), bytes(32), "a passphrase", KEY[::-1]])
def test_a_wrong_key_says_so(path: Path, key: str | bytes) -> None:
    refused(path, lambda: Vault.open(path, key), WrongKey)


def test_a_wrong_passphrase_says_so(path: Path) -> None:
    Vault.open(path, KEY).rotate_key("correct horse battery", work=16)
    refused(path, lambda: Vault.open(path, "correct horse batter"), WrongKey, "not the key")
    refused(path, lambda: Vault.open(path, KEY), WrongKey, "opened by a passphrase")


@pytest.mark.parametrize("key", [b"short", b"", b"x" * 33, ""])
def test_a_key_of_a_wrong_length_is_bad_input(path: Path, key: str | bytes) -> None:
    with pytest.raises((BadInput, WrongKey)):
        Vault.open(path, key)
    with pytest.raises(BadInput):
        Vault.open(path, KEY).rotate_key(key)
    assert Vault.open(path, KEY).spaces == ()


def test_a_key_for_a_plain_memory_says_so(tmp_path: Path) -> None:
    path = tmp_path / "plain.db"
    SqliteEngine(path).close()
    refused(path, lambda: Vault.open(path, KEY), WrongKey, "is not encrypted")
    other = Vault.create(tmp_path / "o.db", KEY).keys
    refused(path, lambda: SqliteEngine(path, keys=other), WrongKey, "is not encrypted")


def test_a_lost_vault_says_what_is_missing(path: Path) -> None:
    (path.parent / "m.db.vault").unlink()
    refused(path, lambda: Vault.open(path, KEY), StoreError, "m.db.vault", "holds the keys")
    refused(path, lambda: SqliteEngine(path), Damaged)


def test_a_lost_database_is_not_made_anew_in_the_clear(path: Path) -> None:
    path.unlink()
    refused(path, lambda: SqliteEngine(path), WrongKey, "is encrypted")
    assert not path.exists()


def test_the_vault_of_another_memory_does_not_open_this_one(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    Vault.create(other, KEY)
    shutil.copyfile(tmp_path / "other.db.vault", path.parent / "m.db.vault")
    keys = Vault.open(path, KEY).keys
    refused(path, lambda: SqliteEngine(path, keys=keys), Damaged, "does not open by the key in its vault")


def test_any_changed_byte_of_the_vault_is_damage_and_not_a_wrong_key(path: Path) -> None:
    vault = path.parent / "m.db.vault"
    sound, chance = vault.read_bytes(), random.Random(3)
    for place in chance.sample(range(len(sound)), 60):
        changed = bytearray(sound)
        changed[place] ^= 1 << chance.randrange(8)
        if json_of(bytes(changed)) == json_of(sound):
            continue  # only space between the words
        vault.write_bytes(changed)
        refused(path, lambda: Vault.open(path, KEY), Damaged, "is damaged")
    for length in (0, 1, len(sound) // 2, len(sound) - 3):
        vault.write_bytes(sound[:length])
        refused(path, lambda: Vault.open(path, KEY), Damaged, "is damaged")
    vault.write_bytes(sound)
    assert Vault.open(path, KEY).spaces == ()


def json_of(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


def test_a_changed_inner_key_is_told_from_a_wrong_key(path: Path) -> None:
    import hashlib

    from pinyon.core.payload import canonical

    vault = path.parent / "m.db.vault"
    said = json.loads(vault.read_bytes())
    said.pop("sum")
    body = said["body"]
    said["body"] = body[:80] + ("A" if body[80] != "A" else "B") + body[81:]
    said["sum"] = hashlib.sha256(canonical(said).encode()).hexdigest()
    vault.write_text(json.dumps(said))
    refused(path, lambda: Vault.open(path, KEY), Damaged, "the key is right")
    refused(path, lambda: Vault.open(path, bytes(32)), WrongKey)


def test_a_vault_that_asks_for_endless_work_is_refused(path: Path) -> None:
    import hashlib

    from pinyon.core.payload import canonical

    vault = path.parent / "m.db.vault"
    said = json.loads(vault.read_bytes())
    said.pop("sum")
    said["kdf"] |= {"method": "scrypt", "work": 2**40}
    said["sum"] = hashlib.sha256(canonical(said).encode()).hexdigest()
    vault.write_text(json.dumps(said))
    refused(path, lambda: Vault.open(path, "a passphrase"), Damaged)


def test_changed_bytes_of_the_database_are_named_wherever_they_are(path: Path) -> None:
    keys, sound, chance = Vault.open(path, KEY).keys, path.read_bytes(), random.Random(5)
    for page in range(0, len(sound), 4096):
        changed = bytearray(sound)
        changed[page + chance.randrange(4096)] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        said = look(path, keys)
        assert said, f"page {page // 4096}"
        assert all("\n" not in problem for problem in said)
        assert path.read_bytes() == changed
        for extra in path.parent.glob("m.db-*"):
            extra.unlink()


def look(path: Path, keys: object) -> list[str]:
    """Read everything and return what was said about it."""
    try:
        engine = SqliteEngine(path, keys=keys)
    except StoreError as error:
        return [error.message]
    try:
        said = engine.problems()
        engine.by_rows([event.row for event in engine.journal(0, 1000)])
    except StoreError as error:
        return [error.message]
    finally:
        engine.close()
    return said


def test_a_truncated_database_is_named_and_left_as_it_is(path: Path) -> None:
    keys, sound = Vault.open(path, KEY).keys, path.read_bytes()
    for part in (0.1, 0.5, 0.9):
        path.write_bytes(sound[: int(len(sound) * part)])
        before = path.read_bytes()
        assert look(path, keys)
        assert path.read_bytes() == before


def test_a_changed_blob_stops_a_change_of_keys_and_stays_where_it_is(path: Path) -> None:
    (blob,) = (file for file in (path.parent / "m.db.blobs").rglob("*") if file.is_file())
    for place in (3, 100, 2_000_000):
        data = bytearray(blob.read_bytes())
        data[place] ^= 1
        blob.write_bytes(data)
        for step in (Vault.open(path, KEY).rotate_master, lambda: decrypt_store(path, KEY)):
            with pytest.raises(Damaged, match="was changed on disk"):
                step()
            assert blob.read_bytes() == data
            assert look(path, Vault.open(path, KEY).keys) == []
        data[place] ^= 1
        blob.write_bytes(data)
    Vault.open(path, KEY).rotate_master()
    assert look(path, Vault.open(path, KEY).keys) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test drops its rights in a forked process")
def test_an_encrypted_memory_that_may_only_be_read_is_read(path: Path, public_folder: Path, as_nobody) -> None:
    for file in content(path):
        target = public_folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path.parent / file, target)
    for each in [public_folder, *public_folder.rglob("*")]:
        each.chmod(0o555 if each.is_dir() else 0o444)
    copy = public_folder / "m.db"
    before = content(copy)

    def read() -> str:
        engine = SqliteEngine(copy, keys=Vault.open(copy, KEY).keys)
        return f"{engine.is_read_only} {len(engine.journal(0, 1000))}"

    assert as_nobody(read) == "True 60"
    assert "WrongKey" in as_nobody(lambda: Vault.open(copy, bytes(32)))
    assert content(copy) == before


@pytest.mark.parametrize("module", ["cryptography", "sqlcipher3"])
def test_a_missing_extra_is_named_and_nothing_is_made(tmp_path: Path, module: str) -> None:
    script = f"""
import sys
sys.modules[{module!r}] = None
from pathlib import Path
from pinyon.errors import MissingExtra
from pinyon.store import SqliteEngine
from pinyon.store.vault import Vault
try:
    SqliteEngine(Path("m.db"), keys=Vault.create(Path("m.db"), bytes(32)).keys)
except MissingExtra as error:
    print(error.message, error.hint)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert module in done.stdout
    assert "pip install 'pinyon[crypt]'" in done.stdout
    assert list(tmp_path.iterdir()) == []
