"""ConvoMem: questions that are sound, histories that hide them fairly, figures that say what was found."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pinyon.errors import BadInput, ModelError, UnreadableSource
from pinyon.index import Analyzer
from pinyon.measure._convomem_items import item_to_json
from pinyon.measure.convomem import (
    CATEGORIES,
    SIZES,
    Chat,
    ChatMessage,
    ConvoMem,
    EvidenceItem,
    Judge,
    Templates,
    World,
    batched,
    cells,
    choose_threshold,
    dilution,
    embedding_faults,
    exact_reader,
    generator_reader,
    is_right,
    mixed,
    passages_of,
    question_faults,
    read_convomem,
    standard,
    validity,
    world_bytes,
)
from pinyon.measure.session import ItemLog, MeasureBudget
from pinyon.measure.subject import Context, Passage, Ranked
from pinyon.measure.subjects import BM25, FullContext, LastTokens, PinyonMemory
from pinyon.testing import ScriptedModel


@pytest.fixture(scope="module")
def world() -> World:
    return Templates(seed=7, persons=5, items=4, filler=300).world()


@pytest.fixture(scope="module")
def tiny() -> Templates:
    return Templates(seed=3, persons=2, items=2, filler=60, pairs=(2, 3))


def item(category: str = "user_facts", k: int = 2, **changes: Any) -> EvidenceItem:
    evidence = tuple(ChatMessage("User", f"The vet number {n} is called Dr Value{n}.") for n in range(k))
    chats = tuple(
        Chat(f"c{n}", "ann", (ChatMessage("Assistant", "Hello."), said, ChatMessage("Assistant", "I see.")))
        for n, said in enumerate(evidence)
    )
    values = tuple(f"Dr Value{n}" for n in range(k))
    made = EvidenceItem("i", "ann", category, "Who is the vet?", ", ".join(values), evidence, chats, values)
    return replace(made, **changes)


# --- the generator -------------------------------------------------------------------------------------------------


def test_every_question_of_the_templates_is_sound(world: World) -> None:
    assert [(i.id, embedding_faults(i), question_faults(i)) for i in world.items] == [
        (i.id, (), ()) for i in world.items
    ]


def test_an_exact_reader_passes_every_check_of_every_question(world: World) -> None:
    assert [i.id for i in world.items if not validity(i).is_sound] == []
    assert all(validity(i).previous and validity(i).addresses for i in world.items if i.category == "changing")


def test_there_are_all_categories_with_one_to_six_messages_of_evidence() -> None:
    items = Templates(persons=12, items=5, filler=0).world().items
    assert Counter(i.category for i in items) == dict.fromkeys(CATEGORIES, 60)
    assert {i.k for i in items} == {1, 2, 3, 4, 5, 6}
    assert min(i.k for i in items if i.category == "changing") == 2


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    same = [world_bytes(Templates(seed=5, persons=2, items=2, filler=3).world()) for _ in range(2)]
    assert same[0] == same[1]
    assert same[0] != world_bytes(Templates(seed=6, persons=2, items=2, filler=3).world())


def test_no_value_stands_in_filler_or_twice_in_what_a_person_says(world: World) -> None:
    for one in world.items:
        if one.category in ("preferences", "implicit_connection"):
            continue
        said = [m.text for chat in world.filler[one.person] for m in chat.messages]
        assert not any(value in text for value in one.values for text in said)
        others = [m.text for i in world.items if i.person == one.person for m in i.evidence if i.id != one.id]
        assert not any(value in text for value in one.values for text in others)


def test_what_abstention_asks_for_is_said_by_nobody(world: World) -> None:
    terms = Analyzer().terms
    for one in (i for i in world.items if i.category == "abstention"):
        asked = one.question.partition(" the ")[2].partition(" for ")[0]
        chats = [*world.filler[one.person], *(c for i in world.items if i.person == one.person for c in i.chats)]
        wanted = " ".join(terms(asked))
        assert not any(wanted in " ".join(terms(m.text)) for chat in chats for m in chat.messages)


@pytest.mark.parametrize("wrong", [{"persons": 0}, {"items": 7}, {"filler": -1}, {"pairs": (0, 2)}, {"pairs": (3, 2)}])
def test_impossible_worlds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Templates(**wrong)


# --- the checks ----------------------------------------------------------------------------------------------------


def deleted(one: EvidenceItem) -> EvidenceItem:
    first = replace(one.chats[0], messages=tuple(m for m in one.chats[0].messages if m != one.evidence[0]))
    return replace(one, chats=(first, *one.chats[1:]))


def duplicated(one: EvidenceItem) -> EvidenceItem:
    second = replace(one.chats[1], messages=(*one.chats[1].messages, one.evidence[0]))
    return replace(one, chats=(one.chats[0], second, *one.chats[2:]))


def swapped(one: EvidenceItem) -> EvidenceItem:
    return replace(one, chats=(one.chats[1], one.chats[0], *one.chats[2:]))


def third(one: EvidenceItem) -> EvidenceItem:
    first = replace(one.chats[0], messages=(*one.chats[0].messages, ChatMessage("Narrator", "Rain.")))
    return replace(one, chats=(first, *one.chats[1:]))


@pytest.mark.parametrize("mutate", [deleted, duplicated, swapped, third])
def test_every_mutation_is_rejected(world: World, mutate: Callable[[EvidenceItem], EvidenceItem]) -> None:
    several = [i for i in world.items if i.k > 1]
    assert several
    assert [i.id for i in several if not embedding_faults(mutate(i))] == []


def test_evidence_may_stand_in_its_chat_nearly_word_for_word() -> None:
    long = "The vet of the dog is Elsa Corwin and she lives on the corner of Marlow Street near the mill."
    one = item(k=1, evidence=(ChatMessage("User", long),))
    for said, is_sound in (
        (f"Well, {long} Nice, is it not?", True),
        (long[: int(0.85 * len(long))], True),
        (long[: int(0.5 * len(long))], False),
        (long.replace("Elsa", "Ilse"), True),
        (long.upper(), False),
    ):
        chat = Chat("c", "ann", (ChatMessage("User", said),))
        assert (not embedding_faults(replace(one, chats=(chat,)))) == is_sound, said


def test_the_same_words_from_the_other_speaker_are_no_evidence() -> None:
    one = item(k=1)
    chat = Chat("c", "ann", (ChatMessage("Assistant", one.evidence[0].text),))
    assert embedding_faults(replace(one, chats=(chat,)))


def test_a_question_that_gives_the_change_away_is_faulty() -> None:
    assert question_faults(item("changing", question="Who is the vet now?"))
    assert not question_faults(item("changing"))


def test_a_question_that_names_its_context_is_faulty() -> None:
    shaped = item("implicit_connection", values=("I broke my leg", "the car is in repair"))
    assert not question_faults(replace(shaped, question="Can you plan my Saturday?"))
    assert question_faults(replace(shaped, question="Can I hike with a broken leg or by car?"))


def test_checks_fail_where_a_reader_guesses() -> None:
    def guesses(one: EvidenceItem, chats: Sequence[Chat]) -> str:
        return f"{one.answer} of {len(chats)}"

    found = validity(item(), guesses)
    assert (found.with_evidence, found.without_evidence, found.partial) == (True, False, False)
    assert not found.is_sound


def test_checks_fail_where_one_message_gives_all_away() -> None:
    one = item()
    told = ChatMessage("User", f"{one.evidence[0].text} {one.evidence[1].text}")
    leaky = replace(one, chats=(Chat("c0", "ann", (told,)), one.chats[1]))
    assert validity(leaky, exact_reader).partial is False


def test_a_reader_must_be_right_as_often_as_it_is_asked() -> None:
    answers = iter(["Dr Value0, Dr Value1", "no idea", "", "", ""])

    def fickle(one: EvidenceItem, chats: Sequence[Chat]) -> str:
        assert one.k == 2
        assert len(chats) <= 2
        return next(answers)

    assert not validity(item(), fickle, repeats=2).with_evidence


def test_a_model_may_read_and_judge() -> None:
    one = item()
    reader = generator_reader(model := ScriptedModel(["Dr Value0 and Dr Value1", "I do not know", "Dr Value1", "no"]))
    judge = Judge(ScriptedModel(["RIGHT", "WRONG", "WRONG", "WRONG"]))
    assert validity(one, reader, judge=judge).is_sound
    assert [said.text in model.asked[0][-1].content for said in one.evidence] == [True, True]
    assert [said.text in model.asked[2][-1].content for said in one.evidence] == [False, True]


# --- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("category", "answer", "wanted"),
    [
        ("user_facts", "They are dr value0 and Dr. Value1!", True),
        ("user_facts", "It is Dr Value0.", False),
        ("user_facts", "Dr Value01, Dr Value1", False),
        ("changing", "It is Dr Value1 now.", True),
        ("changing", "Dr Value0, later Dr Value1", False),
        ("abstention", "I find nothing about that in this memory.", True),
        ("abstention", "", True),
        ("abstention", "It is Dr Value0.", False),
    ],
)
def test_answers_are_compared_by_their_words(category: str, answer: str, wanted: bool) -> None:
    assert is_right(item(category), answer) is wanted


def test_a_rubric_without_values_needs_a_judge() -> None:
    assert is_right(item("preferences", values=()), "anything") is None


@pytest.mark.parametrize(
    ("said", "wanted"),
    [(["RIGHT"], True), (["It is WRONG."], False), (["right, or wrong"], False), (["hm", "well", "Right!"], True)],
)
def test_the_verdict_is_one_word(said: list[str], wanted: bool) -> None:
    assert Judge(ScriptedModel(said)).decide(item("preferences"), "an answer") is wanted


def test_a_judge_without_a_verdict_is_an_error() -> None:
    with pytest.raises(ModelError, match="no verdict"):
        Judge(ScriptedModel(["hm"] * 3), tries=3).decide(item(), "an answer")


# --- the mixer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_a_standard_history_is_as_long_as_asked_and_keeps_the_order_of_evidence(world: World, size: int) -> None:
    for one in world.items[:: 1 if size < 50 else 12]:
        case = standard(one, size, world.filler, random.Random(1))
        ids = [chat.id for chat in case.chats]
        assert len(ids) == len(set(ids)) == max(size, one.k)
        places = [ids.index(chat.id) for chat in one.chats]
        assert places == sorted(places)
        assert {chat.person for chat in case.chats} == {one.person}


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 80), most=st.integers(1, 30), seed=st.integers(0, 99))
def test_batches_hold_every_question_once_with_filler_of_its_people(
    world: World, size: int, most: int, seed: int
) -> None:
    items = world.items[::3]
    cases = batched(items, size, world.filler, random.Random(seed), most=most, least_cases=1)
    assert sorted(i.id for case in cases for i in case.items) == sorted(i.id for i in items)
    for case in cases:
        evidence = sum(i.k for i in case.items)
        assert len(case.items) <= most
        assert len(case.chats) == max(size, evidence)
        assert evidence <= size or len(case.items) == 1
        assert len({chat.id for chat in case.chats}) == len(case.chats)
        people = {i.person for i in case.items}
        assert {chat.person for chat in case.chats} <= people
        ids = [chat.id for chat in case.chats]
        for one in case.items:
            places = [ids.index(chat.id) for chat in one.chats]
            assert places == sorted(places)


def test_batches_are_made_smaller_for_enough_test_cases(world: World) -> None:
    cases = batched(world.items, 300, world.filler, random.Random(0))
    assert len(cases) >= 10


def test_stitched_histories_hold_one_question_below_fifty_and_one_person_from_there(world: World) -> None:
    small = list(mixed(world.items, 30, world.filler, seed=0))
    large = list(mixed(world.items, 100, world.filler, seed=0))
    assert {len(case.items) for case in small} == {1}
    assert len(large) < len(small)
    assert all(len({i.person for i in case.items}) == 1 for case in large)
    assert large == list(mixed(world.items, 100, world.filler, seed=0))


def test_too_little_filler_is_said_with_numbers() -> None:
    made = Templates(persons=1, items=1, filler=2).world()
    with pytest.raises(BadInput, match="has 2 chats of filler"):
        standard(made.items[0], 30, made.filler, random.Random(0))


def test_passages_give_nothing_away_and_follow_in_time(world: World) -> None:
    case = standard(world.items[0], 5, world.filler, random.Random(0))
    passages = passages_of(case.chats)
    assert len({p.id for p in passages}) == len(passages)
    assert [p.session for p in passages] == sorted((p.session for p in passages), key=str)
    times = [p.time for p in passages if p.time is not None]
    assert times == sorted(times)
    assert not any("filler" in f"{p.session} {p.speaker} {p.text}" for p in passages)


# --- published files -----------------------------------------------------------------------------------------------


def published(folder: Path, entries: Sequence[Any], name: str = "user_evidence/1_evidence/batch_0.json") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"evidence_items": list(entries), "checkpoint": "abc"}), encoding="utf-8")
    return folder


def test_the_published_format_is_read_back(tmp_path: Path, world: World) -> None:
    ours = [i for i in world.items if i.category == "user_facts"][:3]
    found = read_convomem(published(tmp_path, [item_to_json(i) for i in ours]))
    assert found.skipped == ()
    assert [(i.question, i.answer, i.evidence) for i in found.world.items] == [
        (i.question, i.answer, i.evidence) for i in ours
    ]
    assert {i.category for i in found.world.items} == {"user_facts"}


def test_malformed_items_are_named_and_left_out(tmp_path: Path, world: World) -> None:
    good = item_to_json(world.items[0])
    bad: list[Any] = [
        None,
        {"question": "?"},
        {**good, "question": " "},
        {**good, "conversations": "none"},
        {**good, "message_evidences": []},
        {**good, "conversations": [{"messages": [{"speaker": "User"}]}]},
    ]
    found = read_convomem(published(tmp_path, [*bad, good]))
    assert len(found.world.items) == 1
    assert [why.partition(":")[0] for why in found.skipped] == [
        f"user_evidence/1_evidence/batch_0.json, item {n}" for n in range(1, 7)
    ]


def test_lines_that_are_no_json_are_named_and_answers_may_be_numbers(tmp_path: Path) -> None:
    good = {**item_to_json(item(k=1)), "answer": 42, "category": "user_facts"}
    file = tmp_path / "items.jsonl"
    file.write_text(f"{json.dumps(good)}\n{{broken\n\n{json.dumps(good)}\n", encoding="utf-8")
    found = read_convomem(file)
    assert [i.answer for i in found.world.items] == ["42", "42"]
    assert len({i.id for i in found.world.items}) == 2
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith("items.jsonl, line 2")


def test_the_folder_names_the_kind_of_question(tmp_path: Path) -> None:
    entry = {**item_to_json(item(k=1)), "category": "Family and Pets"}
    published(tmp_path, [entry], "implicit_connection_evidence/1_evidence/a.json")
    assert read_convomem(tmp_path).world.items[0].category == "implicit_connection"
    (tmp_path / "other").mkdir()
    with pytest.raises(UnreadableSource, match="Family and Pets"):
        read_convomem(published(tmp_path / "other", [entry], "a.json"))


def test_a_folder_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="no question of ConvoMem"):
        read_convomem(tmp_path)
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableSource, match=r"a\.json"):
        read_convomem(tmp_path)


def test_other_questions_of_a_person_are_filler_where_there_is_none(tmp_path: Path, world: World) -> None:
    ours = [i for i in world.items if i.person == "p000" and i.category == "user_facts"]
    found = read_convomem(published(tmp_path, [item_to_json(i) for i in ours])).world
    first = found.items[0]
    others = sum(i.k for i in found.items) - first.k
    case = standard(first, first.k + others, found.filler, random.Random(0))
    assert len({chat.id for chat in case.chats}) == first.k + others
    with pytest.raises(BadInput, match="filler"):
        standard(first, first.k + others + 1, found.filler, random.Random(0))


# --- the measure ---------------------------------------------------------------------------------------------------


def test_full_context_holds_everything_and_its_tokens_grow(tiny: Templates) -> None:
    log = ItemLog()
    report = ConvoMem(templates=tiny, sizes=(2, 10, 50)).run(FullContext(), MeasureBudget(), log)
    assert {p.value for p in dilution(report, "in 2,000 tokens")} == {1.0}
    tokens = [
        sum(float(i.record["tokens"]) for i in log.items if i.record["size"] == n)  # type: ignore[arg-type]  # a number
        for n in (2, 10, 50)
    ]
    assert tokens == sorted(tokens)
    assert len(report.notes) == 3


def test_cells_split_the_curve_by_messages_of_evidence(tiny: Templates) -> None:
    log = ItemLog()
    report = ConvoMem(templates=tiny, sizes=(2, 50)).run(BM25(), MeasureBudget(), log)
    found = cells(log.items)
    for point in (p for p in dilution(report) if p.category in CATEGORIES):
        mine = [c for c in found if (c.category, c.size) == (point.category, point.size)]
        assert sum(c.n for c in mine) == point.n
        assert sum(c.n * c.value for c in mine) == pytest.approx(point.n * point.value)


def test_recall_of_what_was_said_last_falls_as_the_history_grows(tiny: Templates) -> None:
    report = ConvoMem(templates=tiny, sizes=(2, 50)).run(LastTokens(), MeasureBudget(), ItemLog())
    few, many = (p for p in dilution(report) if p.category == "overall")
    assert few.value > many.value
    assert few.n == many.n == 20  # five categories; abstention does not count


def test_words_find_facts_and_miss_what_is_only_implied(tiny: Templates) -> None:
    report = ConvoMem(templates=tiny, sizes=(50,)).run(BM25(), MeasureBudget(), ItemLog())
    found = {p.category: p.value for p in dilution(report)}
    assert found["user_facts"] >= found["implicit_connection"] + 0.15
    assert found["user_facts"] >= found["preferences"] + 0.15


def test_a_report_is_the_same_twice_and_resumes_without_asking_again(tiny: Templates, tmp_path: Path) -> None:
    measure = ConvoMem(templates=tiny, sizes=(2, 50))
    with ItemLog(tmp_path / "log.jsonl") as log:
        first = measure.run(BM25(), MeasureBudget(seed=4), log)

    class Untouchable(BM25):
        def add(self, space: str, passages: Sequence[Passage]) -> None:
            raise AssertionError(f"{space} of {len(passages)} is added again")

    with ItemLog(tmp_path / "log.jsonl") as log:
        again = measure.run(Untouchable(), MeasureBudget(seed=4), log)
    assert again.metrics == first.metrics


def test_a_failing_question_counts_as_not_found_and_the_run_goes_on(tiny: Templates) -> None:
    class Fails(BM25):
        def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
            if "Saturday" in question or "holiday" in question:
                raise RuntimeError("broken")
            return super().search(space, question, k)

    log = ItemLog()
    report = ConvoMem(templates=replace(tiny, items=4), sizes=(2,)).run(Fails(), MeasureBudget(), log)
    assert log.count("failed") >= 1
    assert report.n == sum(r.state != "skipped" and r.record.get("category") != "abstention" for r in log.items)


def test_answers_of_a_subject_are_scored_and_a_reader_answers_for_all(tiny: Templates) -> None:
    class Knows(FullContext):
        def ask(self, space: str, question: str) -> str | None:
            return f"I do not know: {space}, {question}"

    report = ConvoMem(templates=tiny, sizes=(2,)).run(Knows(), MeasureBudget(), ItemLog())
    assert report.value("answered right", "abstention") == 1.0
    assert report.value("answered right", "user_facts") == 0.0
    assert not [m for m in report.metrics if m.name == "answered right" and m.group.startswith("preferences")]

    class Reads(ScriptedModel):
        def generate(self, messages: Sequence[Any], *, max_tokens: int = 512) -> str:
            assert max_tokens > 0
            return str(messages[-1].content)  # everything it was shown

    for subject in (FullContext(), Knows()):  # all are read alike, whatever they would answer themselves
        report = ConvoMem(templates=tiny, sizes=(2,), reader=Reads([])).run(subject, MeasureBudget(), ItemLog())
        assert report.value("answered right", "user_facts") == 1.0


def test_sizes_without_enough_filler_are_skipped_by_name(tiny: Templates) -> None:
    log = ItemLog()
    ConvoMem(templates=tiny, sizes=(2, 200)).run(BM25(), MeasureBudget(), log)
    assert {i.key for i in log.items if i.state == "skipped"} == {"p000@200", "p001@200"}


def test_malformed_published_items_are_skipped_by_name(tmp_path: Path) -> None:
    good = item_to_json(item(k=1))
    log = ItemLog()
    ConvoMem(published(tmp_path, [good, {"question": 1}]), sizes=(1,)).run(BM25(), MeasureBudget(), log)
    assert [(i.key, i.state) for i in log.items if i.state == "skipped"] == [("malformed 0", "skipped")]
    assert log.count("done") == 1


def test_pinyon_finds_the_facts(tiny: Templates, tmp_path: Path) -> None:
    subject = PinyonMemory(tmp_path)
    report = ConvoMem(templates=replace(tiny, items=1), sizes=(6,)).run(subject, MeasureBudget(), ItemLog())
    subject.close()
    assert report.value("recall@10", "user_facts") >= 0.8
    assert report.value("recall@10", "changing") >= 0.8


def test_a_prompt_beyond_its_budget_would_show(tiny: Templates) -> None:
    class Watched(BM25):
        budgets: set[int] = set()

        def recall(self, space: str, question: str, budget_tokens: int) -> Context:
            self.budgets.add(budget_tokens)
            context = super().recall(space, question, budget_tokens)
            assert context.tokens <= budget_tokens
            return context

    log = ItemLog()
    ConvoMem(templates=tiny, sizes=(10,), budget_tokens=300).run(Watched(), MeasureBudget(), log)
    assert Watched.budgets == {300}
    assert log.count("failed") == 0


@pytest.mark.parametrize("wrong", [{"sizes": ()}, {"sizes": (0,)}, {"budget_tokens": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        ConvoMem(**wrong)


# --- thresholds ----------------------------------------------------------------------------------------------------

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(SCORES, SCORES, st.floats(0, 0.5))
@example([5e-324], [0.0], 0.0)
def test_a_threshold_lets_at_most_the_share_through_and_no_lower_one_of_use_would(
    known: list[float], unknown: list[float], most: float
) -> None:
    bar = choose_threshold(known, unknown, most_false=most)
    assert sum(score >= bar for score in unknown) <= most * len(unknown)
    lower = [score for score in (*known, *unknown) if score < bar]
    if lower:  # the next useful threshold below would let too many through
        assert sum(score >= max(lower) for score in unknown) > most * len(unknown)


def test_a_threshold_needs_both_kinds() -> None:
    with pytest.raises(BadInput):
        choose_threshold([], [0.5])
