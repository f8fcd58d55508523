"""E-books."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import unquote

from ..core.experience import Document, Experience
from ..core.payload import Json, clean
from ..errors import UnreadableSource
from ._archive import Archive
from ._decode import decode
from ._draft import Draft, stem
from ._json import moment
from ._markup import extract
from ._xml import listen, short
from .base import STANDARD, Limits

__all__ = ["Epub"]

_CONTAINER = "META-INF/container.xml"
_PROTECTION = "META-INF/encryption.xml"
_PAGES = ("application/xhtml+xml", "text/html")


@dataclass(frozen=True, slots=True)
class Epub:
    """Read an e-book: the pages of its spine, in order, as one document.

    Opened here (zip, package file, HTML) because the one library of the field, ebooklib, is under the AGPL.
    """

    limits: Limits = STANDARD
    name: ClassVar[str] = "EPUB book"
    suffixes: ClassVar[frozenset[str]] = frozenset({".epub"})

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return one document."""
        archive = Archive(data, name, self.limits)
        root = _Container()
        listen(archive.read(_CONTAINER), root, name=name, limits=self.limits)
        if root.path is None:
            raise UnreadableSource(f"{name!r} is broken: its container names no book", hint="download it again")
        package = _Package()
        listen(archive.read(root.path), package, name=name, limits=self.limits)
        pages = package.pages(posixpath.dirname(root.path))
        self._refuse_locked(archive, pages, name)
        draft = Draft()
        for page in pages:
            content = archive.read(page)
            if content.strip():
                extract(decode(content, f"{name}: {page}", is_markup=True), draft, name=name, limits=self.limits)
        if draft.is_empty:
            raise UnreadableSource(f"{name!r} is empty: its pages hold no words", hint="it may be a book of pictures")
        return [
            Document(
                draft.text,
                source=name,
                title=package.first("title") or draft.first_heading or stem(name),
                blocks=draft.blocks,
                time=moment(package.first("date")),
                metadata=package.metadata(),
            )
        ]

    def _refuse_locked(self, archive: Archive, pages: list[str], name: str) -> None:
        if _PROTECTION not in archive.members:
            return
        locked = _Locked()
        listen(archive.read(_PROTECTION), locked, name=name, limits=self.limits)
        if locked.paths & set(pages):  # fonts alone may be veiled in open books
            raise UnreadableSource(f"{name!r} is encrypted (DRM)", hint="only books without protection can be read")


class _Container:
    """Listens for the path of the package file."""

    def __init__(self) -> None:
        self.path: str | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if short(tag) == "rootfile" and self.path is None:
            self.path = attributes.get("full-path")

    def end(self, tag: str) -> None:
        pass

    def characters(self, text: str) -> None:
        pass


class _Locked:
    """Listens for the paths of encrypted members."""

    def __init__(self) -> None:
        self.paths: set[str] = set()

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if short(tag) == "CipherReference":
            self.paths.add(unquote(attributes.get("URI", "")))

    def end(self, tag: str) -> None:
        pass

    def characters(self, text: str) -> None:
        pass


class _Package:
    """Listens for what the book is called, which files it has, and in which order they are read."""

    def __init__(self) -> None:
        self.fields: dict[str, list[str]] = {}
        self.files: dict[str, tuple[str, str]] = {}  # id: (path, media type)
        self.spine: list[str] = []
        self._words: list[str] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._words.clear()
        if short(tag) == "item" and "nav" not in attributes.get("properties", "").split():
            path = unquote(attributes.get("href", "").partition("#")[0])
            self.files[attributes.get("id", "")] = (path, attributes.get("media-type", ""))
        elif short(tag) == "itemref" and attributes.get("linear") != "no":
            self.spine.append(attributes.get("idref", ""))

    def end(self, tag: str) -> None:
        words = " ".join("".join(self._words).split())
        if words and "purl.org/dc/" in tag:
            self.fields.setdefault(short(tag), []).append(clean(words))
        self._words.clear()

    def characters(self, text: str) -> None:
        self._words.append(text)

    def first(self, key: str) -> str | None:
        return next(iter(self.fields.get(key, ())), None)

    def metadata(self) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for key, label in (("creator", "author"), ("language", "language"), ("publisher", "publisher")):
            if key in self.fields:
                found[label] = ", ".join(self.fields[key])
        return found

    def pages(self, folder: str) -> list[str]:
        """Return the paths of the spine inside the archive, each once."""
        known = [self.files[item] for item in dict.fromkeys(self.spine) if item in self.files]
        return [posixpath.normpath(posixpath.join(folder, path)) for path, media in known if path and media in _PAGES]
