"""Sessions with a pretrained model: a surprising word stays where a window forgets it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.models.base import Message  # noqa: E402
from pinyon.state import Session, SinkWindow, Surprisal  # noqa: E402
from pinyon.testing import small_model  # noqa: E402

pytestmark = [pytest.mark.model, pytest.mark.slow]

ENTRIES = 128
QUESTIONS = (
    "Where do travellers wait for a train?",
    "What keeps a ship from drifting away?",
    "Which season follows the winter?",
    "What does a violinist draw across the strings?",
    "Who repairs a leaking pipe?",
    "What do bees bring home?",
    "Where does one look to know the time?",
    "What does a tired child need?",
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone.load(small_model())


def talk(backbone, policy):
    """Tell a word, then ask about other things until a window of the same size has lost it."""
    session = Session(backbone, policy, budget_bytes=ENTRIES * backbone.bytes_per_token)
    told = [Message("user", "Please buy pistachios for me."), Message("assistant", "OK.")]
    whole = backbone.render(told, opening=False)
    session.read(backbone.encode(whole))
    for question in QUESTIONS:
        told += [Message("user", question), Message("assistant", "I do not know.")]
        longer = backbone.render(told, opening=False)
        session.read(backbone.encode(longer.removeprefix(whole)))
        whole = longer
        assert session.nbytes <= session.budget_bytes
    return backbone.decode(session.cache.tokens.ids)


def test_a_surprising_word_outlives_the_window(backbone) -> None:
    assert "pist" in talk(backbone, Surprisal())
    assert "pist" not in talk(backbone, SinkWindow())


def test_a_strong_decay_forgets_it_too(backbone) -> None:
    assert "pist" not in talk(backbone, Surprisal(decay=0.01))


def test_a_talk_is_saved_in_the_middle_of_an_answer_and_goes_on_bit_for_bit(backbone) -> None:
    session = Session(backbone, Surprisal(), budget_bytes=ENTRIES * backbone.bytes_per_token)
    answer = session.stream("Name three colours.", max_tokens=12)
    next(answer)
    next(answer)
    again = Session.load(session.to_bytes(), backbone, Surprisal())
    assert torch.equal(again.logits, session.logits)
    assert list(again.continuation(6)) == list(session.continuation(6))
    assert torch.equal(again.logits, session.logits)
