"""A registry: a folder of published archives with an index, on a disk or behind any server of plain files.

``registry.json`` names every publication with its versions, their terms and the SHA-256 of their archives, and ends
with a digest of itself; ``<name>/<version>.pinyon`` are the archives. An archive is written before the index that names
it, and both are written whole, so that a publication is there or is not. The terms lie in the archive, too, where its
digests and its seal cover them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from ..core.clock import from_micros, micros
from ..core.payload import Json, canonical
from ..errors import BadInput, Busy, Conflict, Damaged, NotFound, StoreError, TooNew
from ..files import whole_file

__all__ = ["INDEX", "Issue", "Publication", "Registry", "Terms", "check_publication_name"]

INDEX = "registry.json"
FORMAT = "pinyon-registry"
VERSION = 1
PUBLIC = "public"

_NAME = re.compile(r"[^\W_][\w.-]{0,63}")
_MOST_INDEX_BYTES = 2**26
_LOCK_S = 10.0
_REACH_S = 30.0  # an answer of a server begins within
_PIECE = 2**20
_STRANGE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


def check_publication_name(name: str, what: str = "publication") -> str:
    """Return the name of a publication or version unchanged when it can be a file name everywhere.

    Raises:
        BadInput: It is a path, or anything else.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith("."):
        raise BadInput(
            f"{name!r} is no name of a {what}",
            hint="begin with a letter or digit and use letters, digits, dots and dashes, at most 64",
        )
    return name


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which conditions something is published.

    Args:
        calls: How often a subscriber may read it, or None for any number; every search, recall and ask that finds
            something of it is one.
        expires: Until when it may be used, or None.
        visible_to: Who may subscribe: ``public``, or principals of the subscriber's memory (``user:ann``,
            ``group:care``).
        text: Anything else, in words.

    Raises:
        BadInput: The number is below 1, or nobody may subscribe.
    """

    calls: int | None = None
    expires: datetime | None = None
    visible_to: tuple[str, ...] = (PUBLIC,)
    text: str = ""

    def __post_init__(self) -> None:
        if self.calls is not None and (isinstance(self.calls, bool) or self.calls < 1):
            raise BadInput(f"a licence for {self.calls!r} calls allows nothing", hint="give a whole number above 0")
        if not self.visible_to:
            raise BadInput("nobody may subscribe", hint="name users or groups, or public")

    @property
    def is_licence(self) -> bool:
        """Whether calls or time are limited."""
        return self.calls is not None or self.expires is not None


@dataclass(frozen=True, slots=True)
class Issue:
    """One version of a publication.

    Args:
        version: Its name.
        parent: The version before, or None.
        time: When it was published, UTC.
        terms: Under which conditions.
        tags: Labels to find it by.
        cubes: Number of memories in it.
        content: SHA-256 of the memories in it.
        sha256: Of its archive.
        bytes: Of its archive.
    """

    version: str
    parent: str | None
    time: datetime
    terms: Terms
    tags: tuple[str, ...] = ()
    cubes: int = 0
    content: str = ""
    sha256: str = ""
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Publication:
    """Something published under a name.

    Args:
        name: The name.
        issues: Its versions, oldest first.
        withdrawn: Since when it is no longer published, or None.
    """

    name: str
    issues: tuple[Issue, ...]
    withdrawn: datetime | None = None

    @property
    def latest(self) -> Issue:
        """The last version."""
        return self.issues[-1]


@dataclass(slots=True)
class Registry:
    """A folder of publications, or an address under which a server shows such a folder.

    Args:
        place: The folder, or ``http(s)://…``.

    Raises:
        BadInput: It is an address of another kind.
    """

    place: str
    _folder: Path | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        scheme = self.place.partition("://")[0].lower() if "://" in self.place else ""
        if scheme in ("http", "https"):
            self.place = self.place.rstrip("/")
            return
        if scheme or not self.place.strip() or "\x00" in self.place:
            raise BadInput(f"{self.place!r} is no registry", hint="give a folder or an address that begins with http")
        self._folder = Path(self.place).expanduser().absolute()
        self.place = str(self._folder)

    @property
    def is_address(self) -> bool:
        """Whether a server shows it."""
        return self._folder is None

    def publications(self) -> dict[str, Publication]:
        """Return everything that is or was published, by name.

        Raises:
            NotFound: There is no registry there.
            Damaged: Its index is cut off or was changed.
            TooNew: A later version of pinyon wrote it.
            StoreError: It cannot be reached.
        """
        try:
            with self._opened(INDEX) as file:
                data = file.read(_MOST_INDEX_BYTES + 1)
        except FileNotFoundError as error:
            raise NotFound(f"there is no registry at {self.place!r}", hint="`pinyon publish` begins one") from error
        return index_from(data, self.place)

    def find(self, name: str) -> Publication:
        """Return what is published under a name, withdrawn or not.

        Raises:
            NotFound: Nothing is.
        """
        known = self.publications()
        if check_publication_name(name) not in known:
            names = ", ".join(sorted(known)[:10]) or "nothing"
            raise NotFound(f"nothing is published as {name!r} in {self.place!r}", hint=f"there is {names}")
        return known[name]

    def fetch(self, publication: Publication, issue: Issue, path: Path) -> None:
        """Bring the archive of a version to a file of one's own, and compare its digest.

        Raises:
            Damaged: It is not there, cut off or changed.
            StoreError: It cannot be reached.
        """
        where = f"{publication.name} {issue.version} in {self.place!r}"
        seen, left = hashlib.sha256(), issue.bytes
        try:
            with self._opened(_archive_name(publication.name, issue.version)) as source, open(path, "wb") as file:
                while left >= 0 and (piece := source.read(_PIECE)):
                    seen.update(piece)
                    left -= len(piece)
                    file.write(piece)
        except FileNotFoundError as error:
            raise Damaged(f"the archive of {where} is not there", hint="nothing was taken") from error
        if left or seen.hexdigest() != issue.sha256:
            raise Damaged(f"the archive of {where} is cut off or was changed", hint="nothing was taken")

    def publish(self, name: str, make: Callable[[Publication | None, Path], Issue | None]) -> Publication:
        """Add a version to what is published under a name.

        Args:
            name: The name.
            make: Given what is published so far and where the archive of a version is to lie (its file is named by
                `archive_in`), writes it and returns the version, or None when there is none to add.

        Raises:
            BadInput: The registry is an address.
            Conflict: The version is there.
        """
        folder = self._writable()
        check_publication_name(name)
        with self._locked(folder):
            known = self._known(folder)
            before = known.get(name)
            try:
                (folder / name).mkdir(exist_ok=True)
                issue = make(before, folder / name)
                if issue is None:
                    assert before is not None
                    return before
                archive = archive_in(folder / name, issue.version)
                digest, size = _digest(archive)
            except OSError as error:
                if isinstance(error, StoreError):
                    raise
                raise StoreError(f"the registry {self.place!r} cannot be written: {error.strerror}") from error
            whole = replace(issue, sha256=digest, bytes=size)
            known[name] = Publication(name, (*(before.issues if before else ()), whole))
            self._write(folder, known)
        return known[name]

    def withdraw(self, name: str, now: datetime) -> Publication:
        """Mark what is published under a name as withdrawn, and remove its archives.

        Raises:
            NotFound: Nothing is published under this name.
            Conflict: It is withdrawn already.
        """
        folder = self._writable()
        with self._locked(folder):
            known = self._known(folder)
            if check_publication_name(name) not in known:
                raise NotFound(f"nothing is published as {name!r} in {self.place!r}")
            if known[name].withdrawn is not None:
                raise Conflict(f"{name!r} is withdrawn already")
            known[name] = replace(known[name], withdrawn=now)
            self._write(folder, known)  # whoever looks now is told; then the bytes go
            for issue in known[name].issues:
                with suppress(OSError):
                    archive_in(folder / name, issue.version).unlink(missing_ok=True)
        return known[name]

    def _writable(self) -> Path:
        if self._folder is None:
            raise BadInput(f"{self.place!r} is an address, which is read only", hint="publish into the folder itself")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"the registry {self.place!r} cannot be made: {error.strerror}") from error
        return self._folder

    def _known(self, folder: Path) -> dict[str, Publication]:
        return self.publications() if (folder / INDEX).exists() else {}

    def _write(self, folder: Path, known: Mapping[str, Publication]) -> None:
        try:
            with whole_file(folder / INDEX) as file:
                file.write(index_bytes(known))
        except OSError as error:
            raise StoreError(f"the registry {self.place!r} cannot be written: {error.strerror}") from error

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(folder / f".{INDEX}.lock")
        try:
            lock.acquire(timeout=_LOCK_S)
        except Timeout as error:
            raise Busy(f"another process writes to the registry {self.place!r}", hint="try again") from error
        except OSError as error:
            raise StoreError(f"the registry {self.place!r} cannot be written: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        """Give a file of the registry to read.

        Raises:
            FileNotFoundError: It is not there.
            StoreError: It cannot be reached.
        """
        try:
            if self._folder is not None:
                with open(self._folder / name, "rb") as file:
                    yield file
            else:
                yield from self._from_server(name)
        except (FileNotFoundError, StoreError):
            raise
        except OSError as error:
            reason = getattr(error, "reason", error)  # of `URLError`
            said = getattr(reason, "strerror", None) or reason
            raise StoreError(f"the registry {self.place!r} cannot be reached: {said}") from error

    def _from_server(self, name: str) -> Iterator[IO[bytes]]:
        from http.client import HTTPException
        from urllib.error import HTTPError
        from urllib.parse import quote
        from urllib.request import urlopen

        try:
            with urlopen(f"{self.place}/{quote(name)}", timeout=_REACH_S) as answer:
                yield answer
        except HTTPError as error:
            if error.code in (404, 410):
                raise FileNotFoundError(name) from error
            raise StoreError(f"the registry {self.place!r} answers with {error.code}") from error
        except (HTTPException, ValueError) as error:
            raise StoreError(f"the registry {self.place!r} cannot be read: {error}") from error


def archive_in(folder: Path, version: str) -> Path:
    """Return where the archive of a version lies in the folder of its publication."""
    return folder / f"{check_publication_name(version, 'version')}.pinyon"


def _archive_name(name: str, version: str) -> str:
    return f"{check_publication_name(name)}/{check_publication_name(version, 'version')}.pinyon"


def _digest(path: Path) -> tuple[str, int]:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def index_bytes(known: Mapping[str, Publication]) -> bytes:
    """Return the index of some publications; `index_from` is its inverse."""
    said: dict[str, Json] = {
        "format": FORMAT,
        "version": VERSION,
        "publications": {name: _publication(each) for name, each in known.items()},
    }
    digest = hashlib.sha256(canonical(said).encode()).hexdigest()
    return canonical({**said, "sha256": digest}).encode() + b"\n"


def index_from(data: bytes, where: str) -> dict[str, Publication]:
    """Return the publications of an index.

    Raises:
        Damaged: It is cut off or was changed.
        TooNew: A later version of pinyon wrote it.
    """
    try:
        said = json.loads(data)
        digest = said.pop("sha256")
        version, kind = int(said["version"]), said["format"]
    except _STRANGE as error:
        raise Damaged(f"the index of the registry {where!r} is cut off or was changed") from error
    if kind == FORMAT and version > VERSION:
        raise TooNew(
            f"the registry {where!r} has version {version}, this pinyon knows {VERSION}",
            hint="pip install --upgrade pinyon",
        )
    try:
        if kind != FORMAT or hashlib.sha256(canonical(said).encode()).hexdigest() != digest:
            raise ValueError(kind)
        return {check_publication_name(name): _publication_from(name, each) for name, each in _items(said)}
    except _STRANGE as error:
        if isinstance(error, BadInput):
            raise
        raise Damaged(f"the index of the registry {where!r} is cut off or was changed") from error


def _items(said: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from said["publications"].items()


def _publication(each: Publication) -> dict[str, Json]:
    out: dict[str, Json] = {
        "versions": [
            {**issue_to_json(each.name, issue), "sha256": issue.sha256, "bytes": issue.bytes} for issue in each.issues
        ]
    }
    return out if each.withdrawn is None else {**out, "withdrawn": micros(each.withdrawn)}


def _publication_from(name: str, said: Mapping[str, Any]) -> Publication:
    issues = tuple(
        replace(issue_from_json(each), sha256=str(each["sha256"]), bytes=int(each["bytes"]))
        for each in said["versions"]
    )
    if not issues:
        raise ValueError(name)
    withdrawn = said.get("withdrawn")
    return Publication(name, issues, None if withdrawn is None else from_micros(int(withdrawn)))


def issue_to_json(name: str, issue: Issue) -> dict[str, Json]:
    """Return what is said of a version, without what is known of its archive only when that is whole."""
    out: dict[str, Json] = {
        "name": name,
        "version": issue.version,
        "parent": issue.parent,
        "time": micros(issue.time),
        "terms": terms_to_json(issue.terms),
        "tags": list(issue.tags),
    }
    return out if not issue.content else {**out, "cubes": issue.cubes, "content": issue.content}


def issue_from_json(said: Mapping[str, Any]) -> Issue:
    """Return the version that `issue_to_json` wrote."""
    parent = said["parent"]
    return Issue(
        check_publication_name(said["version"], "version"),
        None if parent is None else str(parent),
        from_micros(int(said["time"])),
        terms_from_json(said["terms"]),
        tuple(str(tag) for tag in said["tags"]),
        int(said.get("cubes", 0)),
        str(said.get("content", "")),
    )


def terms_to_json(terms: Terms) -> dict[str, Json]:
    """Return terms as a JSON object; `terms_from_json` is its inverse."""
    out: dict[str, Json] = {"visible_to": list(terms.visible_to)}
    if terms.calls is not None:
        out["calls"] = terms.calls
    if terms.expires is not None:
        out["expires"] = micros(terms.expires)
    return out | ({"text": terms.text} if terms.text else {})


def terms_from_json(said: Mapping[str, Any]) -> Terms:
    """Return the terms that `terms_to_json` wrote."""
    calls, expires = said.get("calls"), said.get("expires")
    return Terms(
        None if calls is None else int(calls),
        None if expires is None else from_micros(int(expires)),
        tuple(str(who) for who in said["visible_to"]),
        str(said.get("text", "")),
    )
