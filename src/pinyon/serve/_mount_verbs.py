"""The verbs that make spaces of other memories spaces of this one, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._share_verbs import key_in
from .outcomes import Shown
from .verb import Given, Parameter, Verb

if TYPE_CHECKING:
    from ..core.payload import Json
    from ..memory import Memory
    from ..mounting import Mount

__all__ = ["MOUNT_VERBS"]


def _mount(memory: Memory, given: Given) -> Shown:
    done = memory.mount(
        given.text("name"),
        given.text("path"),
        space=memory.space,
        writable=given.is_set("writable"),
        key=key_in(given, "mount_key"),
    )
    return Shown(_plain(done), (f"mounted {_line(done)}",))


def _unmount(memory: Memory, given: Given) -> Shown:
    gone = memory.unmount(given.text("name"))
    return Shown(_plain(gone), (f"{gone.name} is mounted no more; {gone.place} stays as it is",))


def _mounts(memory: Memory, _: Given) -> Shown:
    found = memory.mounts()
    return Shown([_plain(each) for each in found], tuple(map(_line, found)) or ("nothing",))


def _line(each: Mount) -> str:
    how = "to be read and written" if each.is_writable else "to be read"
    trouble = f"; cannot be used: {each.trouble}" if each.trouble else ""
    return f"{each.name}: the space {each.space!r} of {each.place}, {how}{trouble}"


def _plain(each: Mount) -> dict[str, Json]:
    return {
        "name": each.name,
        "place": each.place,
        "space": each.space,
        "is_writable": each.is_writable,
        "trouble": each.trouble,
    }


_NAME = Parameter("name", "Of the space here", "text", "argument", is_required=True)

MOUNT_VERBS: tuple[Verb, ...] = (
    Verb(
        "mount",
        "Make a space of another memory a space of this one, without copying it.",
        "It is the space that --space names there, and NAME here. Its own rules hold in it. Search, recall, ask, list,"
        " get, history, log and diff read it with --space NAME; add, update and forget write it, if it is mounted with"
        " --writable. Else not a byte of it changes.\n\n"
        "Of an encrypted memory the key is kept nowhere: set PINYON_MOUNT_NAME_KEY_FILE to its file, or"
        " PINYON_MOUNT_NAME_KEY to its passphrase, with the NAME in capitals.",
        (
            "pinyon mount team /srv/team/memory.db",
            "pinyon mount bees ~/expert --space hives --writable",
        ),
        (
            _NAME,
            Parameter("path", "Of the other memory: a file, a folder, or postgresql://…", "file", "argument",
                      shown="PLACE", is_required=True),
            Parameter("writable", "Let it be written from here", "flag", "option", ("--writable",)),
            Parameter("mount_key", "File with the key of the other memory", "file", "edge", ("--mount-key-file",),
                      "FILE"),
        ),
        ("pinyon.configuring:Configuring.mount", "pinyon.store.vault:read_key"),
        _mount,
        can_create=True,
    ),
    Verb(
        "unmount",
        "Let a name stand for no other memory any more; the other memory stays as it is.",
        "",
        ("pinyon unmount team",),
        (_NAME,),
        ("pinyon.configuring:Configuring.unmount",),
        _unmount,
    ),
    Verb(
        "mounts",
        "List what is mounted, where it lies, and why it cannot be used now, if it cannot.",
        "",
        ("pinyon mounts --json",),
        (),
        ("pinyon.configuring:Configuring.mounts",),
        _mounts,
    ),
)  # fmt: skip
"""Mount, unmount, mounts."""
