import shlex
from pathlib import Path

from pinyon.serve.cli import main
from pinyon.serve.reference import reference
from pinyon.serve.verbs import VERBS

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_reference_is_fresh() -> None:
    fresh = PAGE.read_text(encoding="utf-8") == reference()
    assert fresh, "run `python -m pinyon.serve.reference > docs/cli.md`"


def test_every_command_and_option_is_in_the_reference() -> None:
    text = reference()
    for name, command in main.commands.items():
        assert f"## {name}\n" in text
        for parameter in command.params:
            assert all(f"{flag}" in text for flag in parameter.opts if flag.startswith("-")), parameter.name


def test_every_example_is_a_command_line_that_parses() -> None:
    for verb in VERBS:
        for example in verb.examples:
            words = shlex.split(example.split("|")[-1])
            assert words[:2] == ["pinyon", verb.name]
            main.commands[verb.name].make_context(verb.name, words[2:])
