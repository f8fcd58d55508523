"""Extraction: every word is read, what holds nothing is dropped, a budget is never exceeded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.core.budget import Budget
from pinyon.core.cube import Cube
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.errors import BadInput, ModelError
from pinyon.models import Message
from pinyon.testing import ScriptedModel
from pinyon.text import Hit, Hits, Pack, passage
from pinyon.text.blocks import NOTHING, BlockExtract, OnePassExtract, conversations

DAY = datetime(2025, 3, 1, tzinfo=UTC)


class WordShelf:
    """Counts words as tokens and holds a list of cubes."""

    def __init__(self, cubes: Sequence[Cube] = ()) -> None:
        self.cubes = list(cubes)

    def tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def everything(self, limit: int) -> Sequence[Cube]:
        return self.cubes[:limit]

    def search(self, question: str, k: int) -> Hits:
        raise AssertionError(f"nothing is searched: {question!r}, {k}")


def cube(number: int, text: str, session: str | None = "s") -> Cube:
    header = Header(
        Provenance(unit="turn", thread=session, position=number, speaker="Ann"),
        life=Life(valid_from=DAY + timedelta(hours=number)),
    )
    return Cube(f"{number:032x}", number, 1, "main", Scope(session=session), Text(text), header, DAY, DAY, "")


def history(sessions: int, turns: int = 2) -> list[Cube]:
    return [
        cube(s * turns + t, f"we spoke about topic{s} and matter{t} today", f"session {s}")
        for s in range(sessions)
        for t in range(turns)
    ]


class Echo:
    """A helper that quotes every passage holding a word, by its number."""

    name = "echo"

    def __init__(self, word: str) -> None:
        self.word = word
        self.asked: list[str] = []

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        assert max_tokens > 0
        self.asked.append(messages[-1].content)
        lines = re.findall(r"^\[(\d+)\] (.*)$", messages[-1].content, re.M)
        found = [f'"{text}" [{number}]' for number, text in lines if self.word in text]
        return "\n".join(found) or NOTHING


def test_a_block_holds_so_many_conversations() -> None:
    helper = Echo("topic7")
    found = BlockExtract(helper, conversations=3).extract("topic7?", history(8), WordShelf())
    assert (found.blocks, found.calls) == (3, 3)
    assert [each.block for each in found.extracts] == [3]
    assert {hit.cube.header.provenance.thread for hit in found.hits} == {"session 7"}


def test_every_passage_is_shown_to_the_helper_once_and_in_order() -> None:
    helper = Echo("nothing at all")
    cubes = history(7)
    BlockExtract(helper, conversations=2).extract("what?", cubes, WordShelf())
    shown = [re.sub(r"^\[\d+\] ", "", line) for text in helper.asked for line in text.splitlines() if "topic" in line]
    assert shown == [passage(cube) for cube in cubes]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=25), st.integers(1, 4), st.integers(10, 60))
def test_blocks_cover_everything_and_stay_within_their_bounds(sizes: list[int], per_block: int, most: int) -> None:
    cubes = [cube(n, "word " * size, f"s{n // 3}") for n, size in enumerate(sizes)]
    form = BlockExtract(conversations=per_block, block_tokens=most)
    tokens = [len(passage(c).split()) for c in cubes]
    blocks = list(form._blocks(cubes, tokens))
    assert [c for block in blocks for c in block] == cubes
    assert form.count(cubes, tokens) == len(blocks)
    for block in blocks:
        assert len({c.header.provenance.thread for c in block}) <= per_block
        assert len(block) == 1 or sum(len(passage(c).split()) for c in block) <= most


def test_notes_next_to_each_other_are_one_conversation() -> None:
    cubes = [cube(0, "a", None), cube(1, "b", None), cube(2, "c", "s"), cube(3, "d", None)]
    assert list(conversations(cubes)) == [(0, 2), (2, 3), (3, 4)]


def test_a_refusal_that_differs_in_a_few_letters_drops_the_block() -> None:
    helper = ScriptedModel(["no information is relevant", "No informations are relevant!", 'It says "topic2" [1].'])
    found = BlockExtract(helper, conversations=1).extract("topic2?", history(3, 1), WordShelf())
    assert [each.block for each in found.extracts] == [3]
    assert found.text.startswith("Extract 1:\nIt says")


def test_a_quote_without_a_number_still_leads_back_to_its_memory() -> None:
    helper = ScriptedModel(['Ann said "spoke about topic0 and matter1" then.'])
    found = OnePassExtract(helper).extract("matter1?", history(1, 3), WordShelf())
    assert [hit.cube.row for hit in found.hits] == [1]


def test_an_extract_that_quotes_nothing_falls_back_to_shared_words() -> None:
    helper = ScriptedModel(["There is something about it."])
    found = OnePassExtract(helper).extract("What about topic1?", history(3, 1), WordShelf())
    assert [hit.cube.row for hit in found.hits] == [1]


def test_a_number_that_no_passage_has_is_ignored() -> None:
    helper = ScriptedModel(['"we spoke" [99] [0] [2]'])
    found = OnePassExtract(helper).extract("topic1?", history(3, 1), WordShelf())
    assert [hit.cube.row for hit in found.hits] == [1]


def test_when_every_block_is_empty_nothing_is_returned_and_the_note_says_what_was_read() -> None:
    found = BlockExtract(Echo("absent")).retrieve("absent?", WordShelf(history(3)), Budget(tokens=100))
    assert found.hits == ()
    assert found.considered == 6
    assert "0 pieces hold something" in found.notes[0]


def test_the_failure_of_a_helper_is_not_an_empty_result() -> None:
    with pytest.raises(ModelError, match="script"):
        BlockExtract(ScriptedModel([])).retrieve("x", WordShelf(history(1)), Budget(tokens=100))


def test_calls_at_once_give_what_calls_in_turn_give() -> None:
    cubes = history(9)
    one = BlockExtract(Echo("matter1"), conversations=2).extract("matter1?", cubes, WordShelf())
    many = BlockExtract(Echo("matter1"), conversations=2, parallel=4).extract("matter1?", cubes, WordShelf())
    assert one == many


def test_a_history_beyond_the_window_takes_several_passes() -> None:
    helper = Echo("topic5")
    found = OnePassExtract(helper, window_tokens=200).extract("topic5?", history(6), WordShelf())
    assert found.calls > 1
    assert {hit.cube.header.provenance.thread for hit in found.hits} == {"session 5"}


# --- the extractive form -------------------------------------------------------------------------------------------


def test_without_a_helper_the_sentences_that_carry_the_question_are_quoted() -> None:
    cubes = [
        cube(0, "It rained. The vet of the dog is Elsa Corwin. We had soup."),
        cube(1, "The garden needs water."),
    ]
    found = BlockExtract().extract("Who is the vet of the dog?", cubes, WordShelf())
    assert found.calls == 0
    assert [hit.cube.row for hit in found.hits] == [0]
    assert '"The vet of the dog is Elsa Corwin."' in found.text
    assert "soup" not in found.text


def test_blocks_that_share_no_word_with_the_question_are_dropped() -> None:
    found = BlockExtract(conversations=1).extract("topic3?", history(5), WordShelf())
    assert [each.block for each in found.extracts] == [4]


def test_the_best_of_each_block_stands_before_the_second_of_any() -> None:
    cubes = [cube(n, f"the vet visit number {n}", f"s{n // 2}") for n in range(6)]
    found = BlockExtract(conversations=1).extract("vet visit number 0", cubes, WordShelf())
    assert len({hit.cube.header.provenance.thread for hit in found.hits[:3]}) == 3


def test_a_question_of_function_words_finds_nothing() -> None:
    assert BlockExtract().extract("what is it?", history(2), WordShelf()).hits == ()


@given(st.lists(st.text(alphabet="ab ", min_size=1, max_size=60).filter(str.strip), max_size=12), st.integers(1, 60))
def test_what_is_returned_fits_the_budget(texts: list[str], tokens: int) -> None:
    shelf = WordShelf([cube(n, text, f"s{n // 2}") for n, text in enumerate(texts)])
    for form in (BlockExtract(conversations=2), OnePassExtract()):
        hits = form.retrieve("aa ab ba", shelf, Budget(tokens=tokens)).hits
        spent = sum(len(passage(hit.cube).split()) + 6 for hit in hits)
        assert spent <= tokens or len(hits) == 1  # a single one is cut when it is shown
        assert Pack().compose(hits, shelf, Budget(tokens=tokens)).footprint.tokens <= tokens


def test_both_forms_are_retrievers_whose_hits_pack_into_a_prompt() -> None:
    shelf, budget = WordShelf(history(12)), Budget(tokens=60)
    for form in (BlockExtract(), OnePassExtract()):
        hits: tuple[Hit, ...] = form.retrieve("topic4 and matter1", shelf, budget).hits
        assert "topic4" in Pack().compose(hits, shelf, budget).text


@pytest.mark.parametrize("wrong", [{"conversations": 0}, {"block_tokens": 0}, {"parallel": 0}, {"least": 0.0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        BlockExtract(**wrong)  # type: ignore[arg-type]  # on purpose


def test_an_impossible_window_is_refused() -> None:
    with pytest.raises(BadInput):
        OnePassExtract(window_tokens=0)
