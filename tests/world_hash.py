"""What a memory answers, as one hash: what get, list, search, histories, rights and spaces say, and the journal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pinyon import Memory
from pinyon.core.cube import cube_to_json
from pinyon.core.payload import canonical
from pinyon.core.where import EVERY_STATE

USERS = ("ann", "bob")
SPACES = ("default", "farm", "team")
QUESTIONS = ("honey", "Where are the bees?", "peanuts allergy")


def answers(memory: Memory) -> Iterator[object]:
    """Yield everything that callers can see of a store."""
    engine = memory.store.engine
    for user in USERS:
        for space in SPACES:
            mine = memory.at(user=user, space=space)
            cubes = list(mine.iterate(where={"states": list(EVERY_STATE)}))
            yield [cube_to_json(cube) for cube in cubes]
            yield [str(mine.history(cube.id)) for cube in cubes]
            yield [[hit.cube.id for hit in mine.search(question, k=5).hits] for question in QUESTIONS]
            yield [cube.id for cube in mine.list().cubes]
        yield engine.spaces(memory.at(user=user).caller.whole_view())
    yield repr(memory.rights.policy())
    yield [str(event) for event in engine.journal(0, 100_000)]
    yield [job.id for job in engine.jobs.find()]
    yield engine.vectors(memory.caller.parts.finder.fingerprint, range(1, 200)).rows.tolist()


def world_hash(memory: Memory) -> str:
    """Return SHA-256 over what callers see."""
    found = hashlib.sha256()
    for answer in answers(memory):
        found.update(canonical(answer).encode())  # type: ignore[arg-type]  # plain lists and texts
    return found.hexdigest()


def fill(memory: Memory) -> None:
    """Write a small world of two people."""
    ann = memory.at(user="ann")
    ann.add("Ann keeps bees behind the old mill.", tags=["bees"], time="2024-05-01")
    ann.add("The hives gave 30 kilos of honey in June.", tags=["bees"], time="2024-06-11")
    ann.add("Write to ann@example.org about the honey.", tags=["bees"], time="2024-06-12")
    ann.add("write to ANN@example.org about the honey", tags=["bees"], time="2024-06-13")
    ann.add("Tom is allergic to peanuts.", time="2024-06-14")
    memory.at(user="bob").add("Bob sells honey on Fridays.", time="2024-06-15")
