from __future__ import annotations

from pinyon import Document
from pinyon.measure import Corpus, Question, Room, chunk_sizes, chunk_table


def _corpus() -> Corpus:
    text = "".join(
        f"Paragraph {i} is about {name}. {'Nothing else is told. ' * 20}\n\n" for i, name in enumerate("abcdefgh")
    )
    start = text.index("about d")
    question = Question("Which paragraph is about d?", (f"a.txt@{start}",))

    def names(cube: object) -> tuple[str, ...]:
        span = cube.header.provenance.span  # type: ignore[attr-defined]
        return (f"a.txt@{start}",) if span[0] <= start < span[1] else ()

    return Corpus("paragraphs", (Room("main", (Document(text, source="a.txt"),), (question,)),), names)


def test_smaller_chunks_are_more_and_the_evidence_is_found_in_enough_text() -> None:
    measured = chunk_sizes(_corpus(), sizes=(500, 1000), budgets_characters=(10, 5000))
    assert measured[0].chunks > measured[2].chunks
    assert [m.recall.value for m in measured] == [0.0, 1.0, 0.0, 1.0]


def test_the_table_has_a_row_a_size() -> None:
    table = chunk_table(chunk_sizes(_corpus(), sizes=(500,), budgets_characters=(5000,)))
    assert "| 500 | " in table
