from __future__ import annotations

from pinyon.measure import VARIANTS, Corpus, try_variants, variants_table


def test_the_first_variant_gains_nothing_over_itself(demo: Corpus) -> None:
    trials = try_variants([(demo, (10,))], variants=VARIANTS[:2])
    assert [(t.variant, t.k) for t in trials] == [("the first sum", 10), ("a chunk is its own window", 10)]
    assert trials[0].gain.value == 0


def test_turns_are_the_same_whatever_chunks_do(demo: Corpus) -> None:
    trials = try_variants([(demo, (10,))], variants=VARIANTS[:2])
    assert trials[1].gain.value == 0


def test_every_variant_runs_and_has_a_row(demo: Corpus) -> None:
    told: list[int] = []
    table = variants_table(try_variants([(demo, (5,))], progress=told.append))
    assert sum(told) == len(VARIANTS)
    assert all(f"| {variant.name} | " in table for variant in VARIANTS)
