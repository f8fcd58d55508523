"""Whatever is given: one clear sentence or a sound memory, never a traceback of another kind, never half a write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinyon import Conversation, Document, Memory, Note, Turn
from pinyon.errors import BadInput, ModelError, PinyonError
from pinyon.models import CallableEmbedder
from pinyon.testing import ScriptedModel

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NASTY = [
    "", " ", "\n\t", "\x00", "a\x00b", "\ud800", "ok \udfff end", "\ufeff", "\u202eabc", "مرحبا بالعالم",
    "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈", "x" * 100_000, "中文没有空格的句子", "ไม่มีช่องว่าง", "ﷺ" * 50,
    "a" + "\u0301" * 500, "SELECT * FROM cubes", "'; DROP TABLE cubes; --", '"unbalanced', "AND OR NOT NEAR(",
    "col:val", "a* ^b", "-1", "%s {0} $HOME", "../../etc/passwd", "\\..\\..", "NaN", "null", "\r\n" * 100 + "x",
]  # fmt: skip
RELAXED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:12]))
def test_a_text_is_remembered_and_found_or_refused_in_one_sentence(text: str) -> None:
    memory = Memory.open(":memory:")
    try:
        added = memory.add(text)
    except PinyonError as error:
        assert "\n" not in error.message
        assert memory.stats().cubes == 0
        return
    assert added.created >= 1
    assert memory.search(text, k=3).hits
    assert memory.check() == []


@pytest.mark.slow
def test_ten_megabytes_go_in_and_come_out(tmp_path: object) -> None:
    text = ("The heron stood at the pond and the walnut fell. " * 22_000)[: 10 * 2**20]
    memory = Memory.open(f"{tmp_path}/m.db")
    memory.add(text)
    cubes = sorted(memory.iterate(), key=lambda cube: cube.header.provenance.position or 0)
    assert "".join(cube.text for cube in cubes) == text
    memory.close()


@RELAXED
@given(st.text(max_size=200))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    memory = Memory.open(":memory:")
    try:
        cube = memory.add(text).cubes[0]
    except PinyonError:
        assert not text.strip()
        return
    assert memory.get(cube.id).text == text


@RELAXED
@given(st.text(max_size=60), st.integers(-2, 30))
def test_any_question_is_answered_or_refused(question: str, k: int) -> None:
    memory = Memory.open(":memory:")
    memory.add("The spare key hangs behind the blue door.")
    for call in (lambda: memory.search(question, k=k), lambda: memory.ask(question)):
        try:
            call()
        except PinyonError as error:
            assert error.hint or error.message


@RELAXED
@given(ANY_JSON)
def test_metadata_of_any_shape_is_kept_or_refused(value: object) -> None:
    memory = Memory.open(":memory:")
    try:
        cube = memory.add("text", metadata=value).cubes[0]  # type: ignore[arg-type]
    except PinyonError:
        assert memory.stats().cubes == 0
        return
    assert json.dumps(memory.get(cube.id).header.metadata, sort_keys=True) == json.dumps(value or {}, sort_keys=True)


@RELAXED
@given(st.dictionaries(st.text(max_size=8), ANY_JSON, max_size=3))
def test_a_filter_of_any_shape_is_applied_or_refused(filters: dict[str, object]) -> None:
    memory = Memory.open(":memory:")
    memory.add("text", metadata={"a": 1})
    for where in (filters, {"metadata": filters}):
        try:
            memory.search("text", where=where)
            memory.list(where=where)
        except PinyonError as error:
            assert "\n" not in error.message


@RELAXED
@given(
    st.lists(st.dictionaries(st.sampled_from(["role", "content", "name", "time"]), ANY_JSON, max_size=4), max_size=4)
)
def test_messages_of_any_shape_are_kept_or_refused_whole(messages: list[dict[str, object]]) -> None:
    memory = Memory.open(":memory:")
    try:
        added = memory.add(messages)
    except PinyonError:
        assert memory.stats().cubes == 0
        return
    assert memory.stats().cubes == added.created


@pytest.mark.parametrize("name", ["", " ", "a\x00b", "x" * 300, "\ud800", "tab\there"])
@pytest.mark.parametrize("field", ["user", "agent", "session", "space", "tenant"])
def test_a_name_that_cannot_be_used_is_refused(field: str, name: str) -> None:
    memory = Memory.open(":memory:")
    if field == "space" and not name:
        return  # an empty space means the default one
    with pytest.raises(PinyonError):
        memory.add("text", **{field: name})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../../x", "a/b", "C:\\x", "'; --", "%00", "名前"])
def test_a_name_is_never_a_path(name: str, tmp_path: object) -> None:
    memory = Memory.open(f"{tmp_path}/m.db", space=name, user=name)
    memory.add("text", session=name)
    assert memory.search("text").hits
    memory.close()


@pytest.mark.parametrize("what", [None, 3, 3.5, b"bytes", {"role": 3}, [1], [{}], [{"role": "user"}], object()])
def test_what_is_no_text_is_refused(what: object) -> None:
    memory = Memory.open(":memory:")
    with pytest.raises(PinyonError):
        memory.add(what)  # type: ignore[arg-type]
    assert memory.stats().cubes == 0


@pytest.mark.parametrize(
    "time", ["yesterday", "2025-13-01", "", "99999-01-01", float("nan"), float("inf"), 10**20, [], True]
)
def test_what_is_no_moment_is_refused(time: object) -> None:
    with pytest.raises(PinyonError):
        Memory.open(":memory:").add("text", time=time)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rows",
    [
        lambda texts: np.full((len(texts), 4), np.nan),
        lambda texts: np.zeros((len(texts), 5)),
        lambda texts: np.zeros((len(texts) + 1, 4)),
        lambda texts: "nonsense",
    ],
)
def test_vectors_that_cannot_be_used_lose_nothing(rows: object, tmp_path: Path) -> None:
    embedder = CallableEmbedder(rows, fingerprint="bad", dimensions=4, is_instant=True)  # type: ignore[arg-type]
    with Memory.open(tmp_path / "m.db", embedder=embedder) as memory:
        memory.add("a walnut tree")
        with pytest.raises(ModelError):
            memory.search("walnut")
    with Memory.open(tmp_path / "m.db") as memory:
        assert memory.search("walnut").hits[0].cube.text == "a walnut tree"
        assert memory.check() == []


def test_one_bad_thing_among_many_writes_none_of_its_batch() -> None:
    memory = Memory.open(":memory:")
    with pytest.raises(PinyonError):
        memory.add_many([Note("good"), Note("")])
    assert memory.stats().cubes == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, id: m.add_many(["a"]), "thing 0 is a str and no experience"),
        (lambda m, id: m.add_many([Note("a"), {"a": 1}]), "thing 1 is a dict"),
        (lambda m, id: m.add_many("abc"), "many experiences are expected, not a str"),
        (lambda m, id: m.add_many(3), "many experiences are expected, not a int"),
        (lambda m, id: m.add("x", tags=[1]), "the name of a tag"),
        (lambda m, id: m.add("x", tags=3), "tags are a list of texts, not 3"),
        (lambda m, id: m.add("x", tags={"a": 1}), "tags are a list of texts"),
        (lambda m, id: m.add(Note("x", tags=3)), "tags are a list of texts, not 3"),
        (lambda m, id: m.update(id, tags=[None]), "the name of a tag"),
        (lambda m, id: m.update(id, text=3), "the new text is a int"),
        (lambda m, id: m.list(cursor=3), "3 is no cursor"),
        (lambda m, id: m.list(cursor="x"), "'x' is no cursor"),
        (lambda m, id: m.list(limit="a"), "a page of 'a' cubes"),
        (lambda m, id: m.list(limit=2.5), "a page of 2.5 cubes"),
        (lambda m, id: m.ask("otter", generator=3), "a int writes no answers"),
        (lambda m, id: m.ask("otter", generator="foo"), "unknown generator 'foo', expected one of: .*local:<model>"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_sentence(call: Callable[[Memory, str], object], words: str) -> None:
    memory = Memory.open(":memory:")
    id = memory.add("The otter sleeps.").cubes[0].id
    with pytest.raises(BadInput, match=words) as caught:
        call(memory, id)
    assert "\n" not in caught.value.message
    assert memory.stats().cubes == 1
    assert memory.get(id).version == 1


def test_a_single_text_is_one_tag_everywhere() -> None:
    memory = Memory.open(":memory:")
    talk = Conversation((Turn("four"),), tags="xyz")  # type: ignore[arg-type]
    for thing in (Note("two", tags="xyz"), Document("three", source="s", tags="xyz"), talk):  # type: ignore[arg-type]
        assert memory.add(thing).cubes[0].header.tags == ("xyz",)
    cube = memory.add("one", tags="xyz").cubes[0]
    assert cube.header.tags == ("xyz",)
    assert memory.update(cube.id, tags="abc").header.tags == ("abc",)


def test_a_generator_that_writes_no_text_is_an_error_of_the_model() -> None:
    class Silent:
        name = "silent"

        def generate(self, messages: object, *, max_tokens: int = 512) -> None: ...

    memory = Memory.open(":memory:")
    memory.add("The otter sleeps.")
    with pytest.raises(ModelError, match="the generator 'silent' returned a NoneType where text was expected"):
        memory.ask("otter", generator=Silent())  # type: ignore[arg-type]


def test_a_generator_may_be_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def named(spec: str, *, api_key: str | None) -> ScriptedModel:
        asked.append((spec, api_key))
        return ScriptedModel(["It sleeps [1]."] * 2)

    monkeypatch.setattr("pinyon.models.generator_from", named)
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "theirs")
    monkeypatch.delenv("PINYON_API_KEY", raising=False)
    memory = Memory.open(":memory:")
    memory.add("The otter sleeps.")
    for _ in range(2):
        assert memory.ask("otter", generator="openai:m@http://h/v1").citations
    memory.ask("otter", generator="anthropic:m")
    assert asked == [("openai:m@http://h/v1", "mine"), ("anthropic:m", "theirs")]
