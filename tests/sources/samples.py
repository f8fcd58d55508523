"""Tiny real files, built in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

from pinyon.core.experience import Document, Experience


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    """Return a zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def epub(pages: Mapping[str, str], *, extra: Mapping[str, str] | None = None) -> bytes:
    """Return a book whose pages are HTML bodies by name."""
    items = "".join(f'<item id="{n}" href="{n}" media-type="application/xhtml+xml"/>' for n in pages)
    spine = "".join(f'<itemref idref="{n}"/>' for n in pages)
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<dc:title>The Pine</dc:title><dc:creator>Ana</dc:creator><dc:date>2020-01-02</dc:date></metadata>"
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    )
    bodies = {f"OEBPS/{n}": f"<html><body>{body}</body></html>" for n, body in pages.items()}
    return zipped({"META-INF/container.xml": container, "OEBPS/book.opf": package, **bodies, **(extra or {})})


def pdf(pages: Sequence[str]) -> bytes:
    """Return a PDF with one line of text a page, as small as the format allows."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET" if text else ""
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents {len(objects)} 0 R /Resources << /Font "
            "<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    out = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode()
    return out + f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()


def only(found: Sequence[Experience]) -> Document:
    """Return the one document that was read."""
    assert len(found) == 1
    assert isinstance(found[0], Document)
    return found[0]


def slices(document: Document) -> list[tuple[str, str]]:
    """Return kind and words of each block."""
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def check_blocks(found: Sequence[Experience]) -> None:
    """Assert that blocks are ordered, apart, inside the text, and that every text can be stored."""
    assert found
    for item in found:
        if isinstance(item, Document):
            item.text.encode("utf-8")
            place = 0
            for block in item.blocks:
                assert place <= block.start < block.end <= len(item.text)
                place = block.end
