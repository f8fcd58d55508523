from __future__ import annotations

from pathlib import Path

import pytest

from pinyon.sources import Limits, Skipped, find


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.md", "a.txt", "sub/c.md", "sub/deep/d.md", ".hidden/x.md", ".dot.md", "node_modules/x.md",
        "__pycache__/x.py", "env/pyvenv.cfg", "env/x.py", ".git/config", "folder.md/e.md",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return tmp_path


def names(root: Path, *given: str, **limits: int) -> list[str]:
    return [
        found.relative_to(root).as_posix() if isinstance(found, Path) else f"skipped: {found.reason}"
        for found in find([root / item for item in given], limits=Limits(**limits))
    ]


def test_a_folder_is_walked_in_order_without_what_is_hidden(tree: Path) -> None:
    assert names(tree, ".") == ["a.txt", "b.md", "folder.md/e.md", "sub/c.md", "sub/deep/d.md"]


def test_patterns_match_files(tree: Path) -> None:
    assert names(tree, "*.md") == ["b.md"]
    assert names(tree, "**/*.md") == ["b.md", "folder.md/e.md", "sub/c.md", "sub/deep/d.md"]
    assert names(tree, "sub/**") == ["sub/c.md", "sub/deep/d.md"]
    assert names(tree, "[ab].*") == ["a.txt", "b.md"]


def test_what_is_named_itself_is_never_passed_over(tree: Path) -> None:
    assert names(tree, ".hidden", ".dot.md") == [".hidden/x.md", ".dot.md"]


def test_no_file_comes_twice(tree: Path) -> None:
    assert names(tree, "b.md", "*.md", ".", ".").count("b.md") == 1


def test_loops_of_links_end(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "sub" / "broken").symlink_to(tree / "nowhere")
    found = names(tree, ".")
    assert found.count("sub/c.md") == 1
    assert any(item.startswith("skipped: cannot be opened") for item in found)


def test_missing_paths_and_patterns_are_told(tree: Path) -> None:
    assert names(tree, "no.md", "*.none") == ["skipped: does not exist", "skipped: matches no file"]


def test_large_files_and_media_are_told(tree: Path) -> None:
    (tree / "sub" / "deep" / "p.png").write_text("x")
    (tree / "sub" / "deep" / "large.txt").write_text("x" * 20)
    found = list(find([tree / "sub" / "deep"], limits=Limits(max_file_bytes=10)))
    assert [item.reason for item in found if isinstance(item, Skipped)] == [
        "has 20 bytes, more than 10",
        "holds no words that a reader could find",
    ]


def test_a_single_text_is_refused() -> None:
    with pytest.raises(TypeError, match="list of paths"):
        list(find("notes"))
