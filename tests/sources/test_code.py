from __future__ import annotations

from samples import check_blocks, only, slices

from pinyon.sources import read_bytes


def test_python_is_cut_at_its_definitions() -> None:
    above = "import a\n\nX = 1\n\n"
    source = above + '# about f\n@dec\ndef f():\n    """x\nclass No:\n"""\n\n    return 1\nclass B:\n    y = 1\nf()\n'
    found = only(read_bytes(source.encode(), "a.py"))
    assert found.format == "code"
    assert [words for _, words in slices(found)] == [
        "import a\n\nX = 1",
        '# about f\n@dec\ndef f():\n    """x\nclass No:\n"""\n\n    return 1',
        "class B:\n    y = 1",
        "f()",
    ]


def test_broken_python_falls_back_to_blank_lines() -> None:
    found = only(read_bytes(b"def f(:\n  (\n\nx = '''\n", "a.py"))
    assert [words for _, words in slices(found)] == ["def f(:\n  (", "x = '''"]


def test_other_languages_are_cut_where_a_line_begins_after_a_blank_one() -> None:
    found = only(read_bytes(b"package x\r\n\r\nfunc a() {\r\n\r\n  b\r\n\r\n}\r\n\r\nfunc c() {}\r\n", "a.go"))
    assert [words for _, words in slices(found)] == ["package x", "func a() {\r\n\r\n  b\r\n\r\n}", "func c() {}"]


def test_a_makefile_needs_no_suffix() -> None:
    assert only(read_bytes(b"all:\n\techo\n", "Makefile")).format == "code"


def test_expressions_that_exhaust_a_grammar_are_read() -> None:
    for source in (b"-" * 100_000 + b"1", b"(" * 100_000, b"a" + b".b" * 50_000):
        check_blocks(read_bytes(source, "a.py"))
