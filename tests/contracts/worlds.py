"""Random callers, drafts and filters, shared by the contract suites."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from pinyon.core.cube import Draft
from pinyon.core.header import Header, Life, Lineage, Parent, Provenance, Rights
from pinyon.core.payload import Blob, Delta, Kind, State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import Condition, View, Where

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
lives = st.builds(
    Life,
    state=st.sampled_from(["generated", "generated", "generated", "activated", "archived", "expired", "frozen"]),
    valid_from=maybe_moments,
    expires=st.none() | moments,
    pinned=st.booleans(),
    priority=st.sampled_from([0.0, 0.5, 1.0]),
)
headers = st.builds(
    Header,
    provenance=provenances,
    rights=st.sampled_from([Rights(), Rights(("health",))]),
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
    states=st.sampled_from([Where().states, Where().states, ("archived",), ("generated", "archived", "expired"), ()]),
)
plain_wheres = st.sampled_from([Where()])
spaces = st.sampled_from([("main",), ("work",), ("main", "work"), ("nowhere",)])
views = st.builds(View, callers, spaces, st.one_of(plain_wheres, wheres, wheres))
