"""An encrypted memory: nothing in the clear, keys that turn, spaces that are forgotten by their key."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pinyon import Memory
from pinyon.core.cube import Draft
from pinyon.core.header import Header, Provenance
from pinyon.core.payload import Blob, State, Text
from pinyon.core.scope import Scope
from pinyon.errors import BadInput, Busy, Conflict, Damaged, NotFound, StoreError, WrongKey
from pinyon.govern.purge import purge, vacuum
from pinyon.index import Analyzer, SearchIndex
from pinyon.store import EncryptedEngine, SqliteEngine, Store
from pinyon.testing import HashEmbedder

pytest.importorskip("cryptography")
pytest.importorskip("sqlcipher3")

from pinyon.store._cipher import Keys
from pinyon.store.vault import Vault, decrypt_store, encrypt_store, new_key, read_key

NOW = datetime(2024, 5, 1, tzinfo=UTC)
KEY = bytes(range(32))
EMBEDDER = HashEmbedder(64)
TEXTS = tuple(f"The zanzibar lighthouse keeper hides turnips in barrel number {n}." for n in range(40))
WORDS = (
    b"zanzibar", b"lighthouse", b"turnip", b"philomena", b"metaval", b"tagword", b"sourcename", b"spacename",
    b"threadname", b"blobcontent", b"CREATE TABLE", b"SQLite format",
)  # fmt: skip


def draft(text: str, number: int) -> Draft:
    header = Header(
        provenance=Provenance(
            speaker="philomena-speaker", source="sourcename.txt", thread="threadname", position=number
        ),
        metadata={"metakey": f"metaval {number}"},
        tags=("tagword",),
    )
    return Draft(Text(text), header)


def filled(engine: SqliteEngine, texts: tuple[str, ...] = TEXTS) -> Blob:
    """Write cubes with everything that can be written, their vectors, and a blob."""
    vectors = EMBEDDER.embed(list(texts)).astype(np.float16)
    Store(engine).put(
        [draft(text, number) for number, text in enumerate(texts)],
        owner=Scope(user="philomena"),
        space="spacename",
        now=NOW,
    )
    with engine.transaction() as tx:
        tx.put_vectors(EMBEDDER.fingerprint, rows_of(engine, vectors))
    return engine.blobs.put(b"blobcontent " * 200_000)


def rows_of(engine: SqliteEngine, vectors: np.ndarray):
    from pinyon.store import VectorRows

    rows = np.array([event.row for event in engine.journal(0, 1000)], dtype=np.int64)[: len(vectors)]
    return VectorRows(rows, np.ones(len(rows), dtype=np.int64), vectors)


def texts_of(engine: SqliteEngine) -> list[str]:
    """Return what is there, read by row, so that no right and no filter plays a part."""
    rows = [event.row for event in engine.journal(0, 10_000)]
    return [cube.text for _, cube in sorted(engine.by_rows(rows).items())]


def found(folder: Path, *more: bytes) -> list[str]:
    """Return which files hold any of the words or bytes, in their content or in their name."""
    out: list[str] = []
    for file in folder.rglob("*"):
        data = (file.read_bytes() if file.is_file() else b"") + file.name.encode()
        out.extend(f"{file.name}: {word[:20]!r}" for word in (*WORDS, *more) if word.lower() in data.lower())
    return out


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.db"


@pytest.fixture
def vault(path: Path) -> Vault:
    return Vault.create(path, KEY)


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., SqliteEngine]]:
    engines: list[SqliteEngine] = []

    def open_engine(keys: Keys | None, at: Path = path) -> SqliteEngine:
        engines.append(SqliteEngine(at, keys=keys, durability="normal"))
        return engines[-1]

    yield open_engine
    for engine in engines:
        engine.close()


# --- nothing in the clear ----------------------------------------------------------------------------------------


def test_no_file_holds_a_word_or_a_vector_while_open_or_closed(path, vault, opened) -> None:
    vault.add_room("spacename-diary")
    engine = opened(vault.keys)
    blob = filled(engine)
    saved(engine, path, vault)
    half = EMBEDDER.embed(list(TEXTS)).astype(np.float16)
    secrets = [half[0].tobytes(), half[0].astype(np.float32).tobytes()[:64], KEY, KEY.hex().encode()]
    secrets += [hashlib.sha256(TEXTS[0].encode()).hexdigest().encode(), blob.sha256.encode()]
    secrets += [vault.keys.database[:32], vault.keys.database[:32].hex().encode()]
    names = {file.name for file in path.parent.rglob("*")}
    assert {"m.db-wal", "m.db-shm", "m.db.vault", "CURRENT"} <= names
    assert found(path.parent, *secrets) == []
    engine.close()
    assert found(path.parent, *secrets) == []


def test_the_search_for_plaintext_finds_it_where_nothing_is_encrypted(path, opened) -> None:
    engine = opened(None)
    filled(engine)
    half = EMBEDDER.embed(list(TEXTS)).astype(np.float16)
    told = " ".join(found(path.parent, half[0].tobytes()))
    assert all(word.decode() in told for word in WORDS)
    assert len(found(path.parent, half[0].tobytes())) > len(found(path.parent))


def saved(engine: SqliteEngine, path: Path, vault: Vault) -> SearchIndex:
    index = SearchIndex(
        engine,
        analyzer=Analyzer("english"),
        embedder=EMBEDDER.fingerprint,
        dimensions=64,
        make=EMBEDDER.embed,
        folder=path.with_name(path.name + ".index"),
        sealer=vault.keys.index,
    )
    index.follow()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pinyon.index.search._SAVE_AFTER", 1)
        assert index.save()
    return index


# --- snapshots -----------------------------------------------------------------------------------------------------


def test_a_sealed_snapshot_answers_as_the_index_that_wrote_it(path, vault, opened) -> None:
    engine = opened(vault.keys)
    filled(engine)
    first = saved(engine, path, vault)
    again = SearchIndex(
        engine,
        analyzer=Analyzer("english"),
        embedder=EMBEDDER.fingerprint,
        dimensions=64,
        make=EMBEDDER.embed,
        folder=path.with_name(path.name + ".index"),
        sealer=vault.keys.index,
    )
    assert again.is_restored
    assert again.problems([]) == first.problems([])


# --- forgetting ----------------------------------------------------------------------------------------------------


def test_an_encrypted_file_is_written_anew_and_holds_what_it_held(path, vault) -> None:
    engine = EncryptedEngine(path, vault.keys, durability="normal")
    blob = filled(engine)
    kept = texts_of(engine)
    engine.set_setting("long", "x" * 3_000_000)
    engine.set_setting("long", "")
    engine.settle()
    before = engine.bytes()
    vacuum(engine)
    engine.settle()
    assert engine.bytes() < before - 2_000_000
    assert texts_of(engine) == kept
    assert engine.blobs.get(blob)
    assert found(path.parent) == []
    engine.close()


def test_a_purge_of_an_encrypted_memory_takes_the_blobs_that_no_cube_names(path, vault) -> None:
    engine = EncryptedEngine(path, vault.keys, durability="normal")
    orphan = filled(engine)
    named = engine.blobs.put(b"tensors of a state")
    Store(engine).put([Draft(State((named,), {"model": "m"}))], owner=Scope(), space="main", now=NOW)
    for file in files(path.parent):
        os.utime(file, (0, 0))
    assert purge(engine, None, level="file").orphans == 1
    assert engine.blobs.get(named) == b"tensors of a state"
    with pytest.raises(NotFound):
        engine.blobs.get(orphan)
    engine.close()


# --- turning keys ------------------------------------------------------------------------------------------------


def test_another_user_key_opens_it_and_the_old_one_does_not(path, vault, opened) -> None:
    filled(opened(vault.keys))
    vault.rotate_key("a new passphrase", work=16)
    again = Vault.open(path, "a new passphrase")
    assert texts_of(opened(again.keys)) == list(TEXTS)
    with pytest.raises(WrongKey):
        Vault.open(path, KEY)
    with pytest.raises(WrongKey):
        Vault.open(path, "another passphrase")


def test_the_same_passphrase_written_in_another_way_opens_it(path: Path) -> None:
    Vault.create(path, "caf\u00e9 noir", work=16)
    assert Vault.open(path, "cafe\u0301 noir").spaces == ()


def test_new_master_keys_change_every_file_and_nothing_else(path, vault, opened) -> None:
    engine = opened(vault.keys)
    blob = filled(engine)
    room = vault.add_room("diary")
    inner = opened(room.keys, room.path)
    filled(inner, TEXTS[:2])
    identity, chain = engine.identity, engine.head()
    engine.close()
    inner.close()
    before, keys = (
        {f: f.read_bytes() for f in path.parent.rglob("*") if f.is_file() and "lock" not in f.name},
        vault.keys,
    )
    vault.rotate_master()
    for file, data in before.items():
        start = 0 if file.suffix != ".vault" else data.index(b'"body"') + 10
        assert not file.exists() or file.read_bytes()[start : start + 48] != data[start : start + 48]
    vault = Vault.open(path, KEY)
    engine = opened(vault.keys)
    assert (engine.identity, engine.head(), texts_of(engine)) == (identity, chain, list(TEXTS))
    assert engine.blobs.get(blob) == b"blobcontent " * 200_000
    assert texts_of(opened(vault.room("diary").keys, vault.room("diary").path)) == list(TEXTS[:2])
    with pytest.raises(Damaged):
        SqliteEngine(path, keys=keys)


def test_an_open_memory_is_not_turned_over(path, vault, opened) -> None:
    engine = opened(vault.keys)
    filled(engine)
    with pytest.raises(Busy, match="open elsewhere"):
        vault.rotate_master()
    engine.set_setting("x", "still written")
    engine.close()
    again = opened(Vault.open(path, KEY).keys)
    assert (again.setting("x"), texts_of(again)) == ("still written", list(TEXTS))


def test_a_plain_memory_becomes_encrypted_and_plain_again(path, opened) -> None:
    engine = opened(None)
    blob = filled(engine)
    identity = engine.identity
    engine.close()
    (path.parent / "m.db.index").mkdir()
    (path.parent / "m.db.index" / "old.arrays").write_bytes(b"zanzibar turnips")
    vault = encrypt_store(path, KEY)
    assert found(path.parent) == []
    engine = opened(vault.keys)
    assert (engine.identity, texts_of(engine)) == (identity, list(TEXTS))
    assert engine.blobs.get(blob).startswith(b"blobcontent")
    assert engine.problems() == []
    engine.close()
    decrypt_store(path, KEY)
    assert not (path.parent / "m.db.vault").exists()
    engine = opened(None)
    assert (engine.identity, texts_of(engine)) == (identity, list(TEXTS))
    assert engine.blobs.get(blob).startswith(b"blobcontent")


def test_a_memory_is_not_encrypted_twice_nor_made_where_one_is(path, vault, opened, tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        Vault.create(path, KEY)
    with pytest.raises(NotFound):
        encrypt_store(tmp_path / "none.db", KEY)
    opened(vault.keys).close()
    with pytest.raises(Conflict):
        encrypt_store(path, KEY)


# --- killed on the way -------------------------------------------------------------------------------------------

_STEPS = ("replace", "unlink", "fsync", "link")


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Run work in a forked process that dies before its n-th change of the disk; return whether it came to its end."""
    child = os.fork()
    if child == 0:
        left = [step]

        def dying(real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **named: object) -> object:
                if left[0] == 0:
                    os._exit(9)
                left[0] -= 1
                return real(*arguments, **named)

            return call

        for name in _STEPS:
            setattr(os, name, dying(getattr(os, name)))
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 0


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the process that is killed is a forked one")


def every_kill(folder: Path, prepare: Callable[[Path], object], work: Callable[[Path], object]) -> Iterator[Path]:
    """Give a memory for each moment at which the work can be killed."""
    prepare(folder / "made" / "m.db")
    step, is_done = 0, False
    while not is_done:
        shutil.copytree(folder / "made", folder / f"{step}")
        path = folder / f"{step}" / "m.db"
        is_done = killed_at(step, lambda path=path: work(path))
        yield path
        shutil.rmtree(folder / f"{step}")
        step += 1
    assert step >= 4


def whole(path: Path, keys: Keys | None) -> None:
    engine = SqliteEngine(path, keys=keys)
    assert texts_of(engine) == list(TEXTS[:3])
    assert engine.blobs.get(Blob(hashlib.sha256(b"blobcontent").hexdigest(), 11)) == b"blobcontent"
    engine.close()


def made(path: Path, key: bytes | None) -> None:
    path.parent.mkdir()
    engine = SqliteEngine(path, keys=None if key is None else Vault.create(path, key).keys)
    Store(engine).put([draft(t, n) for n, t in enumerate(TEXTS[:3])], owner=Scope(), space="spacename", now=NOW)
    engine.blobs.put(b"blobcontent")
    engine.close()


@pytest.mark.slow
@needs_fork
def test_turning_the_master_key_killed_anywhere_loses_nothing(tmp_path: Path) -> None:
    for path in every_kill(tmp_path, lambda p: made(p, KEY), lambda p: Vault.open(p, KEY).rotate_master()):
        vault = Vault.open(path, KEY)
        whole(path, vault.keys)
        vault.rotate_master()
        whole(path, Vault.open(path, KEY).keys)
        assert len([f for f in (path.parent / "m.db.blobs").rglob("*") if f.is_file()]) == 1
        assert not list(path.parent.glob("*.aside")) + list(path.parent.glob("*.before"))


@pytest.mark.slow
@needs_fork
def test_encrypting_killed_anywhere_leaves_it_plain_or_encrypted(tmp_path: Path) -> None:
    outcomes = set()
    for path in every_kill(tmp_path, lambda p: made(p, None), lambda p: encrypt_store(p, KEY)):
        is_plain = path.read_bytes().startswith(b"SQLite format 3")
        outcomes.add(is_plain)
        if is_plain:
            whole(path, None)
            encrypt_store(path, KEY)
        whole(path, Vault.open(path, KEY).keys)
        assert found(path.parent) == []
    assert outcomes == {True, False}


@pytest.mark.slow
@needs_fork
def test_decrypting_killed_anywhere_leaves_it_plain_or_encrypted(tmp_path: Path) -> None:
    outcomes = set()
    for path in every_kill(tmp_path, lambda p: made(p, KEY), lambda p: decrypt_store(p, KEY)):
        is_plain = path.read_bytes().startswith(b"SQLite format 3")
        outcomes.add(is_plain)
        if is_plain:
            with pytest.raises((WrongKey, StoreError)):
                Vault.open(path, KEY)
        else:
            whole(path, Vault.open(path, KEY).keys)
            decrypt_store(path, KEY)
        whole(path, None)
        assert not (path.parent / "m.db.vault").exists()
    assert outcomes == {True, False}


@needs_fork
def test_a_new_user_key_killed_anywhere_leaves_one_that_opens(tmp_path: Path) -> None:
    other = bytes(32)
    for path in every_kill(tmp_path, lambda p: made(p, KEY), lambda p: Vault.open(p, KEY).rotate_key(other)):
        opening = [key for key in (KEY, other) if opens(path, key)]
        assert len(opening) == 1
        whole(path, Vault.open(path, opening[0]).keys)


def opens(path: Path, key: bytes) -> bool:
    try:
        Vault.open(path, key)
    except WrongKey:
        return False
    return True


# --- several processes -------------------------------------------------------------------------------------------

_WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pinyon.core.cube import Draft
from pinyon.core.header import Header
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.store import SqliteEngine, Store
from pinyon.store.vault import Vault
path, name, most = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store = Store(SqliteEngine(path, keys=Vault.open(path, bytes(range(32))).keys))
for number in range(most):
    text = f"zanzibar {name} {number}"
    store.put([Draft(Text(text), Header())], owner=Scope(), space="s", now=datetime.now(UTC))
    print(text, flush=True)
"""


def writer(path: Path, name: str, most: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(path), name, str(most)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_make_and_fill_it_together_lose_nothing(path, vault, opened) -> None:
    writers = [writer(path, f"w{number}", 15) for number in range(3)]
    said = [line for process in writers for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in writers] == [0, 0, 0]
    assert len(said) == 45
    assert sorted(texts_of(opened(vault.keys))) == sorted(said)
    assert found(path.parent) == []


@pytest.mark.parametrize("trial", range(3))
def test_a_killed_writer_loses_nothing_it_acknowledged(path, vault, opened, trial: int) -> None:
    process = writer(path, "w", 100_000)
    assert process.stdout is not None
    said = [process.stdout.readline().strip() for _ in range(7 + 20 * trial)]
    process.kill()
    said += process.stdout.read().splitlines()
    process.stdout.close()
    process.wait()
    assert found(path.parent) == []
    engine = opened(Vault.open(path, KEY).keys)
    assert set(said) - {""} <= set(texts_of(engine))
    assert engine.problems() == []


# --- shredding ---------------------------------------------------------------------------------------------------


def test_a_shredded_space_is_gone_from_every_copy_and_others_are_whole(path, vault, opened, tmp_path: Path) -> None:
    filled(opened(vault.keys))
    for space in ("diary", "letters"):
        room = vault.add_room(space)
        engine = opened(room.keys, room.path)
        filled(engine, TEXTS[:2])
        saved(engine, room.path, vault)
        engine.close()
    diary = vault.room("diary")
    copy = tmp_path / "copy"
    shutil.copytree(diary.path.parent, copy)
    secret = vault._holdings["diary"].master
    told = vault.shred("diary")
    assert any(name.endswith("memory.db") for name in told.files)
    assert told.bytes > 0
    assert not diary.path.parent.exists()
    assert found(path.parent, secret, secret.hex().encode()) == []
    assert found(copy) == []
    vault = Vault.open(path, KEY)
    assert vault.spaces == ("letters",)
    with pytest.raises(NotFound):
        vault.room("diary")
    kept = {holding.master for holding in vault._holdings.values()}
    assert secret not in kept
    for master in kept:
        with pytest.raises(Damaged):
            SqliteEngine(copy / "memory.db", keys=Keys(master))
    assert texts_of(opened(vault.keys)) == list(TEXTS)
    assert texts_of(opened(vault.room("letters").keys, vault.room("letters").path)) == list(TEXTS[:2])


def test_a_space_of_the_same_name_starts_anew(vault: Vault) -> None:
    first = vault.add_room("diary")
    assert vault.add_room("diary").path == first.path
    vault.shred("diary")
    second = vault.add_room("diary")
    assert (second.path, second.keys.database) != (first.path, first.keys.database)


def test_a_vault_from_before_does_not_bring_a_shredded_key_back(path: Path, vault: Vault) -> None:
    vault.add_room("diary")
    stale = Vault.open(path, KEY)
    vault.shred("diary")
    stale.add_room("letters")
    assert Vault.open(path, KEY).spaces == ("letters",)


def test_a_process_learns_that_the_user_key_was_changed(path: Path, vault: Vault) -> None:
    stale = Vault.open(path, KEY)
    vault.rotate_key(bytes(32))
    with pytest.raises(WrongKey, match="changed by another process"):
        stale.add_room("letters")


def test_shredding_killed_anywhere_leaves_the_key_or_not(tmp_path: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("the process that is killed is a forked one")

    def prepare(path: Path) -> None:
        made(path, KEY)
        room = Vault.open(path, KEY).add_room("diary")
        SqliteEngine(room.path, keys=room.keys).close()

    for path in every_kill(tmp_path, prepare, lambda p: Vault.open(p, KEY).shred("diary")):
        vault = Vault.open(path, KEY)
        if vault.spaces:
            SqliteEngine(vault.room("diary").path, keys=vault.room("diary").keys).close()
        whole(path, vault.keys)


def test_spaces_with_keys_of_their_own_keep_a_memory_from_being_decrypted(path, vault, opened) -> None:
    opened(vault.keys).close()
    vault.add_room("diary")
    with pytest.raises(Conflict, match="diary"):
        decrypt_store(path, KEY)


def test_every_space_name_gets_a_folder_that_does_not_tell_it(path: Path, vault: Vault) -> None:
    room = vault.add_room("../../spacename of Zoë")
    assert room.path.parent.parent == path.with_name("m.db.rooms")
    assert room.path.parent.name.isalnum()
    with pytest.raises(BadInput):
        vault.add_room("")


# --- opening, and the page --------------------------------------------------------------------------------------------


def test_a_vault_is_made_where_there_is_neither_and_opened_where_it_is(path, opened) -> None:
    first = Vault.at(path, KEY)
    filled(opened(first.keys), TEXTS[:2])
    assert Vault.at(path, KEY).keys.database == first.keys.database
    with pytest.raises(WrongKey):
        Vault.at(path, bytes(32))


def test_a_plain_memory_is_not_opened_by_a_key(path, opened) -> None:
    opened(None).close()
    with pytest.raises(WrongKey, match="is not encrypted"):
        Vault.at(path, KEY)
    assert not path.with_name("m.db.vault").exists()


def test_the_vault_may_lie_elsewhere_behind_a_link(path: Path, vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    there = tmp_path / "token" / "keys"
    here = path.with_name("m.db.vault")
    here.rename(there)
    here.symlink_to(there)
    vault.add_room("diary")
    vault.rotate_key(bytes(32))
    assert here.is_symlink()
    assert Vault.open(path, bytes(32)).spaces == ("diary",)


@pytest.mark.skipif("key" not in inspect.signature(Memory.open).parameters, reason="the facade takes no key")
def test_the_code_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "encryption.md").read_text(encoding="utf-8")
    exec(re.findall(r"^```python.*?\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)[0], {"__name__": "__main__"})
    assert (tmp_path / "private.db.vault").exists()
    assert [
        word for word in (b"bees", b"whale", b"diary") if any(word in f.read_bytes() for f in files(tmp_path))
    ] == []


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


# --- key files ---------------------------------------------------------------------------------------------------


def test_a_key_file_holds_bytes_or_digits(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(KEY)
    (tmp_path / "hex").write_text(KEY.hex() + "\n")
    (tmp_path / "bad").write_text("hello")
    assert read_key(tmp_path / "raw") == read_key(tmp_path / "hex") == KEY
    with pytest.raises(BadInput):
        read_key(tmp_path / "bad")
    with pytest.raises(StoreError):
        read_key(tmp_path / "none")
    assert new_key() != new_key()
