from __future__ import annotations

import io

import pytest
from samples import only, slices, zipped

from pinyon.errors import UnreadableSource
from pinyon.sources import read_bytes

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def document(body: str) -> bytes:
    return zipped({"word/document.xml": f"<w:document {WORD}><w:body>{body}</w:body></w:document>"})


def test_a_document_of_python_docx_keeps_its_structure() -> None:
    docx = pytest.importorskip("docx")
    made = docx.Document()
    made.core_properties.author = "Ana"
    made.add_heading("A day", 1)
    made.add_paragraph("We left early.")
    made.add_heading("Later", 2)
    made.add_paragraph("bread", style="List Bullet")
    made.add_paragraph("salt", style="List Number")
    table = made.add_table(2, 2)
    for cell, text in zip([*table.rows[0].cells, *table.rows[1].cells], "abcd", strict=True):
        cell.text = text
    made.add_paragraph("Done.", style="Intense Quote")
    buffer = io.BytesIO()
    made.save(buffer)
    found = only(read_bytes(buffer.getvalue(), "a.docx"))
    assert slices(found) == [
        ("heading", "A day"),
        ("paragraph", "We left early."),
        ("heading", "Later"),
        ("list", "- bread\n- salt"),
        ("table", "| a | b |\n| --- | --- |\n| c | d |"),
        ("quote", "Done."),
    ]
    assert [block.level for block in found.blocks if block.kind == "heading"] == [1, 2]
    assert (found.title, found.metadata["author"]) == ("A day", "Ana")


def test_words_in_content_controls_count_and_deleted_ones_do_not() -> None:
    body = (
        "<w:sdt><w:sdtContent><w:p><w:r><w:t>kept</w:t></w:r></w:p></w:sdtContent></w:sdt>"
        "<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:r><w:t>also</w:t><w:tab/><w:t>kept</w:t></w:r></w:p>"
    )
    assert only(read_bytes(document(body), "a.docx")).text == "kept\n\nalso\tkept"


def test_a_document_without_words_is_empty() -> None:
    with pytest.raises(UnreadableSource, match="is empty"):
        read_bytes(document("<w:p/>"), "a.docx")


def test_entities_are_refused() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'
    with pytest.raises(UnreadableSource, match="declares XML entities"):
        read_bytes(zipped({"word/document.xml": bomb}), "a.docx")


@pytest.mark.parametrize("xml", ["<x>" * 5000, "<x", "", '<?xml version="1.0" encoding="klingon"?><x/>'])
def test_broken_xml_is_refused(xml: str) -> None:
    with pytest.raises(UnreadableSource):
        read_bytes(zipped({"word/document.xml": xml}), "a.docx")


def test_a_file_that_is_no_archive_is_refused() -> None:
    with pytest.raises(UnreadableSource, match="its content is no Word document"):
        read_bytes(b"just words", "a.docx")
