from __future__ import annotations

from datetime import UTC, datetime

import pytest
from samples import check_blocks, only, slices

from pinyon.sources import read_bytes

BODY = "# A *fine* `day`\n\nWords\nmore.\n\n- a\n  - b\n\n> q\n\n"
BODY += "```py\nx\n\ny\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nEnd\n===\n"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_blocks_are_exact_slices_whatever_ends_the_lines(ending: str) -> None:
    found = only(read_bytes(BODY.replace("\n", ending).encode(), "a.md"))
    assert slices(found) == [
        ("heading", "# A *fine* `day`"),
        ("paragraph", f"Words{ending}more."),
        ("list", f"- a{ending}  - b"),
        ("quote", "> q"),
        ("code", ending.join(["```py", "x", "", "y", "```"])),
        ("table", ending.join(["| a | b |", "|---|---|", "| 1 | 2 |"])),
        ("heading", f"End{ending}==="),
    ]


def test_the_first_heading_without_its_markup_is_the_title() -> None:
    found = only(read_bytes(BODY.encode(), "a.md"))
    assert (found.title, found.blocks[0].title, found.blocks[0].level) == ("A fine day",) * 2 + (1,)


def test_front_matter_becomes_title_time_tags_and_metadata() -> None:
    front = (
        "---\ntitle: 'Trip: north'\ndate: 2024-05-06\ntags: [travel, '#sea']\nwith:\n  - Ana\n  - Bo\n---\nWe left.\n"
    )
    found = only(read_bytes(front.encode(), "a.md"))
    assert found.title == "Trip: north"
    assert found.time == datetime(2024, 5, 6, tzinfo=UTC)
    assert found.tags == ("travel", "sea")
    assert found.metadata == {"date": "2024-05-06", "with": ["Ana", "Bo"]}
    assert slices(found) == [("paragraph", "We left.")]


def test_a_rule_at_the_top_is_no_front_matter() -> None:
    found = only(read_bytes(b"---\nJust words\n---\n", "a.md"))
    assert "Just words" in slices(found)[0][1]


@pytest.mark.parametrize(
    "text", ["> " * 3000 + "a", "- " * 3000 + "a", "[" * 5000, "a" + " " * 50_000 + "b", "`a" * 5000]
)
def test_hostile_markup_is_read_in_time(text: str) -> None:
    check_blocks(read_bytes(("---\n" + text + "\n---\n" + text).encode(), "a.md"))
