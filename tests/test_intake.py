"""What callers give becomes experiences, in groups of a transaction."""

from __future__ import annotations

import pytest

from pinyon import Conversation, Document, Note, Scope, Turn
from pinyon.errors import BadInput
from pinyon.intake import BATCH, batches, dressed, experience_of


def test_text_messages_and_experiences_are_taken() -> None:
    assert experience_of("hello", Scope()) == Note("hello")
    talk = experience_of({"role": "user", "content": "hi"}, Scope(session="s"))
    assert isinstance(talk, Conversation)
    assert (talk.session, talk.turns[0].text) == ("s", "hi")
    assert experience_of(Document("x"), Scope()) == Document("x")


@pytest.mark.parametrize("what", [None, 3, b"bytes", object()])
def test_anything_else_is_refused(what: object) -> None:
    with pytest.raises(BadInput, match="cannot be remembered"):
        experience_of(what, Scope())


def test_a_turn_keeps_its_own_time() -> None:
    first = dressed(Note("x"), "2025-01-01", (), {})
    talk = Conversation((Turn("a", time=first.time), Turn("b")))  # type: ignore[union-attr]
    later = dressed(talk, "2025-02-02", ["t"], {"k": 1})
    assert [turn.time.month for turn in later.turns if turn.time] == [1, 2]  # type: ignore[union-attr]
    assert (later.tags, later.metadata) == (("t",), {"k": 1})


def test_batches_keep_order_and_stay_near_their_size() -> None:
    things = [Conversation(tuple(Turn("x") for _ in range(300))) for _ in range(10)]
    groups = list(batches(things))
    assert [thing for group in groups for thing in group] == things
    assert all(sum(len(t.turns) for t in group) < BATCH + 300 for group in groups)  # type: ignore[union-attr]
