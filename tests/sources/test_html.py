from __future__ import annotations

import pytest
from samples import check_blocks, only, slices

from pinyon.errors import UnreadableSource
from pinyon.sources import Limits, read_bytes


def test_words_and_structure_survive_and_the_rest_is_dropped() -> None:
    page = b"""<!doctype html><html lang="en"><head><title>Site</title><meta name="author" content="Ana"></head><body>
    <nav>menu</nav><script>bad()</script><h1>A <b>day</b></h1><p>One<br>two   three<p>Four<ul><li>a<li>b<ol><li>c</ol>
    </ul><pre>x\n  y</pre><blockquote>said</blockquote><table><tr><th>k<th>v<tr><td>1<td>a|b</table></body></html>"""
    found = only(read_bytes(page, "a.html"))
    assert slices(found) == [
        ("heading", "A day"),
        ("paragraph", "One\ntwo three"),
        ("paragraph", "Four"),
        ("list", "- a\n- b\n  1. c"),
        ("code", "x\n  y"),
        ("quote", "said"),
        ("table", "| k | v |\n| --- | --- |\n| 1 | a\\|b |"),
    ]
    assert (found.title, found.metadata) == ("A day", {"language": "en", "author": "Ana"})


def test_a_table_that_only_places_things_is_taken_apart() -> None:
    page = b"<table><tr><td><h2>Left</h2><p>words</td><td><table><tr><td>1<td>2</table></td></tr></table>"
    assert [kind for kind, _ in slices(only(read_bytes(page, "a.html")))] == ["heading", "paragraph", "table"]


def test_a_page_of_scripts_is_empty() -> None:
    with pytest.raises(UnreadableSource, match="is empty: the page holds no words"):
        read_bytes(b"<html><script>render()</script></html>", "a.html")


def test_the_declared_encoding_is_believed() -> None:
    page = '<html><meta charset="windows-1251"><p>Привет'.encode("cp1251")
    assert only(read_bytes(page, "a.html")).text == "Привет"


def test_nesting_that_would_take_minutes_is_refused() -> None:
    with pytest.raises(UnreadableSource, match="nested too deeply"):
        read_bytes(b"<div>" * 5000 + b"x", "a.html", limits=Limits(max_markup_steps=10**6))


@pytest.mark.parametrize("piece", [b"<!--", b"<a ", b"<ul><li>a", b"<table><tr><td>", b"<b>", b"<![CDATA["])
def test_deep_and_unclosed_markup_is_read_or_refused_in_time(piece: bytes) -> None:
    check_blocks(read_bytes(b"<p>word</p>" + piece * 3000, "a.html"))


def test_a_page_without_a_suffix_is_recognised() -> None:
    assert only(read_bytes(b"<!DOCTYPE html><p>Hi", "page")).text == "Hi"
