"""Random callers, drafts, rights, policies and filters, shared by the contract suites."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from pinyon.core.access import EVERYONE, OPEN, Access, Policy, SpaceRights
from pinyon.core.cube import Draft
from pinyon.core.header import Header, Life, Lineage, Parent, Provenance, Rights
from pinyon.core.payload import Blob, Delta, Kind, State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, Condition, View, Where

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
SPACES = ("main", "work")
THREADS = ("t1", "t2")
SOURCES = ("notes.md", "a/notes.md", "a/xnotes.md", "b_%.md", "ünïcode/notes.md")
SPEAKERS = ("Ann", "ann", "Bob")
SESSIONS = ("s1", "s2")
WORDS = ("bees", "mill", "river", "Ann", "old", "the", "blue", "door", "Tee", "Ärger", "蜜蜂", "don't")
SCALARS = (
    None, True, False, 0, 1, 1.0, -0.0, 2.5, -7, 2**53 + 1, 1e22, 10**400, "", "1", "a", "b", "Z", "é", "\x00",
    "a\x00b", "\uffff", "\U00010000", '"', "true",
)  # fmt: skip
KEYS = ("k", "m", "a.b", "a", "")

callers = st.builds(
    Scope,
    tenant=st.sampled_from([None, None, "t", "u"]),
    user=st.sampled_from([None, "ann", "bob", "None"]),
    agent=st.sampled_from([None, None, "bot"]),
    session=st.sampled_from([None, *SESSIONS]),
)
moments = st.integers(-3, 3).map(lambda days: START + timedelta(days=days, microseconds=days))
maybe_moments = st.none() | moments
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
scalars = st.sampled_from(SCALARS)
metadata = st.dictionaries(
    st.sampled_from(KEYS),
    scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.sampled_from(["b", "c"]), scalars, max_size=2),
    max_size=3,
)
tags = st.lists(st.sampled_from(["red", "blue", "a b"]), unique=True, max_size=2).map(tuple)
BLOBS = tuple(b"tensors" * number for number in range(4))
"""Bytes of every blob that a payload may name; a world must hold them."""
blobs = st.sampled_from([Blob(hashlib.sha256(data).hexdigest(), len(data)) for data in BLOBS])
bindings = st.fixed_dictionaries({"model": st.sampled_from(["m1", "m2"])}, optional={"rope": scalars})
payloads = st.one_of(
    texts.map(Text),
    texts.map(Text),
    texts.map(lambda text: Text(text, format="markdown")),
    st.builds(State, blobs=st.lists(blobs, max_size=2).map(tuple), binding=bindings, tokens=st.integers(0, 9)),
    st.builds(Delta, blobs=st.lists(blobs, max_size=1).map(tuple), binding=bindings, modules=st.just(("layers.0",))),
)
provenances = st.builds(
    Provenance,
    unit=st.sampled_from(["note", "turn", "chunk"]),
    source=st.none() | st.sampled_from(SOURCES),
    title=st.sampled_from([None, "Title"]),
    thread=st.sampled_from([None, *THREADS]),
    position=st.none() | st.integers(0, 4),
    section=st.sampled_from([(), ("One",), ("One", "Two")]),
    span=st.sampled_from([None, (0, 5)]),
    page=st.sampled_from([None, 1]),
    speaker=st.sampled_from([None, *SPEAKERS]),
    role=st.sampled_from([None, "user"]),
)
GROUPS = ("sales", "staff")
ROLES = ("auditor", "writer")
PRINCIPALS = (
    EVERYONE, "user:ann", "user:bob", "user:None", "agent:bot", "session:s1", "group:sales", "group:staff",
    "role:auditor", "role:writer",
)  # fmt: skip
PURPOSES = ("support", "research")
TASKS = ("rounds", "billing")
LABELS = ("health", "money")
HOURS = (None, None, (0, 720), (720, 721), (780, 60), (600, 600))
"""Minutes of the day: before noon, the minute of noon, over midnight, never."""
named = st.lists(st.sampled_from(PRINCIPALS), unique=True, max_size=2).map(tuple)
seldom_named = st.sampled_from([(), (), ()]) | named
rights = st.one_of(
    st.just(Rights()),
    st.builds(Rights, sensitivity=st.sampled_from([("health",), ("money",), LABELS])),
    st.builds(Rights, read=named, write=named, share=named, freeze=named),
    st.builds(
        Rights,
        sensitivity=st.sampled_from([(), (), ("health",), LABELS]),
        read=seldom_named,
        write=seldom_named,
        share=seldom_named,
        freeze=seldom_named,
        deny=st.sampled_from([(), ()]) | named,
        purposes=st.sampled_from([(), (), ("support",), PURPOSES]),
        tasks=st.sampled_from([(), (), (), ("rounds",), TASKS]),
        opens=st.sampled_from([None, None]) | moments,
        closes=st.sampled_from([None, None]) | moments,
        hours=st.sampled_from(HOURS),
    ),
)
space_rights = st.builds(SpaceRights, rights, named)


def _each(names: tuple[str, ...], values: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[object]:
    """Return pairs of some of the names with values, as a policy holds them."""
    return st.dictionaries(st.sampled_from(names), values, max_size=2).map(lambda found: tuple(sorted(found.items())))


policies = st.just(OPEN) | st.builds(
    Policy,
    groups=_each(GROUPS, named),
    roles=_each(ROLES, named),
    spaces=st.dictionaries(st.sampled_from(SPACES), space_rights, max_size=2).map(lambda d: tuple(sorted(d.items()))),
    clearances=_each(PRINCIPALS, st.lists(st.sampled_from(LABELS), unique=True).map(tuple)),
    is_closed=st.booleans(),
)
lives = st.builds(
    Life,
    state=st.sampled_from(["generated", "generated", "generated", "activated", "archived", "expired", "frozen"]),
    valid_from=maybe_moments,
    valid_to=maybe_moments,
    expires=st.none() | moments,
    stale=st.sampled_from([False, False, False, True]),
    pinned=st.booleans(),
    priority=st.sampled_from([0.0, 0.5, 1.0]),
)
headers = st.builds(
    Header,
    provenance=provenances,
    rights=st.just(Rights()) | rights,
    life=lives,
    lineage=st.sampled_from([Lineage(), Lineage((Parent("0" * 32, 1, "merged"),))]),
    tags=tags,
    metadata=metadata,
)
drafts = st.builds(
    Draft,
    payload=payloads,
    header=headers,
    key=st.sampled_from(["", "", "k1", "k2"]),
    session=st.sampled_from([None, *SESSIONS]),
)
conditions = st.one_of(
    st.builds(Condition, st.sampled_from(KEYS), st.sampled_from(["eq", "ne"]), scalars),
    st.builds(Condition, st.sampled_from(KEYS), st.just("in"), st.lists(scalars, max_size=3)),
    st.builds(
        Condition,
        st.sampled_from(KEYS),
        st.sampled_from(["gt", "ge", "lt", "le"]),
        st.sampled_from([value for value in SCALARS if type(value) in (int, float, str) and value != 10**400]),
    ),
)
wheres = st.builds(
    Where,
    since=maybe_moments,
    until=maybe_moments,
    speaker=st.none() | st.sampled_from(SPEAKERS),
    source=st.none() | st.sampled_from(["notes.md", "a/notes.md", ".md", "b_%.md", "", "x_%.md"]),
    session=st.sampled_from([None, None, *SESSIONS]),
    thread=st.sampled_from([None, None, *THREADS]),
    tags=tags,
    metadata=st.lists(conditions, max_size=2).map(tuple),
    kinds=st.sampled_from([(), (), (Kind.TEXT,), (Kind.STATE, Kind.WEIGHTS)]),
    states=st.sampled_from(
        [Where().states, Where().states, EVERY_STATE, ("archived",), ("generated", "stale", "expired"), ()]
    ),
    valid_at=st.sampled_from([None, None]) | moments,
)
plain_wheres = st.sampled_from([Where()])
spaces = st.sampled_from([("main",), ("work",), ("main", "work"), ("nowhere",)])
accesses = st.builds(
    lambda scope, policy, purpose, task, moment: Access.of(scope, policy, purpose=purpose, task=task, moment=moment),
    callers,
    policies,
    st.sampled_from([None, *PURPOSES]),
    st.sampled_from([None, *TASKS]),
    maybe_moments,
)


def view_of(
    scope: Scope, spaces: tuple[str, ...], where: Where, access: Access | None, at: int | None, moment: datetime | None
) -> View:
    """Return a view whose caller is that of its access, where it has one."""
    return View(scope if access is None else access.scope, spaces, where, access, at, moment)


views = st.builds(
    view_of,
    callers,
    spaces,
    st.one_of(plain_wheres, wheres, wheres),
    st.none() | accesses,
    st.none() | st.integers(0, 40),
    st.none() | moments,
)
