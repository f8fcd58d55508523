import inspect
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from pinyon import Memory, Where
from pinyon.core.where import LIVE_STATES
from pinyon.errors import BadInput
from pinyon.memory import Who
from pinyon.rights_desk import RightsDesk
from pinyon.serve.verb import FILTERS, SCOPE, STATES, Verb
from pinyon.serve.verbs import VERBS

FOR_PROGRAMS = {  # methods that are no verb of a person
    "add_many": "add from a generator; `import` is its verb",
    "add_source": "what `import` calls for each source",
    "adopt": "what `import` calls for an archive",
    "at": "the scope options",
    "as_of": "--as-of",
    "caller": "for tools below the verbs",
    "close": "the end of a call",
    "rights": "the desk whose methods are verbs of their own",
    "retention_report": "`retention --due`",
    "rule_changes": "`audit --rules`",
    "iterate": "`list` without pages",
    "open": "--path and --embedder",
    "scope": "the scope options",
    "source": "what `import` asks for each source",
    "space": "--space",
    "talk": "for assistants, which hold it over many turns",
    "store": "for tools below the verbs",
}
UNDERSTOOD = {  # parameters of Python that stand for others in the table
    "self",
    "memory",
    "who",
    "where",  # the filters
    "importer",  # its fields
    "progress",  # given by whoever runs the verb
    "rights",  # `grant` gives them
    "lifecycle",  # made of spans
    "space",  # one of the scope options
    "scope",  # the scope options
    "rules",  # made of the options of a rule
    "functions",  # for programs
    "router",  # for programs
    "composer",  # for programs
    "key",  # --key-file and PINYON_KEY
    "new",  # --new-key-file
    "source",  # --path
    "path",  # --path
    "work",  # for programs
    "idle_s",  # for programs
    "engine",  # that of the memory
    "stop",  # the end of the program
    "redact",  # for programs
}


def function(target: str) -> object:
    module, _, name = target.partition(":")
    found: object = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found.fget if isinstance(found, property) else found


def names(target: str) -> set[str]:
    return set(inspect.signature(function(target)).parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_parameter_of_a_verb_is_one_of_its_python_functions(verb: Verb) -> None:
    known = set().union(*(names(target) for target in verb.targets))
    own = {p.name for p in verb.parameters if p.role in ("argument", "option", "input")}
    assert own <= known


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_parameter_of_the_python_function_is_one_of_its_verb(verb: Verb) -> None:
    assert names(verb.targets[0]) - UNDERSTOOD <= {parameter.name for parameter in verb.parameters}


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_verb_takes_filters_when_its_function_does(verb: Verb) -> None:
    takes = any("where" in names(target) for target in verb.targets)
    assert takes == any(parameter in FILTERS for parameter in verb.parameters)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_defaults_are_those_of_python(verb: Verb) -> None:
    signature = inspect.signature(function(verb.targets[0]))  # type: ignore[arg-type]
    for parameter in verb.parameters:
        if parameter.default is not None:
            assert parameter.default == signature.parameters[parameter.name].default, parameter.name


def test_every_public_method_of_a_memory_is_a_verb_or_for_programs() -> None:
    public = {name for name in dir(Memory) if not name.startswith("_")}
    in_table = {target.rpartition(".")[2] for verb in VERBS for target in verb.targets if _is_of(target, Memory)}
    assert public - set(FOR_PROGRAMS) == in_table - set(FOR_PROGRAMS)


def test_every_public_method_of_the_rights_desk_is_a_verb() -> None:
    public = {name for name in vars(RightsDesk) if not name.startswith("_")}
    assert public == {t.rpartition(".")[2] for verb in VERBS for t in verb.targets if _is_of(t, RightsDesk)}


def _is_of(target: str, kind: type) -> bool:
    owner = target.partition(":")[2].partition(".")[0]
    return owner in {base.__name__ for base in kind.__mro__}


def test_every_function_of_importing_is_a_verb() -> None:
    importing = import_module("pinyon.importing")
    in_table = {target.partition("pinyon.importing:")[2] for verb in VERBS for target in verb.targets}
    assert set(importing.__all__) == in_table - {""}


def test_scope_options_are_those_of_python() -> None:
    assert {parameter.name for parameter in SCOPE} == set(Who.__annotations__)


def test_filters_are_fields_of_where() -> None:
    assert {parameter.name for parameter in (*FILTERS, STATES)} <= {field.name for field in fields(Where)}
    assert set(LIVE_STATES) < set(STATES.choices)


def test_names_and_flags_are_unique_in_a_verb() -> None:
    for verb in VERBS:
        called = [parameter.name for parameter in verb.parameters]
        flags = [flag for parameter in (*verb.parameters, *SCOPE) for flag in parameter.flags]
        assert len(called) == len(set(called))
        assert len(flags) == len(set(flags))


def test_a_verb_refuses_what_it_does_not_take() -> None:
    stats = next(verb for verb in VERBS if verb.name == "stats")
    search = next(verb for verb in VERBS if verb.name == "search")
    with Memory.open(":memory:") as memory:
        with pytest.raises(BadInput, match="takes no 'limit'"):
            stats.run(memory, {"limit": 3})
        with pytest.raises(BadInput, match="needs 'question'"):
            search.run(memory, {})
        with pytest.raises(BadInput, match="must be of type int"):
            search.run(memory, {"question": "x", "k": "many"})


def test_a_verb_takes_filters_as_json_callers_write_them() -> None:
    verb = next(verb for verb in VERBS if verb.name == "list")
    with Memory.open(":memory:") as memory:
        memory.add("a", metadata={"year": 2020})
        memory.add("b", metadata={"year": 2024})
        page = verb.run(memory, {"metadata": {"year": {"gt": 2021}}, "limit": 5})
        assert [cube.text for cube in page.cubes] == ["b"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("everything", [False, True])
def test_an_export_tells_of_its_steps(tmp_path: Path, everything: bool) -> None:
    export = next(verb for verb in VERBS if verb.name == "export")
    told: list[object] = []
    with Memory.open(tmp_path / "m.db") as memory:
        for number in range(7):
            memory.add(f"note {number}")
        entries = memory.store.engine.head().seq
        export.run(memory, {"path": str(tmp_path / "a.pinyon"), "everything": everything}, told.append)
    steps = [step for step in told if isinstance(step, int)]
    assert len(steps) == len(told) > 0
    assert sum(steps) == (entries if everything else 7)  # a bar that is told of steps ends where the work does
    assert min(steps) > 0
