"""HEMA over a memory: kept verbatim, archived when forgotten, made again when a turn is forgotten for good."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pinyon import Conversation, Memory, Rights, Turn, Where
from pinyon.core.budget import Budget
from pinyon.recipes import HemaChat, hema
from pinyon.testing import FixedClock, ScriptedModel, WordCounter
from pinyon.text.hema import Forgetting, HemaConfig

NAMES = "harvest lantern harbour winter orchard gallery festival library station bakery".split()


def opened(clock: FixedClock, path: str = ":memory:") -> Memory:
    return Memory.open(path, clock=clock, tokens=WordCounter(), user="ann")


def told(chat: HemaChat, clock: FixedClock, turns: int) -> None:
    for n in range(turns):
        clock.advance(60)
        chat.add(f"The {NAMES[n % 10]} committee {n} meets at noon.", f"Noted, committee {n}.")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock("2025-03-01")


def test_every_message_is_a_memory_word_for_word_and_is_found_by_the_prompt(clock: FixedClock) -> None:
    with opened(clock) as memory:
        chat = hema(memory)
        chat.add("The boiler code of uncle Ravi is 4471.", "Noted.")
        told(chat, clock, 6)
        assert memory.search("boiler code").hits[0].cube.text == "The boiler code of uncle Ravi is 4471."
        prompt = chat.prompt("Which number opens Ravi's boiler?", system="Be kind.")
        assert "[turn 1, 1 March 2025] user: The boiler code of uncle Ravi is 4471." in prompt.text
        assert prompt.tokens == len(prompt.text.split()) <= 3500
        assert len(list(memory.iterate())) == 14


def test_a_state_goes_on_in_the_next_program_with_the_same_prompt(clock: FixedClock, tmp_path: Path) -> None:
    config = HemaConfig(summary_period=5, forgetting=Forgetting(period=5, share=0.05), budget_tokens=150)
    with opened(clock, str(tmp_path / "m.db")) as memory:
        chat = hema(memory, config=config)
        told(chat, clock, 12)
        chat.prompt("lantern")
        chat.save()
        before = chat.prompt("When does the harvest committee meet?")
    with opened(clock, str(tmp_path / "m.db")) as memory:
        again = hema(memory, config=config)
        assert again.hema.turn == 12
        assert again.prompt("When does the harvest committee meet?") == before
        assert again.hema.to_json() == chat.hema.to_json()


def test_a_state_is_no_memory_that_a_search_finds(clock: FixedClock) -> None:
    with opened(clock) as memory:
        chat = hema(memory, config=HemaConfig(summary_period=3))
        told(chat, clock, 6)
        assert all(cube.header.provenance.unit == "turn" for cube in memory.iterate())
        assert len(memory.list(where=Where(tags=("hema_state",), states=("archived",))).cubes) == 2


def test_forgetting_archives_and_is_undone_by_the_verbs_of_the_memory(clock: FixedClock) -> None:
    with opened(clock) as memory:
        chat = hema(memory, config=HemaConfig(summary_period=None, forgetting=Forgetting(period=5, share=0.2)))
        first = memory.add(Conversation((Turn("The pinned committee meets at dawn."),))).cubes[0]
        memory.pin(first.id)
        chat = hema(memory, config=chat.hema.config)
        gone = [stone for n in range(9) for stone in chat.add(f"The {NAMES[n]} committee meets at noon.")]
        assert gone
        assert first.id not in {stone.id for stone in gone}
        assert memory.get(gone[0].id).header.life.state == "archived"
        assert all(hit.cube.id != gone[0].id for hit in memory.search("committee", k=50).hits)
        why = list(memory.log(limit=100, op="state"))
        assert why
        memory.restore(gone[0].id)
        assert any(hit.cube.id == gone[0].id for hit in memory.search("committee", k=50).hits)


class TickingClock(FixedClock):
    """Moves by a second whenever it is looked at, so that every verb is a step of its own."""

    def now(self) -> datetime:
        self.advance(1)
        return super().now()


def test_undo_brings_the_last_forgotten_chunk_back() -> None:
    with opened(TickingClock()) as memory:
        chat = hema(memory, config=HemaConfig(summary_period=None, forgetting=Forgetting(period=5, share=0.2)))
        gone = [stone for n in range(5) for stone in chat.add(f"The {NAMES[n]} committee meets at noon.")]
        memory.undo(steps=1)
        assert memory.get(gone[-1].id).header.life.state != "archived"


def test_a_turn_that_is_forgotten_for_good_leaves_the_summaries_too(clock: FixedClock) -> None:
    with opened(clock) as memory:
        chat = hema(memory, config=HemaConfig(summary_period=4))
        told(chat, clock, 3)
        clock.advance(60)
        chat.add("The Zephyrine vault code is 90210.")  # the boundary: it is in a saved state now
        assert "Zephyrine" in chat.hema.compact.summary + chat.hema.compact.digest
        (secret,) = (cube for cube in memory.iterate() if "Zephyrine" in cube.text)
        memory.forget([secret.id])
        prompt = chat.prompt("Which code opens the vault?")
        assert "Zephyrine" not in prompt.text
        assert "committee" in prompt.text
        states = memory.list(where=Where(tags=("hema_state",), states=("archived",))).cubes
        assert all("Zephyrine" not in str(cube.header.metadata) + cube.text for cube in states)


def test_a_turn_that_is_changed_is_summarised_again(clock: FixedClock) -> None:
    with opened(clock) as memory:
        chat = hema(memory)
        chat.add("The Zephyrine vault code is 90210.")
        (cube,) = memory.iterate()
        memory.update(cube.id, text="The Halcyon vault code is 17.")
        compact = chat.prompt("vault").text.partition("</compact>")[0]
        assert "Halcyon" in compact
        assert "Zephyrine" not in compact


def test_a_conversation_that_was_added_otherwise_is_taken_in(clock: FixedClock) -> None:
    with opened(clock) as memory:
        said = [{"role": "user", "content": "The Kestrel plan is late."}, {"role": "assistant", "content": "I see."}]
        memory.add(said)
        clock.advance(60)
        memory.add([{"role": "user", "content": "Its budget is short."}])
        chat = hema(memory)
        assert chat.hema.turn == 2
        assert [chunk.turn for chunk in chat.hema.tail] == [1, 1, 2]
        assert "Kestrel" in chat.hema.compact.summary


def test_what_takes_the_place_of_something_is_shown_after_it(clock: FixedClock) -> None:
    with opened(clock) as memory:
        chat = hema(memory, config=HemaConfig(tail=0, summary_period=None))
        for text, year, value in (("My home is in Oslo now.", 2024, "Oslo"), ("My home is in Rome.", 2021, "Rome")):
            said = {"subject": "ann", "attribute": "city", "value": value}
            memory.add(Conversation((Turn(text, metadata=said),)), time=f"{year}-05-01")
        live = list(memory.iterate(where=Where(states=("generated", "archived"))))
        rome = next(cube for cube in live if "Rome" in cube.text)
        assert rome.header.life.superseded_by is not None
        if rome.header.life.state == "archived":
            memory.restore(rome.id)
        chat = hema(memory, config=chat.hema.config)
        shown = [chunk.text for chunk in chat.prompt("Where is my home?").shown]
        assert shown == ["My home is in Rome.", "My home is in Oslo now."]


def test_a_model_replies_and_both_are_kept(clock: FixedClock) -> None:
    with opened(clock) as memory:
        chat = hema(memory)
        model = ScriptedModel(["It is late."])
        assert chat.chat("How is the Kestrel plan?", model, system="Be kind.") == "It is late."
        assert "<system>\nBe kind.\n</system>" in model.asked[0][0].content
        assert [cube.text for cube in memory.iterate()] == ["How is the Kestrel plan?", "It is late."]


def test_the_recipe_shows_what_the_conversation_holds(clock: FixedClock) -> None:
    with opened(clock) as memory:
        chat = hema(memory)
        told(chat, clock, 8)
        hits = memory.search("orchard committee").hits
        recipe = chat.recipe()

        class Counting:
            tokens = staticmethod(WordCounter().count_many)

        context = recipe.compose(hits, Counting(), Budget(tokens=200))  # type: ignore[arg-type]
        assert context.text.startswith("<compact>")
        assert "<dialogue_tail>\n[turn 7, 1 March 2025] user:" in context.text
        assert context.footprint.tokens <= 200


def test_a_state_is_no_freer_and_lives_no_longer_than_its_turns(clock: FixedClock) -> None:
    with opened(clock) as memory:
        said = Conversation((Turn("The Kestrel plan is late."),))
        memory.add(said, rights=Rights(sensitivity=("secret",), deny=("user:eve",)), expires="2025-06-01")
        clock.advance(60)
        chat = hema(memory)
        chat.add("Its budget is short.")
        state = chat.save()
        assert state is not None
        assert state.header.life.expires == datetime(2025, 6, 1, tzinfo=UTC)
        assert state.header.rights.sensitivity == ("secret",)
        assert state.header.rights.deny == ("user:eve",)
        assert len(state.header.lineage.parents) == 2


def test_turns_of_others_are_not_taken_in(clock: FixedClock) -> None:
    with opened(clock) as memory:
        chat = hema(memory)
        chat.add("The Kestrel plan is late.")
        chat.save()
        for other in (memory.at(user=None), memory.at(user="eve")):
            strange = hema(other)
            assert strange.hema.turn == 0
            assert "Kestrel" not in strange.prompt("plan").text
