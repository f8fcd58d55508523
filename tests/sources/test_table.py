from __future__ import annotations

from samples import only, slices

from pinyon.sources import read_bytes


def test_a_cell_may_hold_lines_and_a_blank_line_parts_tables() -> None:
    found = only(read_bytes(b'name;note\r\nAna;"one\r\n\r\ntwo"\r\n\r\nk;v\r\n1;2\r\n', "a.csv"))
    assert slices(found) == [("table", 'name;note\r\nAna;"one\r\n\r\ntwo"'), ("table", "k;v\r\n1;2")]
    assert found.metadata == {"delimiter": ";", "columns": ["name", "note"]}
    assert found.format == "table"


def test_tabs_part_cells_too() -> None:
    assert only(read_bytes(b"a\tb\n1\t2\n", "a.tsv")).metadata["columns"] == ["a", "b"]


def test_a_huge_cell_is_no_obstacle() -> None:
    assert len(only(read_bytes(b"a,b\n1," + b"x" * 10_000_000, "a.csv")).blocks) == 1
