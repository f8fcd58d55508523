"""From the command line to a verb and back: read what is sent, open the memory, run, show."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final, cast

import click

from ..errors import BadInput, Damaged, MissingExtra, ModelError, NotFound
from ..places import check_whole, file_of, is_server
from . import _later
from ._memory_verbs import importer_of
from ._model_verbs import run_chat
from ._time_verbs import shown_line
from .options import SCOPE_OPTIONS, common_options
from .outcomes import Health, Shown
from .screen import Screen, is_terminal, read_input
from .verbs import Given, Verb

if TYPE_CHECKING:
    from ..core.scope import Scope
    from ..memory import Memory
    from ..results import Forgotten, Imported
    from ..settings import Settings

__all__ = ["FAILED", "Misuse", "perform"]

FAILED: Final = 1
"""Exit code of what could not be done."""
_DURABILITIES: Final = ("full", "normal")


class Misuse(click.UsageError):
    """Called wrongly.

    Args:
        message: One sentence.
        hint: The next step.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a verb: the options of every verb, apart from its own.

    Args:
        verb: Which.
        common: Options of every verb, those before the verb and those after it as one.
        values: Its own parameters, by name.
        settings: What the user has set for every call.
    """

    verb: Verb
    common: Mapping[str, Any]
    values: dict[str, Any]
    settings: Settings

    @property
    def screen(self) -> Screen:
        """Where the result is shown."""
        return Screen(bool(self.common["is_json"]), bool(self.common["is_plain"]))

    @property
    def address(self) -> str | None:
        """Address of the server that holds the memory; None when it is a file."""
        place: str = self.common["at_path"] or self.settings.path
        return place if is_server(place) else None

    @property
    def path(self) -> Path:
        """File of the memory."""
        return file_of(self.common["at_path"] or self.settings.path)

    def place(self) -> str:
        """Return the address or the file of a memory that is there.

        Raises:
            NotFound: It is not there.
        """
        if self.address is None and not self.path.exists():
            raise NotFound(f"there is no memory at {str(self.path)!r}", hint='`pinyon add "…"` makes one')
        return self.address or str(self.path)

    def key(self) -> str | bytes | None:
        """Return the key of an encrypted memory, as it is given or set; None when neither is."""
        file = self.common["key_file"] or self.settings.key_file
        return self.settings.key if file is None else _later.read_key(Path(file).expanduser())

    @property
    def backbone(self) -> str | None:
        """Local model that states are made with, as it is given to `work` or set; None when it is neither."""
        given = self.values.get("backbone") if self.verb.name == "work" else None
        return given or self.settings.backbone

    def who(self) -> dict[str, str | None]:
        """Return who asks, where and what for, as it is given or set."""
        settings = self.settings
        who = {"space": settings.space, "user": settings.user, "agent": settings.agent}
        who.update({name: self.common[dest] for dest, name in SCOPE_OPTIONS.items() if self.common[dest] is not None})
        return who

    def scope(self) -> Scope:
        """Return who asks."""
        who = self.who()
        return _later.Scope(*(who.get(name) for name in ("tenant", "user", "agent", "session")))

    def open(self) -> Memory:
        """Open the memory for the caller.

        Raises:
            NotFound: It is not there, and the verb makes none.
        """
        settings = self.settings
        if not self.verb.can_create:
            self.place()
            if self.address is None:
                check_whole(self.path, is_wanted=True)
        if settings.durability not in _DURABILITIES:
            raise BadInput(f"the durability {settings.durability!r} is not known", hint="set it to full or normal")
        who = self.who()
        return _later.Memory.open(
            self.address or self.path,
            embedder=self.common["embedder"] or settings.embedder,
            api_key=settings.api_key,
            key=self.key(),
            judge=settings.judge,
            durability="normal" if settings.durability == "normal" else "full",
            backbone=self.backbone,
            **who,  # type: ignore[arg-type]  # names of Who
        )


def perform(verb: Verb, **values: Any) -> int:
    """Run a verb inside a context of click and return the exit code.

    Args:
        verb: Which.
        values: Its parameters and the options of every verb, as click has read them.
    """
    context = click.get_current_context()
    before: Mapping[str, Any] = context.find_object(dict) or {}
    shared = {name: values.pop(name) for name in [p.name for p in common_options()] if name is not None}
    common = {name: before.get(name) if value in (None, False) else value for name, value in shared.items()}
    call = _Call(verb, common, values, _later.load_settings())
    _read_what_is_sent(call)
    return _FLOWS.get(verb.name, _run_and_show)(call)


def _read_what_is_sent(call: _Call) -> None:
    """Take words together, and read what stands on standard input or in a file of messages."""
    values = call.values
    for parameter in call.verb.parameters:
        if parameter.sort == "flag" and parameter.default is True:  # its option turns it off
            values[parameter.name] = not values[parameter.name]
        if parameter.sort == "words":
            words: tuple[str, ...] = values[parameter.name]
            text = _text_from_input() if words == ("-",) else " ".join(words)
            if parameter.is_required and not text.strip():
                raise Misuse(f"{parameter.name} is empty", f"`pinyon {call.verb.name} --help` shows what it takes")
            values[parameter.name] = text or None
    if call.verb.name == "add":
        _read_addition(values)
    if call.verb.name == "update":
        if values["text"] == "-":
            values["text"] = _text_from_input()
        if not any(
            values[name] not in (None, ()) for name in ("text", "time", "tags", "metadata", "expires", "priority")
        ):
            raise Misuse("nothing says what to change", "give --text, --time, --tag, --meta, --expires or --priority")


def _read_addition(values: dict[str, Any]) -> None:
    file = values.pop("messages")
    if file is not None:
        if values["what"] is not None:
            raise Misuse("a text and --messages exclude each other", "add them one after the other")
        data = read_input() if file == "-" else Path(file).expanduser().read_bytes()
        values["what"] = _messages(data, file)
    elif values["what"] is None:
        text = "" if is_terminal(sys.stdin) else _text_from_input()
        if not text.strip():
            raise Misuse("there is nothing to add", "give a text, or - to read standard input")
        values["what"] = text


def _text_from_input() -> str:
    """Return the text on standard input without the line break that ends it."""
    try:
        text = read_input().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            "standard input is not UTF-8", hint="`pinyon import - --name notes.txt` finds out how it is encoded"
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


def _messages(data: bytes, name: str) -> Any:
    """Return chat messages from JSON: a list, one message, or one message a line."""
    try:
        text = data.decode("utf-8-sig")
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{'standard input' if name == '-' else repr(name)} holds no JSON messages",
            hint='write [{"role": "user", "content": "hello"}]',
        ) from error


def _run_and_show(call: _Call) -> int:
    is_why = bool(call.values.pop("why", False))
    with call.open() as memory:
        result = call.verb.run(memory, call.values)
    if is_why and call.verb.name in ("recall", "ask") and not call.screen.is_json:
        _show_trace(call.screen, result)
    call.screen.show(result, is_why=is_why)
    return FAILED if isinstance(result, Shown) and not result.is_good else 0


def _show_trace(screen: Screen, result: Any) -> None:
    """Show on stderr how the passages of a context or an answer were found."""
    found = result.found if hasattr(result, "found") else result.recall.found
    look = _later.render.Look(is_why=True)
    screen_lines = _later.render.text_of(found, look) or "\n".join(_later.render.trace_of(found))
    for line in screen_lines.split("\n"):
        screen.say(line)


def _run_import(call: _Call) -> int:
    values, screen = call.values, call.screen
    is_watching = values.pop("watch")
    paths: list[str] = list(values.pop("paths"))
    if "-" in paths:
        if len(paths) > 1 or is_watching:
            raise Misuse("standard input is read alone", "leave out the other paths and --watch")
        values.update(paths=(), data=read_input())
    elif values["name"] is not None:
        raise Misuse("--name names standard input", "give - as the path")
    else:
        values["paths"] = tuple(os.path.expanduser(path) for path in paths)
    with call.open() as memory:
        if is_watching:
            return _watch(memory, call)
        with screen.bar("sources") as progress:
            result: Imported = call.verb.run(memory, values, progress)  # type: ignore[assignment]  # what import returns
        try:
            with screen.bar("vectors") as progress:  # with a slow embedder; interrupted, the next import goes on
                memory.catch_up(progress)
        except (ModelError, MissingExtra) as error:  # what was read is kept and found by other vectors until then
            screen.say(f"vectors wait for their embedder: {error.message}")
    screen.show(result)
    is_in_vain = bool(result.sources) and len(result.skipped) == len(result.sources)
    return FAILED if is_in_vain else 0


def _watch(memory: Memory, call: _Call) -> int:
    """Import again and again until interrupted; with --json one document a line."""
    importer = importer_of(Given(call.values))
    if call.screen.is_lively:
        call.screen.say("watching; stop with Ctrl-C")
    for result in _later.watch_files(memory, call.values["paths"], stop=Event(), importer=importer):
        call.screen.show(result)
    return 0


def _run_log(call: _Call) -> int:
    if not call.values.pop("follow"):
        return _run_and_show(call)
    with call.open() as memory:
        if call.screen.is_lively:
            call.screen.say("following; stop with Ctrl-C")
        for line in memory.follow(stop=Event()):
            if call.values["op"] in (None, line.op) and (not call.values["mine"] or line.actor == memory.scope):
                call.screen.show(shown_line(line))
    return 0


def _run_forget(call: _Call) -> int:
    values, screen = call.values, call.screen
    is_dry, is_sure, file = values.pop("dry_run"), values.pop("yes"), values.pop("receipt")
    with call.open() as memory:
        plan: Forgotten = call.verb.run(memory, {**values, "dry_run": True})  # type: ignore[assignment]  # what forget returns
        if is_dry or not plan.cubes:
            screen.show(plan)
            is_kept = plan.plan is not None and bool(plan.plan.held or plan.plan.not_allowed)
            return FAILED if is_kept and not is_dry else 0
        if file is not None and Path(file).exists():
            raise Misuse(f"{file!r} exists", "give the receipt another name")
        if not is_sure and not _is_agreed(screen, plan):
            screen.say("nothing was forgotten")
            return FAILED
        is_wide = values["about"] or values["whole_space"]
        if not is_wide and plan.plan is not None:  # by id, so that what goes is what was shown
            values = {"ids": tuple(cube.id for cube in plan.plan.targets), "derived": values["derived"]}
        done: Forgotten = call.verb.run(memory, values)  # type: ignore[assignment]  # what forget returns
    if file is not None and done.receipt is not None:
        Path(file).write_text(json.dumps(_later.receipt_to_json(done.receipt), indent=1) + "\n", encoding="utf-8")
    screen.show(done)
    return 0


def _is_agreed(screen: Screen, plan: Forgotten) -> bool:
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise Misuse("forgetting needs a yes, and nobody is here to give it", "add --yes, or --dry-run to look first")
    for line in _later.render.text_of(plan, screen.look()).split("\n"):
        screen.say(line)
    return click.confirm("Forget this for good?", err=True)


def _run_export(call: _Call) -> int:
    if all(call.values[name] is None for name in ("path", "to", "every", "on_tag")):
        raise Misuse("nothing says where to", "name a file; or a folder with --to, together with --every")
    if call.values["path"] != "-":
        unit = "entries" if call.values["everything"] else "memories"
        with call.open() as memory, call.screen.bar(unit) as progress:
            result = call.verb.run(memory, call.values, progress)
        call.screen.show(result)
        return 0
    with tempfile.TemporaryDirectory() as folder, call.open() as memory:
        path = Path(folder) / "archive.jsonl"
        call.verb.run(memory, {**call.values, "path": str(path)})
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.flush()
    return 0


def _run_encrypt(call: _Call) -> int:
    call.screen.show(_encrypted(call.path, _needed(call)))
    return 0


def _encrypted(path: Path, key: str | bytes) -> Shown:
    _later.encrypt_store(path, key)
    return Shown({"path": str(path)}, (f"{path} is encrypted; without its key nobody opens it again",))


def _run_decrypt(call: _Call) -> int:
    _later.decrypt_store(call.path, _needed(call))
    call.screen.show(Shown({"path": str(call.path)}, (f"{call.path} is not encrypted any more",)))
    return 0


def _run_rekey(call: _Call) -> int:
    vault = _later.Vault.open(call.path, _needed(call))
    new = call.values["new_key_file"]
    if call.values["master"]:
        vault.rotate_master()
    if new is not None:
        vault.rotate_key(_later.read_key(Path(new).expanduser()))
    elif not call.values["master"]:
        raise Misuse("nothing says what to change", "give --new-key-file, --master or both")
    said = "everything was written anew under new keys" if call.values["master"] else "the new key opens it from now on"
    call.screen.show(Shown({"path": str(call.path)}, (said,)))
    return 0


def _run_new_key(call: _Call) -> int:
    file = Path(call.values["path"]).expanduser()
    if file.exists():
        raise Misuse(f"{str(file)!r} exists", "a key is never replaced; choose another name")
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(_later.new_key().hex().encode() + b"\n")
    said = f"wrote a key to {file}; keep a copy where the memory is not: whoever loses it loses the memory"
    call.screen.show(Shown({"file": str(file)}, (said,)))
    return 0


def _needed(call: _Call) -> str | bytes:
    key = call.key()
    if key is None:
        raise Misuse("there is no key", "give --key-file, or set PINYON_KEY to a passphrase")
    return key


def _run_shred(call: _Call) -> int:
    is_sure = call.values.pop("yes")
    space = call.common["who_space"] or call.settings.space
    if not is_sure:
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise Misuse("shredding needs a yes, and nobody is here to give it", "add --yes")
        if not click.confirm(f"Make everything in the space {space!r} unreadable for good?", err=True):
            call.screen.say("nothing was shredded")
            return FAILED
    return _run_and_show(call)


def _source_of(call: _Call) -> str:
    """Return where a migration comes from."""
    if call.values["source"] is None:
        return call.place()
    place = _spelled_out(call, str(call.values["source"]))
    if not is_server(place) and not Path(place).exists():
        raise NotFound(f"there is no memory at {place!r}", hint="--from takes a file or an address")
    return place


def _target_of(call: _Call) -> str:
    """Return where a migration goes."""
    named = [str(call.values[name]) for name in ("target", "to") if call.values[name] is not None]
    if len(named) != 1:
        raise Misuse("a migration goes to one place", "give a file or an address after --to")
    return _spelled_out(call, named[0])


def _spelled_out(call: _Call, place: str) -> str:
    """Return a file or an address for what was written, which may be the word for a kind of store."""
    if place in ("postgres", "postgresql"):
        return call.address or "postgresql://"  # the client fills in what the environment says
    if place == "sqlite":
        if call.address is not None:
            raise Misuse(f"{call.address!r} is a server", "write the name of the file instead of sqlite")
        return str(call.path)
    return place if is_server(place) else str(file_of(place))


def _run_migrate(call: _Call) -> int:
    source, screen, target = _source_of(call), call.screen, _target_of(call)
    with screen.bar("entries") as progress:
        seen = 0

        def tell(done: int, _total: int) -> None:
            nonlocal seen
            if progress is not None:
                progress(done - seen)
            seen = done

        done = _later.migrate_between(source, target, tell, scope=call.scope())
    data: dict[str, Any] = {"entries": done.entries, "cubes": done.cubes, "chain": done.chain}
    screen.show(Shown(data, (f"{done.cubes} memories with {done.entries} entries of the journal, verified by hash",)))
    return 0


def _run_measure(call: _Call) -> int:
    with call.screen.bar("items") as progress:
        result = call.verb.run(cast("Memory", None), call.values, progress)  # it opens no memory
    call.screen.show(result)
    return FAILED if isinstance(result, Shown) and not result.is_good else 0


def _run_apart(call: _Call) -> int:
    """Run a verb that looks at files beside a memory, with the memory where there is one."""
    if call.address is None and not call.path.exists():
        result = call.verb.run(cast("Memory", None), call.values)
    else:
        with call.open() as memory:
            result = call.verb.run(memory, call.values)
    call.screen.show(result)
    return FAILED if isinstance(result, Shown) and not result.is_good else 0


def _run_doctor(call: _Call) -> int:
    screen = call.screen
    if screen.is_lively:
        screen.say("checking the journal, the database and the index …")
    try:
        with call.open() as memory, screen.bar("memories") as progress:
            health: Health = call.verb.run(memory, call.values, progress)  # type: ignore[assignment]  # what doctor returns
    except Damaged as error:
        health = _later.given_up(call.path, error)
    screen.show(health)
    return 0 if health.is_sound else FAILED


_FLOWS: Final[Mapping[str, Callable[[_Call], int]]] = {
    "import": _run_import,
    "log": _run_log,
    "forget": _run_forget,
    "export": _run_export,
    "doctor": _run_doctor,
    "encrypt": _run_encrypt,
    "decrypt": _run_decrypt,
    "rekey": _run_rekey,
    "new-key": _run_new_key,
    "migrate": _run_migrate,
    "measure": _run_measure,
    "heads": _run_measure,
    "chat": lambda call: run_chat(call.screen, call.verb, call.values),
    "shred": _run_shred,
    "seal": _run_apart,
    "registry": _run_apart,
}
"""Verbs that talk with the terminal while they run; all others are run and shown."""
