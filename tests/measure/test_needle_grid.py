from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from state_worlds import tiny, tokenizer  # noqa: E402

from pinyon.errors import BadInput, ModelError, NotFound  # noqa: E402
from pinyon.measure import ItemLog, wilson  # noqa: E402
from pinyon.measure.maps import curves_png, forgetting_curves, needle_map_png  # noqa: E402
from pinyon.measure.needle_grid import NeedleGrid, NeedleRow, cut_by, measure_needles  # noqa: E402
from pinyon.measure.needle_policies import POLICIES, reading_called  # noqa: E402
from pinyon.state import SinkWindow  # noqa: E402
from pinyon.state.head_profile import HeadProfile, HeadTrial  # noqa: E402
from pinyon.state.needle_prompts import NeedleFact, needle_prompt  # noqa: E402

FACTS = [NeedleFact(f"The word of {name} is red.", f"What is the word of {name}?", "red") for name in "BCD"]
SMALL = {"lengths": (300, 340), "depths": (0.0, 0.9), "max_tokens": 3, "sentences": lambda: ["It rains on the sea."]}


@pytest.fixture
def backbone():
    return tiny(words=tokenizer())


def row(length: int = 100, depth: float = 0.5, recall: float = 1.0) -> NeedleRow:
    return NeedleRow(length, depth, "told", "answer", recall, recall == 1, 10, 40, 0.5, 0.1)


def grid(*rows: NeedleRow) -> NeedleGrid:
    return NeedleGrid("tiny", "none", 0.0, "unseen", rows)


def test_every_needle_is_put_once_and_its_costs_are_noted(backbone) -> None:
    found = measure_needles(backbone, FACTS, **SMALL, read=cut_by(lambda _: SinkWindow()), policy="sink", ratio=0.5)
    assert [(row.length, row.depth) for row in found.rows] == [
        (n, d) for n in (300, 340) for d in (0.0, 0.9) for _ in range(2)
    ]
    assert [row.told for row in found.rows[:4]] == [fact.told for fact in (*FACTS, FACTS[0])]
    for one in found.rows:
        tokens = one.whole_bytes // backbone.bytes_per_token
        assert one.bytes == (tokens // 2) * backbone.bytes_per_token
        assert one.prefill_s > 0 < one.decode_s
    assert (found.failed, found.policy, found.ratio) == (0, "sink", 0.5)


def test_what_is_kept_is_what_the_model_reads_on(backbone) -> None:
    whole = measure_needles(backbone, FACTS, **SMALL)
    prompt = needle_prompt(backbone, FACTS[0], length=300, depth=0.0, seed=2000, sentences=SMALL["sentences"])
    said = backbone.continuation(prompt.ids, max_tokens=3).text.strip().split("\n")[0].strip()
    assert whole.rows[0].answer == said
    assert all(one.bytes == one.whole_bytes for one in whole.rows)
    seen = measure_needles(backbone, FACTS, **SMALL, question="seen")
    assert [one.answer for one in seen.rows] == [one.answer for one in whole.rows]  # nothing goes: no difference
    assert all(a.whole_bytes > b.whole_bytes for a, b in zip(seen.rows, whole.rows, strict=True))


def test_a_budget_of_bytes_is_kept(backbone) -> None:
    size = 50 * backbone.bytes_per_token + 7
    found = measure_needles(
        backbone, FACTS, **SMALL, read=cut_by(lambda _: SinkWindow()), ratio=None, budget_bytes=size, items=3
    )
    assert len(found.rows) == 3
    assert {one.bytes for one in found.rows} == {50 * backbone.bytes_per_token}


def test_it_goes_on_where_it_ended(backbone, tmp_path) -> None:
    with ItemLog(tmp_path / "log") as log:
        first = measure_needles(backbone, FACTS, **SMALL, items=3, log=log)
    asked = []

    def read(reader, ids, entries):
        asked.append(entries)
        cache = reader.cache()
        reader.prefill(ids, cache)
        return cache

    with ItemLog(tmp_path / "log") as log:
        again = measure_needles(backbone, FACTS, **SMALL, read=read, log=log)
    assert len(asked) == 5
    assert set(first.rows) < set(again.rows)


def test_a_needle_that_fails_is_counted_and_ten_in_a_row_end_it(backbone) -> None:
    def broken(reader, ids, entries):
        raise BadInput("broken")

    calls = []

    def broken_once(reader, ids, entries):
        calls.append(entries)
        if len(calls) == 2:
            raise BadInput("broken")
        cache = reader.cache()
        reader.prefill(ids, cache)
        return cache

    found = measure_needles(backbone, FACTS, **SMALL, read=broken_once)
    assert (found.failed, len(found.rows)) == (1, 7)
    with pytest.raises(ModelError, match=r"none of 8 needles .* broken"):
        measure_needles(backbone, FACTS, **SMALL, read=broken)
    with pytest.raises(ModelError, match="one after the other"):
        measure_needles(backbone, FACTS, **{**SMALL, "depths": (0.0, 0.3, 0.6, 0.9)}, read=broken)


@pytest.mark.parametrize(
    "wrong",
    [{"ratio": 1.0}, {"ratio": -0.1}, {"ratio": None}, {"budget_bytes": 5}, {"facts_a_cell": 0}, {"depths": ()}],
)
def test_what_cannot_be_measured_is_refused(backbone, wrong) -> None:
    with pytest.raises(BadInput):
        measure_needles(backbone, FACTS, **{**SMALL, **wrong})


def test_cells_and_curves_are_shares_with_wilson_intervals() -> None:
    found = grid(row(recall=1.0), row(recall=0.5), row(recall=0.6), row(200, 0.0, 0.0))
    assert found.cell(100, 0.5) == wilson(2, 3)
    assert found.overall == wilson(2, 4)
    assert found.recall == pytest.approx(2.1 / 4)
    assert found.curve(2) == [(50.0, wilson(1, 2)), (125.0, wilson(1, 2))]
    assert [x for x, _ in found.curve(9)] == [50, 50, 50, 200]
    with pytest.raises(BadInput):
        found.curve(0)


def test_its_json_and_table_say_the_same() -> None:
    found = grid(row(), row(200, 0.0, 0.0))
    data = json.loads(json.dumps(found.to_json()))
    assert [(c["length"], c["depth"], c["n"]) for c in data["cells"]] == [
        (100, 0.0, 0),
        (100, 0.5, 1),
        (200, 0.0, 1),
        (200, 0.5, 0),
    ]
    assert NeedleRow(**data["rows"][0]) == row()
    text = found.to_markdown()
    assert "| 100 |  | 100 [21, 100] |" in text
    assert "10 bytes of 40" in text


def test_pictures_are_written(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    found = grid(row(), row(100, 0.0), row(200, 0.0, 0.0))
    needle_map_png(tmp_path / "map.png", found)
    curves_png(tmp_path / "curve.png", "tiny", forgetting_curves([found, found]), across="tokens ago")
    for name in ("map.png", "curve.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", POLICIES)
def test_every_named_policy_reads_within_its_budget(backbone, tmp_path, name) -> None:
    trial = HeadTrial("a", 9, 0.5, 0, "a", 1.0, ((1, 0, 1.0),))
    HeadProfile(3, 4, 2, (trial,), backbone.binding()).save(tmp_path / "p.json")
    read = reading_called(name, backbone, profile=tmp_path / "p.json")
    if name == "none":
        assert read is None
        return
    ids = backbone.encode("It rains on the hills and on the sea, and nothing else is said of it. " * 2)
    cache = read(backbone, ids, 60)
    assert 50 * backbone.bytes_per_token < cache.nbytes <= 60 * backbone.bytes_per_token
    assert cache.read >= len(ids) or name == "spec_kv"


def test_names_that_are_none_are_refused(backbone, tmp_path) -> None:
    with pytest.raises(NotFound, match="no policy 'snap'"):
        reading_called("snap", backbone)
    with pytest.raises(BadInput, match="needs a head profile"):
        reading_called("retrieval_heads", backbone)
    HeadProfile(3, 4, 2, (), tiny(seed=2).binding()).save(tmp_path / "p.json")
    with pytest.raises(BadInput, match="another model"):
        reading_called("retrieval_heads", backbone, profile=tmp_path / "p.json")
