"""What is made of several cubes is open to nobody to whom one of them is closed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.access import Access, Policy, decide
from pinyon.core.header import Life, Rights
from pinyon.core.joining import narrowed, withheld
from pinyon.core.scope import Scope

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
NAMES = st.lists(st.sampled_from(["user:ann", "user:bob", "*"]), unique=True, max_size=2).map(tuple)
MOMENTS = st.none() | st.sampled_from([NOW - timedelta(days=1), NOW + timedelta(days=1)])
RIGHTS = st.builds(
    Rights,
    sensitivity=st.lists(st.sampled_from(["health", "legal"]), unique=True).map(tuple),
    read=NAMES,
    write=NAMES,
    deny=st.sampled_from([(), (), ("user:bob",)]),
    purposes=st.sampled_from([(), (), ("care",), ("care", "billing"), ("billing",)]),
    opens=MOMENTS,
    closes=MOMENTS,
    hours=st.none() | st.sampled_from([(600, 800), (700, 900), (0, 60)]),
)
OWNER = Scope(user="eve")  # none of those who ask


def may(rights: Rights, user: str, purpose: str | None, cleared: tuple[str, ...]) -> bool:
    policy = Policy(clearances=((f"user:{user}", cleared), ("user:nobody", ("health",))))
    access = Access.of(Scope(user=user), policy, purpose=purpose, moment=NOW)
    return decide("read", access, space="main", owner=OWNER, rights=rights, life=Life()).allowed


@given(
    RIGHTS,
    st.lists(RIGHTS, max_size=3),
    st.sampled_from(["ann", "bob"]),
    st.sampled_from([None, "care", "billing"]),
    st.sampled_from([(), ("health",), ("health", "legal")]),
)
def test_nobody_reads_what_was_made_of_something_closed_to_them(
    rights: Rights, bounds: list[Rights], user: str, purpose: str | None, cleared: tuple[str, ...]
) -> None:
    cut = narrowed(rights, bounds)
    if may(cut, user, purpose, cleared):
        assert all(may(each, user, purpose, cleared) for each in (rights, *bounds))
    assert narrowed(cut, bounds) == cut or "*" in cut.deny
    assert narrowed(rights, []) == rights


@given(RIGHTS, st.lists(RIGHTS, max_size=2))
def test_what_others_withhold_is_named_and_no_change_is_none(rights: Rights, bounds: list[Rights]) -> None:
    assert withheld(rights, rights, bounds) == ()
    wide = replace(rights, read=(*rights.read, "user:zoe"))
    cut = any({"user:zoe", "*"}.isdisjoint(each.read) for each in bounds)
    assert ("read" in withheld(rights, wide, bounds)) == cut or "*" in narrowed(wide, bounds).deny


def test_everyone_is_whoever_the_other_one_names() -> None:
    cut = narrowed(Rights(read=("user:ann", "user:bob"), write=("*",)), [Rights(read=("*",), write=("user:bob",))])
    assert (cut.read, cut.write) == (("user:ann", "user:bob"), ("user:bob",))
    assert narrowed(Rights(read=("*",)), [Rights(read=("*",))]).read == ("*",)
