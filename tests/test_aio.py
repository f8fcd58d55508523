import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pinyon import Conversation, Memory, Turn
from pinyon.aio import AsyncMemory, AsyncRights
from pinyon.errors import BadInput
from pinyon.rights_desk import RightsDesk


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_its_verbs_are_those_of_a_memory() -> None:
    assert public(AsyncMemory) - {"memory"} == public(Memory) - {"store", "caller", "jobs"}
    assert public(AsyncRights) == public(RightsDesk)


@pytest.mark.parametrize(
    "name", sorted(public(AsyncMemory) - {"memory", "scope", "space", "at", "as_of", "open", "rights"})
)
def test_each_verb_is_the_method_of_the_same_name(name: str) -> None:
    verb = vars(AsyncMemory)[name]
    assert verb.__wrapped__ is inspect.getattr_static(Memory, name)
    assert verb.__doc__ == inspect.getattr_static(Memory, name).__doc__


@pytest.mark.parametrize("name", sorted(public(AsyncRights)))
def test_each_verb_of_the_rights_is_the_method_of_the_same_name(name: str) -> None:
    assert vars(AsyncRights)[name].__wrapped__ is vars(RightsDesk)[name]


def test_rights_are_given_and_the_past_is_searched_in_an_event_loop() -> None:
    async def work(memory: AsyncMemory) -> None:
        await memory.rights.grant(read=["user:bob"], space="ward")
        assert (await memory.rights.policy()).space("ward").rights.read == ("user:bob",)
        past = await memory.as_of("2020-01-01")
        await memory.add("The key hangs in the shed.")
        assert not (await past.search("key")).hits
        assert [line.op async for line in memory.log()] == ["create", "policy"]

    run(work)


def run(work: Callable[[AsyncMemory], Awaitable[object]]) -> None:
    async def inside() -> None:
        async with AsyncMemory.open(":memory:", user="ann") as memory:
            await work(memory)

    asyncio.run(inside())


def test_what_is_added_is_found() -> None:
    async def work(memory: AsyncMemory) -> None:
        added = await memory.add("The spare key hangs behind the blue door.", tags=["home"])
        assert (await memory.search("spare key")).hits[0].cube == added.cubes[0]
        assert (await memory.get(added.cubes[0].id[:8])).text.startswith("The spare key")
        assert (await memory.ask("Where is the spare key?")).is_known
        assert memory.scope.user == "ann"
        assert (await memory.at(user="bob", space="work").list()).cubes == ()

    run(work)


def test_iterating_gives_everything_in_order() -> None:
    async def work(memory: AsyncMemory) -> None:
        turns = tuple(Turn(f"line {n}", speaker="Ann") for n in range(600))
        await memory.add(Conversation(turns))
        assert [cube.text async for cube in memory.iterate()] == [turn.text for turn in turns]

    run(work)


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    async def inside() -> None:
        memory = await AsyncMemory.open(tmp_path / "memory.db")
        await asyncio.gather(*(memory.add(f"note {n}") for n in range(20)))
        found = await asyncio.gather(*(memory.search(f"note {n}", k=1) for n in range(20)))
        assert {hits.hits[0].cube.text for hits in found} == {f"note {n}" for n in range(20)}
        assert await memory.check() == []
        await memory.close()
        with pytest.raises(BadInput, match="closed"):
            await memory.add("late")

    asyncio.run(inside())


def test_the_loop_goes_on_while_a_verb_works() -> None:
    async def work(memory: AsyncMemory) -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await memory.add("hello " * 1000)
        ticking.cancel()
        assert ticks > 1

    run(work)


def test_an_error_comes_as_from_a_memory() -> None:
    async def work(memory: AsyncMemory) -> None:
        with pytest.raises(BadInput, match="empty"):
            await memory.search(" ")

    run(work)


def test_an_open_memory_can_be_wrapped() -> None:
    async def inside(memory: Memory) -> None:
        assert (await AsyncMemory(memory).stats()).cubes == 0

    with Memory.open(":memory:") as memory:
        asyncio.run(inside(memory))
