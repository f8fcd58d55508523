from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")

from head_worlds import ANSWER, FILLER, profile_of, scripted  # noqa: E402
from state_worlds import numbers, tiny, tokenizer  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state._head_trials import PromptBatch, next_token_loss  # noqa: E402
from pinyon.state.head_check import check_heads, other_heads  # noqa: E402
from pinyon.state.needle_prompts import NeedleFact, needle_prompt  # noqa: E402

FACTS = [NeedleFact(f"The word of {name} is {ANSWER}.", f"What is the word of {name}?", ANSWER) for name in "BCDE"]
OPTIONS = {"lengths": (260,), "depths": (0.2, 0.8), "max_tokens": 20, "sentences": lambda: FILLER}
TOP = ((1, 0, 1.0), (2, 3, 0.5), (0, 2, 0.05))


def prompts_of(backbone, count: int = 3, length: int = 260):
    return [
        needle_prompt(backbone, fact, length=length, depth=0.3, seed=place, sentences=lambda: FILLER)
        for place, fact in enumerate(FACTS[:count])
    ]


@pytest.mark.parametrize("when", ["decode", "everywhere"])
def test_the_heads_that_the_model_needs_are_told_from_others(when) -> None:
    backbone = scripted(needs=[(1, 0)])
    seen = []
    found = check_heads(
        backbone, profile_of(backbone, TOP), FACTS, counts=(1, 2), draws=3, when=when, text=numbers(30),
        progress=lambda done, all_: seen.append((done, all_)), **OPTIONS,
    )  # fmt: skip
    assert (found.asked, found.facts, found.when, found.mode) == (4, tuple(FACTS), when, "zero")
    assert found.whole.recall == 1.0
    assert found.top(1).heads == ((1, 0),)
    assert found.top(2).heads == ((1, 0), (2, 3))
    assert (found.top(1).recall, found.top(2).recall) == (0.0, 0.0)
    assert [row.recall for row in found.others(2)] == [1.0] * 3
    assert found.points_lost(2) == (100.0, 0.0)
    assert seen[-1] == (len(found.rows), len(found.rows)) == (9, 9)
    assert found.whole.loss == pytest.approx(next_token_loss(backbone, numbers(30)))
    with pytest.raises(BadInput, match="were not masked"):
        found.top(3)


def test_others_are_never_retrieval_heads_and_each_draw_is_another() -> None:
    profile = profile_of(tiny(), TOP)
    draw = random.Random(1)
    drawn = [other_heads(profile, 4, draw) for _ in range(40)]
    assert {head for heads in drawn for head in heads} == set(profile.scores) - {(1, 0), (2, 3)}
    assert len(set(drawn)) > 30
    assert all(len(set(heads)) == 4 for heads in drawn)
    with pytest.raises(BadInput, match="cannot be drawn"):
        other_heads(profile, 11, draw)


def test_facts_that_found_the_heads_and_models_that_repeat_nothing_are_refused() -> None:
    backbone = scripted()
    used = NeedleFact("A fact.", "What?", "fact")  # that of the profile
    with pytest.raises(BadInput, match="used to find"):
        check_heads(backbone, profile_of(backbone), [used], **OPTIONS)
    with pytest.raises(BadInput, match="repeats none"):
        check_heads(scripted("nothing"), profile_of(scripted()), FACTS, **OPTIONS)
    with pytest.raises(BadInput, match="another model"):
        check_heads(scripted(seed=4), profile_of(backbone), FACTS, **OPTIONS)
    with pytest.raises(BadInput, match="cannot be masked"):
        check_heads(backbone, profile_of(backbone), FACTS, counts=(99,), **OPTIONS)


def test_prompts_answered_at_once_get_the_answers_they_get_alone_as_often_as_asked() -> None:
    backbone = tiny(words=tokenizer())
    prompts = prompts_of(backbone)
    batch = PromptBatch(backbone, prompts)
    together = batch.answers(max_tokens=8)
    for prompt, answer in zip(prompts, together, strict=True):
        alone = backbone.continuation(prompt.ids, max_tokens=8, stop=[]).text
        assert alone.strip().split("\n")[0].strip() == answer
    masked = batch.answers(max_tokens=8, mask_heads=[(0, 0), (1, 1), (2, 2)])
    assert masked != together
    assert batch.answers(max_tokens=8) == together
    assert batch.answers(max_tokens=8, mask_heads=[]) == together


def test_masking_while_reading_is_another_thing_than_while_writing() -> None:
    backbone = tiny(words=tokenizer())
    prompts, heads = prompts_of(backbone), [(0, 0), (0, 1), (0, 2)]
    written = PromptBatch(backbone, prompts).answers(max_tokens=12, mask_heads=heads)
    both = PromptBatch(backbone, prompts, mask_heads=heads).answers(max_tokens=12, mask_heads=heads)
    uniform = PromptBatch(backbone, prompts).answers(max_tokens=12, mask_heads=heads, mask_mode="uniform")
    assert len({tuple(written), tuple(both), tuple(uniform)}) == 3


def test_prompts_of_unequal_length_are_not_answered_at_once() -> None:
    backbone = tiny(words=tokenizer())
    with pytest.raises(BadInput, match="one length"):
        PromptBatch(backbone, [*prompts_of(backbone, 1), *prompts_of(backbone, 1, length=300)])
    with pytest.raises(BadInput, match="one length"):
        PromptBatch(backbone, [])


def test_the_loss_is_the_mean_surprise_at_the_next_token() -> None:
    backbone, ids = tiny(), numbers(20)
    logits = torch.stack([backbone.forward(ids[: end + 1]) for end in range(19)])
    naive = -logits.log_softmax(dim=-1)[torch.arange(19), torch.tensor(ids[1:])].mean()
    assert next_token_loss(backbone, ids) == pytest.approx(float(naive), abs=1e-5)
    assert next_token_loss(backbone, ids, mask_heads=[(0, 0)]) != pytest.approx(float(naive), abs=1e-4)
