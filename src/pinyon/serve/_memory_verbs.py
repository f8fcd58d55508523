"""The verbs that everybody uses, as a table."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..errors import BadInput
from . import _later
from ._share_verbs import dumped, key_in, seal_of
from .outcomes import Exported, Health, Past, Shown
from .verb import (
    BUDGET,
    EXPIRES,
    FILTERS,
    ID,
    KINDS,
    METADATA,
    PRIORITY,
    QUESTION,
    STATES,
    TAGS,
    TIME,
    WHY,
    Given,
    Parameter,
    Verb,
    how_many,
)

if TYPE_CHECKING:
    from ..core.cube import Cube
    from ..core.header import Priority
    from ..govern.forgetting import Derived
    from ..importing import Importer
    from ..memory import Memory
    from ..results import Added, Answer, Forgotten, Imported, Page, Recall, Stats
    from ..schedule import Spreading
    from ..state.fuse import FuseMode
    from ..text import ReadTwice
    from ..text.base import Hits

__all__ = ["MEMORY_VERBS", "importer_of"]

_READ_TWICE = Parameter(
    "read_twice",
    "Show the passages twice, the question before them, for a small model; once where they do not fit twice",
    "flag",
    "edge",
    ("--read-twice",),
)


def _add(memory: Memory, given: Given) -> Added:
    what = given.values.get("what")
    speaker, role = given.maybe("speaker", str), given.maybe("role", str)
    if speaker is not None or role is not None:
        if not isinstance(what, str):
            raise BadInput("messages say themselves who speaks", hint="leave out the speaker and the role")
        if what.strip():  # of an empty text `Memory.add` speaks more plainly when it is no turn
            what = _later.Conversation((_later.Turn(what, speaker=speaker, role=role),))
    return memory.add(
        cast("str", what),  # whatever it is; `Memory.add` says what it cannot take
        time=given.moment("time"),
        tags=given.texts("tags"),
        metadata=given.metadata(),
        expires=given.moment("expires"),
        priority=cast("Priority | None", given.maybe("priority", str)),
        derived_from=given.texts("derived_from"),
    )


def _import(memory: Memory, given: Given) -> Imported:
    if given.is_set("replay"):
        return _replayed(memory, given)
    importer = importer_of(given)
    data = given.maybe("data", bytes)
    if data is not None:
        name = given.text("name") or f"stdin:{sha256(data).hexdigest()[:12]}"  # what else came in stays
        return _later.import_stream(memory, data, name, importer=importer)
    return _later.import_files(memory, given.texts("paths"), importer=importer, progress=given.progress)


def importer_of(given: Given) -> Importer:
    """Return how sources are read."""
    space, user = given.maybe("into_space", str), given.maybe("as_user", str)
    rescope = None if space is None and user is None else _later.Rescope(space, user)
    key = key_in(given, "seal_key")
    return _later.Importer(given.texts("tags"), given.metadata(), rescope=rescope, seal_key=key)


def _replayed(memory: Memory, given: Given) -> Imported:
    """Read archives of everything back as they were written."""
    if any(given.maybe(name, str) for name in ("into_space", "as_user")):
        raise BadInput("a memory that is made again stays as it was", hint="leave out --into-space and --as-user")
    start = time.perf_counter()
    done = []
    for path in given.texts("paths"):
        entries = _later.restore(memory, Path(path), seal_key=key_in(given, "seal_key"))
        done.append(_later.SourceResult(path, "added" if entries else "unchanged", cubes=entries))
        if given.progress is not None:
            given.progress(done[-1])
    return _later.Imported(tuple(done), (time.perf_counter() - start) * 1000)


def _search(memory: Memory, given: Given) -> Hits:
    return memory.search(given.text("question"), k=given.integer("k"), where=given.where())


def _recall(memory: Memory, given: Given) -> Recall:
    return memory.recall(
        given.text("question"),
        budget_tokens=given.integer("budget_tokens"),
        where=given.where(),
        composer=_composer(given),
    )


def _ask(memory: Memory, given: Given) -> Answer:
    word = given.maybe("generator", str) or _later.load_settings().generator
    generator, composer = None if word == "none" else word, _composer(given)
    if generator is None and composer is not None:
        raise BadInput("quotations are not read, so they cannot be read twice", hint="name a model with --model")
    return memory.ask(
        given.text("question"),
        generator=generator,
        budget_tokens=given.integer("budget_tokens"),
        where=given.where(),
        composer=composer,
        fuse=cast("FuseMode | None", given.maybe("fuse", str)),
    )


def _composer(given: Given) -> ReadTwice | None:
    """Return what lays the passages out, where it is not as always."""
    return _later.ReadTwice(given.text("question")) if given.is_set("read_twice") else None


def _get(memory: Memory, given: Given) -> Cube:
    return memory.get(given.text("id"))


def _list(memory: Memory, given: Given) -> Page:
    return memory.list(
        where=given.where(),
        limit=given.integer("limit"),
        cursor=given.maybe("cursor", str),
        newest_first=given.is_set("newest_first"),
    )


def _update(memory: Memory, given: Given) -> Cube:
    return memory.update(
        given.text("id"),
        text=given.maybe("text", str),
        time=given.moment("time"),
        tags=given.texts("tags") or None,
        metadata=given.metadata(),
        expires=given.moment("expires"),
        priority=cast("Priority | None", given.maybe("priority", str)),
        if_version=given.maybe("if_version", int),
    )


def _forget(memory: Memory, given: Given) -> Forgotten:
    verb = memory.plan_forget if given.is_set("dry_run") else memory.forget
    return verb(
        given.texts("ids"),
        where=given.where(),
        query=given.maybe("query", str),
        k=given.integer("k"),
        about=given.maybe("about", str),
        mentions=given.is_set("mentions"),
        whole_space=given.is_set("whole_space"),
        derived=cast("Derived", given.text("derived")),
    )


def _history(memory: Memory, given: Given) -> Past:
    versions = tuple(memory.history(given.text("id")))
    cube = next(version.cube for version in versions[::-1] if version.cube is not None)
    return Past(cube.id, versions)


def _export(memory: Memory, given: Given) -> Exported | Shown:
    if any(given.values.get(name) is not None for name in ("every", "on_tag", "to")):
        return dumped(memory, given)
    path = Path(given.text("path")).expanduser()
    steps = None if given.progress is None else _steps(given.progress)
    seal = seal_of(given)
    if given.is_set("everything"):
        return Exported(str(path), _later.export_everything(memory, path, progress=steps, seal=seal).cubes)
    return Exported(str(path), _later.export(memory, path, where=given.where(), progress=steps, seal=seal))


def _steps(tell: Callable[[object], object]) -> Callable[[int, int], object]:
    """Return what tells of each step how many were done since the last, from how many are done in all."""
    seen = 0

    def step(done: int, _total: int) -> None:
        nonlocal seen
        tell(done - seen)
        seen = done

    return step


def _elsewhere(_memory: Memory, _given: Given) -> None:
    raise BadInput("a memory is migrated while it is closed", hint="use pinyon.importing.migrate_between")


def _stats(memory: Memory, _: Given) -> Stats:
    return memory.stats()


def _doctor(memory: Memory, given: Given) -> Health:
    return _later.examine(
        memory,
        repair=given.is_set("repair"),
        progress=given.progress,
        over=cast("Spreading", given.maybe("over", str) or "here"),
        workers=given.maybe("workers", int),
    )


MEMORY_VERBS: tuple[Verb, ...] = (
    Verb(
        "add",
        "Remember a text, word for word.",
        "Without a text, or with -, the text is read from standard input. Words need no quotes; they are joined by"
        " spaces. The same text again is the same memory.",
        (
            'pinyon add "The spare key hangs behind the blue door." --tag home',
            "pinyon add --speaker Ann --time 2023-05-08 I am allergic to peanuts.",
            "pinyon add --messages chat.json --session monday",
        ),
        (
            Parameter("what", "The text, or - for standard input", "words", "argument", shown="TEXT"),
            TIME,
            TAGS,
            METADATA,
            Parameter("speaker", "Who said it; makes it a turn of a conversation", "text", "option", ("--speaker",),
                      "NAME"),
            Parameter("role", "Role in a chat; makes it a turn of a conversation", "choice", "option", ("--role",),
                      choices=("user", "assistant", "system", "tool")),
            EXPIRES,
            PRIORITY,
            Parameter("derived_from", "Id of a memory that it was made of; give it again for more", "text", "option",
                      ("--derived-from",), "ID", is_many=True),
            Parameter("messages", 'JSON chat messages ({"role": …, "content": …}) instead of a text; - for standard'
                      " input", "file", "edge", ("--messages",), "FILE"),
        ),
        ("pinyon.memory:Memory.add", "pinyon.core.experience:Turn"),
        _add,
        can_create=True,
    ),
    Verb(
        "import",
        "Read files, folders and archives into the memory.",
        "A file that was read before and has not changed is passed over; one that changed replaces what it said. A file"
        " that cannot be read is named, and the rest goes in. Exports of ChatGPT and Claude, and dumps of mem0, Letta,"
        " Zep, LangGraph, MemOS, Chroma and Qdrant are known by their shape.",
        (
            "pinyon import notes/ 'mail/**/*.eml' --tag work",
            "cat chat.json | pinyon import - --name chat.json",
            "pinyon import notes/ --watch",
            "pinyon import work.pinyon --into-space old --as-user ann",
        ),
        (
            Parameter("paths", "Files, folders (read in depth) and globs; - for standard input", "file", "argument",
                      is_many=True, is_required=True),
            Parameter("data", "The bytes of a source, instead of paths", "bytes", "input"),
            Parameter("name", "Name of what comes from standard input; its ending helps to tell what it is",
                      "text", "option", ("--name",)),
            TAGS,
            METADATA,
            Parameter("into_space", "Everything that an archive holds goes into this space", "text", "option",
                      ("--into-space",), "NAME"),
            Parameter("as_user", "Everything that an archive holds becomes this user's", "text", "option",
                      ("--as-user",), "NAME"),
            Parameter("replay", "Make an empty memory the one that an archive of everything was written from", "flag",
                      "edge", ("--replay",)),
            Parameter("seal_key", "File with the key whose seal archives must bear; with it nothing else is read",
                      "file", "edge", ("--seal-key",), "KEYFILE"),
            Parameter("watch", "Go on, and import again whenever a file changes", "flag", "edge", ("--watch",)),
        ),
        (
            "pinyon.importing:import_files",
            "pinyon.importing:import_stream",
            "pinyon.importing:Importer",
            "pinyon.importing:watch_files",
            "pinyon.importing:import_archive",
            "pinyon.importing:restore",
            "pinyon.store:Rescope",
        ),
        _import,
        can_create=True,
    ),
    Verb(
        "search",
        "Show the memories that fit a question best.",
        "Finds by words and by meaning, without any language model. A text in double quotes must stand in a memory as"
        " it is, if any holds it.",
        ("pinyon search where is the spare key", "pinyon search bees --speaker Ann --since 2023-01-01 --why"),
        (QUESTION, how_many("How many"), *FILTERS, WHY),
        ("pinyon.memory:Memory.search",),
        _search,
    ),
    Verb(
        "recall",
        "Print what a prompt needs to answer a question, within a token budget.",
        "Everything, in order, when it fits; else what fits the question best. Each passage has a number, a date and a"
        " speaker.",
        ("pinyon recall what does Ann eat --budget 800",),
        (QUESTION, BUDGET, _READ_TWICE, *FILTERS, WHY),
        ("pinyon.memory:Memory.recall",),
        _recall,
    ),
    Verb(
        "ask",
        "Answer a question from the memory, with citations.",
        "Without a model the answer is quoted from the memories. When nothing is known about it, the answer says so.",
        (
            "pinyon ask what is Ann allergic to",
            "pinyon ask what is Ann allergic to --model openai:qwen3@http://localhost:8000/v1",
            "pinyon ask how is the pump bled --space manual --model local:smollm2 --fuse repair",
        ),
        (
            QUESTION,
            Parameter("generator", "Model that writes the answer: openai:<model>@<base_url>, anthropic:<model>,"
                      " hf:<id>, or local:<name, id, folder or file> which reads on from a state where one fits; none"
                      " for quotations", "text", "option", ("--model",), "SPEC"),
            BUDGET,
            _READ_TWICE,
            Parameter("fuse", "How a local model puts several states together: repair and reposition are approximate,"
                      " measured, and not taken where they are more than 0.1 nats off; one state and the rest as text"
                      " when not given", "choice", "option", ("--fuse",),
                      choices=("recompute", "reposition", "repair")),
            *FILTERS,
            WHY,
        ),
        ("pinyon.memory:Memory.ask",),
        _ask,
    ),
    Verb(
        "get",
        "Show one memory whole.",
        "",
        ("pinyon get 3f9a1c2b",),
        (ID,),
        ("pinyon.memory:Memory.get",),
        _get,
    ),
    Verb(
        "list",
        "List memories in order of time, page by page.",
        "",
        (
            "pinyon list --limit 20 --tag work",
            "pinyon list --where 'year>=2024' --json",
            "pinyon list --kind state",
        ),
        (
            Parameter("limit", "Memories a page", "integer", "option", ("--limit",), "N", 50, least=1, most=10_000),
            Parameter("cursor", "Go on where the page before ended", "text", "option", ("--cursor",)),
            Parameter("newest_first", "Begin with the oldest", "flag", "option", ("--oldest-first",), default=True),
            *FILTERS,
            STATES,
            KINDS,
        ),
        ("pinyon.memory:Memory.list",),
        _list,
    ),
    Verb(
        "update",
        "Write the next version of a memory.",
        "What is not given stays. The versions before stay in its history. Tags and metadata that are given replace"
        " those before.",
        ('pinyon update 3f9a1c2b --text "The spare key hangs in the shed."', "pinyon update 3f9a1c2b --tag home"),
        (
            ID,
            Parameter("text", "Its words from now on; - for standard input", "text", "option", ("--text",)),
            TIME,
            TAGS,
            METADATA,
            EXPIRES,
            PRIORITY,
            Parameter("if_version", "Only if it is at this version", "integer", "option", ("--if-version",), "N",
                      least=1),
        ),
        ("pinyon.memory:Memory.update",),
        _update,
    ),
    Verb(
        "forget",
        "Remove memories with all their versions.",
        "Shows what would go and asks. The journal keeps that something went, and not what.",
        ("pinyon forget 3f9a1c2b", "pinyon forget --source diary.md --dry-run", "pinyon forget --query peanuts -k 3",
         "pinyon forget --space draft --all-in-space"),
        (
            Parameter("ids", "Ids, or at least their first four characters", "text", "argument", is_many=True),
            Parameter("query", "The best hits of a question", "text", "option", ("--query",), "QUESTION"),
            how_many("How many hits of the question"),
            Parameter("about", "Everything about this person, in every space", "text", "option", ("--about",), "NAME"),
            Parameter("mentions", "With --about, also what merely names the person", "flag", "option", ("--mentions",)),
            Parameter("whole_space", "Everything in the space that you may change", "flag", "option",
                      ("--all-in-space",)),
            Parameter("derived", "What becomes of something made of several memories of which some stay", "choice",
                      "option", ("--derived",), default="forget", choices=("forget", "stale")),
            *FILTERS,
            Parameter("receipt", "Write the signed receipt into this file", "file", "edge", ("--receipt",), "FILE"),
            Parameter("dry_run", "Show what would go, and stop", "flag", "edge", ("--dry-run",)),
            Parameter("yes", "Do not ask", "flag", "edge", ("--yes", "-y")),
        ),
        ("pinyon.memory:Memory.forget", "pinyon.memory:Memory.plan_forget"),
        _forget,
    ),
    Verb(
        "history",
        "Show every version of a memory, oldest first.",
        "",
        ("pinyon history 3f9a1c2b",),
        (ID,),
        ("pinyon.memory:Memory.history",),
        _history,
    ),
    Verb(
        "export",
        "Write memories into an archive that import reads.",
        "The archive is one zip file with a manifest of hashes; it holds every version. One that is there already is"
        " replaced when the new one is whole. With --everything it holds the whole store with its journal and rules,"
        " whoever owns it, and `import --replay` makes an empty memory the same again.\n\n"
        "With --to and --every or --on-tag, whoever runs `work` writes archives into a folder, each time something has"
        " changed.",
        ("pinyon export work.pinyon --tag work", "pinyon export all.pinyon --everything",
         "pinyon export work.pinyon --seal seal.key --for ann", "pinyon export --to backups --every 1d"),
        (
            Parameter("path", "The archive", "file", "argument", shown="FILE"),
            *FILTERS,
            Parameter("to", "Folder for archives that the queue writes again and again", "file", "option", ("--to",),
                      "FOLDER"),
            Parameter("every", "How often: 12h, 1d", "text", "option", ("--every",), "SPAN"),
            Parameter("on_tag", "When something with this tag was written or has changed, looked at every minute",
                      "text", "option", ("--on-tag",), "TAG"),
            Parameter("everything", "The whole store, its journal and its rules", "flag", "edge", ("--everything",)),
            Parameter("seal", "File with a key, as `new-key` writes it, whose seal the archive bears", "file", "edge",
                      ("--seal",), "KEYFILE"),
            Parameter("recipient", "For whom this copy is; `seal trace` finds that out again", "text", "edge",
                      ("--for",), "NAME"),
        ),
        ("pinyon.importing:export", "pinyon.importing:export_everything", "pinyon.dumping:dump_every"),
        _export,
    ),
    Verb(
        "migrate",
        "Copy the whole memory into another file or onto a server, and compare every hash.",
        "Everything goes along, whoever owns it: versions, journal, vectors, audit, jobs. What was cut off goes on"
        " where it was. The target must be empty, or the beginning of this memory; let nobody write meanwhile.",
        ("pinyon migrate postgresql://pinyon@db.example/notes", "pinyon migrate --from sqlite --to postgres",
         "pinyon migrate --from notes.db --to copy.db"),
        (
            Parameter("target", "File or address that it goes to", "text", "argument"),
            Parameter("source", "File or address that it comes from; this memory when not given. sqlite is this file,"
                      " postgres the server that PGHOST, PGDATABASE and PGUSER name", "text", "edge", ("--from",),
                      "PLACE"),
            Parameter("to", "File or address that it goes to, or one of these words", "text", "edge", ("--to",),
                      "PLACE"),
        ),
        ("pinyon.importing:migrate_between",),
        _elsewhere,
    ),
    Verb(
        "stats",
        "Show what is in the memory.",
        "",
        ("pinyon stats --json",),
        (),
        ("pinyon.memory:Memory.stats",),
        _stats,
    ),
    Verb(
        "doctor",
        "Check that the memory is sound.",
        "Verifies the journal, the database and the index. With --repair, missing vectors are made and the index is"
        " built again first; what was remembered is never changed.",
        ("pinyon doctor", "pinyon doctor --repair"),
        (
            Parameter("repair", "Build again what is derived from the memories", "flag", "edge", ("--repair",)),
            Parameter("over", "Where --repair makes vectors: here, in several processes, or on the cluster of ray",
                      "choice", "option", ("--spread",), choices=("here", "process", "ray")),
            Parameter("workers", "In how many processes", "integer", "option", ("--workers",), "N", least=1),
        ),
        ("pinyon.memory:Memory.check", "pinyon.memory:Memory.reindex", "pinyon.memory:Memory.catch_up"),
        _doctor,
    ),
)  # fmt: skip
"""Add, import, search, recall, ask, get, list, update, forget, history, export, stats, doctor."""
