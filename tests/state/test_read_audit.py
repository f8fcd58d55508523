from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from head_worlds import ANSWER, profile_of, prompt_of, scripted  # noqa: E402
from state_worlds import numbers, tiny, tokenizer  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.models.taps import AttentionRows, Taps  # noqa: E402
from pinyon.state.read_audit import Source, TokenRead, answer_with_audit, sentences_read  # noqa: E402

HITS = ((1, 0, 1.0), (2, 3, 0.5))


def audited(backbone, prompt, sources, **options):
    cache = backbone.cache()
    backbone.prefill(prompt.context, cache)
    return answer_with_audit(backbone, cache, prompt.question, profile_of(backbone, HITS), sources, **options)


def naive_mass(backbone, prompt, written):
    """Return the weighted rows of one pass over prompt and answer, (tokens of the answer, all tokens)."""
    ids = [*prompt.ids, *written]
    taps = Taps(rows=AttentionRows(last=len(ids)))
    Backbone.forward(backbone, ids, backbone.cache(), taps=taps, logits="none")
    mean = (taps.rows[1][0, 0] * 1.0 + taps.rows[2][0, 3] * 0.5) / 1.5
    return mean[len(prompt.ids) - 1 : -1], ids


@pytest.mark.parametrize("seed", range(4))
def test_mass_and_grounding_are_those_of_one_pass_with_every_row(seed: int) -> None:
    backbone = scripted(seed=seed)
    prompt = prompt_of(backbone, seed=seed)
    start, end = prompt.hidden[0].sentence
    sources = [Source("needle", start, end), Source("before", 10, start)]
    found = audited(backbone, prompt, sources, max_tokens=len(ANSWER))
    assert found.answer == ANSWER
    rows, ids = naive_mass(backbone, prompt, backbone.encode(ANSWER))
    for token, row in zip(found.tokens, rows, strict=True):
        mass = dict(token.mass)
        assert mass.get("needle", 0.0) == pytest.approx(float(row[start:end].sum()), abs=1e-5)
        assert mass.get("before", 0.0) == pytest.approx(float(row[10:start].sum()), abs=1e-5)
        assert token.sink == pytest.approx(float(row[:4].sum()), abs=1e-5)
        assert token.sink + token.elsewhere + token.on_sources == pytest.approx(1.0, abs=1e-5)
        place = 4 + int(row[4:].argmax())
        inside = next((s.id for s in sources if s.start <= place < s.end), None)
        assert token.source == (inside if ids[place] == token.id else None)


def test_a_source_that_was_cut_away_gets_nothing() -> None:
    backbone = scripted()
    prompt = prompt_of(backbone)
    start, end = prompt.hidden[0].sentence
    cache = backbone.cache()
    backbone.prefill(prompt.context, cache)
    cache.keep_everywhere(torch.tensor([*range(start), *range(end, len(prompt.context))]))
    found = answer_with_audit(
        backbone, cache, prompt.question, profile_of(backbone, HITS), [Source("needle", start, end)], max_tokens=5
    )
    assert all(token.mass == () and not token.is_grounded for token in found.tokens)


def token(text: str, *, source: str | None = None, sink: float = 0.1) -> TokenRead:
    return TokenRead(1, text, (), sink, 1 - sink, source)


def test_sentences_are_flagged_by_the_words_that_say_something() -> None:
    found = sentences_read(
        [token("The"), token(" key", source="a"), token(" is"), token(" red", source="b"), token(".", source="b"),
         token(" It"), token(" flies", sink=0.9), token(".")]
    )  # fmt: skip
    first, second = found
    assert (first.text, first.tokens, first.grounded, first.sources) == ("The key is red.", 2, 1.0, ("a", "b"))
    assert first.is_grounded
    assert not first.is_suspect
    assert (second.text, second.tokens, second.grounded, second.sink) == ("It flies.", 1, 0.0, 0.9)
    assert second.is_suspect
    assert not second.is_grounded
    assert sentences_read([]) == []
    (asked,) = sentences_read(
        [token("The"), token(" key"), token(" is"), token(" red")], "What is the colour of the KEY?"
    )
    assert asked.tokens == 1


def test_an_answer_ends_where_the_model_ends_it_and_shares_are_over_allsentences_read() -> None:
    backbone = scripted(f"{ANSWER}. No.")
    prompt = prompt_of(backbone)
    found = audited(backbone, prompt, [Source("all", 4, len(prompt.context))], max_tokens=len(ANSWER) + 5)
    assert [sentence.text for sentence in found.sentences] == [f"{ANSWER}.", "No."]
    copied = [t for t in found.tokens[: len(ANSWER)] if t.is_grounded]
    assert found.grounded == pytest.approx(len(copied) / len(ANSWER))
    assert 0 <= found.on_sources <= 1


def test_sources_that_overlap_and_profiles_without_heads_are_refused() -> None:
    backbone = tiny(words=tokenizer())
    for sources, hits, why in (
        ([Source("a", 0, 5), Source("b", 4, 9)], HITS, "overlap"),
        ([Source("a", 0, 5)], (), "no retrieval head"),
    ):
        cache = backbone.cache()
        backbone.prefill(numbers(20), cache)
        with pytest.raises(BadInput, match=why):
            answer_with_audit(backbone, cache, [1, 2], profile_of(backbone, hits), sources)
    with pytest.raises(BadInput, match="another model"):
        answer_with_audit(backbone, backbone.cache(), [1], profile_of(tiny(seed=4)), [])
    with pytest.raises(BadInput, match="no tokens"):
        Source("a", 5, 5)
