from __future__ import annotations

import pytest

from pinyon import Note
from pinyon.errors import BadInput
from pinyon.measure import CONTROLS, Corpus, Question, Room, run_corpus


def _notes(*questions: Question) -> Corpus:
    notes = (Note("Ann keeps bees."), Note("Bob sails a boat."), Note("Cleo bakes bread."))
    return Corpus("notes", (Room("main", notes, questions),), lambda cube: (cube.text,))


def test_the_rank_of_the_evidence_is_reported() -> None:
    report = run_corpus(_notes(Question("Who keeps bees?", ("Ann keeps bees.",))), ks=(1, 2))
    assert report.items[0].ranks == (1,)
    assert report.value("recall@1") == 1.0
    assert (report.n, report.cubes) == (1, 3)
    assert report.versions["numpy"]


def test_evidence_that_lies_in_no_cube_is_refused() -> None:
    with pytest.raises(BadInput, match="Dan"):
        run_corpus(_notes(Question("Who?", ("Dan paints.",))))


def test_progress_is_told_of_each_question() -> None:
    told: list[int] = []
    run_corpus(_notes(Question("bees", ("Ann keeps bees.",))), ks=(1,), progress=told.append)
    assert told == [1]


def test_rooms_do_not_see_each_other() -> None:
    question = Question("Who keeps bees?", ("Ann keeps bees.",))
    here = Room("here", (Note("Ann keeps bees."),), (question,))
    there = Room("there", (Note("Bees keep Ann busy."),), ())
    report = run_corpus(Corpus("two", (there, here), lambda cube: (cube.text,)), ks=(1,))
    assert report.value("recall@1") == 1.0


@pytest.mark.slow
def test_the_default_finds_more_of_the_demo_than_each_leg_alone(demo: Corpus) -> None:
    # The 37 questions avoid the words of their evidence: at 10 too few are found to tell the default from dense alone.
    reports = {"default": run_corpus(demo, ks=(10, 50))}
    reports |= {name: run_corpus(demo, ks=(10, 50), index=index) for name, index in CONTROLS.items()}
    print({name: round(report.value("recall@10"), 3) for name, report in reports.items()})
    at50 = {name: report.value("recall@50") for name, report in reports.items()}
    assert at50["default"] > max(at50[name] for name in CONTROLS) + 0.05
