from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from head_worlds import ANSWER, scripted  # noqa: E402
from state_worlds import tiny, tokenizer  # noqa: E402

import pinyon.measure.heads as room  # noqa: E402
from pinyon.errors import BadInput, ModelError, NotFound  # noqa: E402
from pinyon.measure.desk import measured  # noqa: E402
from pinyon.measure.heads import heads, needle  # noqa: E402
from pinyon.measure.maps import load_picture_data, save_picture_data  # noqa: E402
from pinyon.serve.verbs import VERBS  # noqa: E402
from pinyon.state.head_profile import HeadProfile  # noqa: E402

NEEDLES = {"lengths": "300", "depths": "0,1", "ratio": "0.5"}


@pytest.fixture
def model(monkeypatch):
    """Let every name stand for a tiny model."""
    made = tiny(words=tokenizer())
    monkeypatch.setattr(room, "_loaded", lambda name: made)
    return made


def test_heads_are_told_drawn_and_kept(monkeypatch, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    facts = tmp_path / "facts.jsonl"
    facts.write_text(json.dumps({"told": f"It is {ANSWER}.", "question": "What is it?", "answer": ANSWER}) + "\n\n")
    made = scripted()
    monkeypatch.setattr(room, "_loaded", lambda name: made)
    told = []
    out, png = tmp_path / "p.json", tmp_path / "h.png"
    found = heads(
        "any", trials=3, lengths="260", threshold=1, facts=str(facts), out=str(out), png=str(png), progress=told.append
    )
    assert told == [1, 1, 1]
    assert "3 of 3 needles repeated" in found.text
    assert found.data == json.loads(out.read_text())
    assert HeadProfile.load(out, made).threshold == 0.01
    assert png.read_bytes().startswith(b"\x89PNG")


def test_needles_are_put_to_each_policy_and_drawn(model, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    told: list[object] = []
    found = needle(
        policy="none,sink_window",
        out=str(tmp_path / "out"),
        png=str(tmp_path / "n.png"),
        progress=told.append,
        **NEEDLES,
    )
    grids = found.data["grids"]  # type: ignore[index,call-overload]  # a JSON object
    assert [(g["policy"], g["ratio"], len(g["rows"])) for g in grids] == [("none", 0.0, 4), ("sink_window", 0.5, 4)]
    assert set(found.data["curves"]) == {"none", "sink_window, 50 % gone"}  # type: ignore[index,call-overload,arg-type]
    assert len(told) == 8
    assert sorted(f.name for f in tmp_path.iterdir() if f.suffix != ".json") == [
        "n-forgetting.png", "n-none.png", "n-sink_window.png", "out",
    ]  # fmt: skip
    again = needle(policy="none,sink_window", out=str(tmp_path / "out"), **NEEDLES)
    assert again.data == found.data  # from the logs, times and all
    json.dumps(found.data)


def test_the_desk_has_needles_beside_memories(model, tmp_path) -> None:
    found = measured("needle", policy="snap_kv", out=str(tmp_path), items=2, **NEEDLES)
    assert "### needle: tiny, snap_kv, 50 % of the entries gone, question unseen" in found.text
    assert found.is_good
    verb = next(verb for verb in VERBS if verb.name == "measure")
    values = {"task": "needle", "policy": "random", "out": str(tmp_path), "items": 1, **NEEDLES}
    assert "random" in "\n".join(verb.run(None, values).lines)  # type: ignore[arg-type,attr-defined]  # it opens no memory


def test_the_numbers_of_pictures_lie_beside_them(model, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    needle(policy="none,sink_window", out=str(tmp_path / "out"), png=str(tmp_path / "n.png"), **NEEDLES)
    kinds = {}
    for file in sorted(tmp_path.glob("*.json")):
        assert file.with_suffix(".png").exists()
        kinds[file.name], data = load_picture_data(file)
        changed = {key: value for key, value in data.items() if key not in ("cells", "curves")}
        save_picture_data(tmp_path / "changed.png", kinds[file.name], changed)
        with pytest.raises(BadInput, match="no data of a picture"):
            load_picture_data(tmp_path / "changed.json")
    assert kinds == {
        "n-none.json": "needle map", "n-sink_window.json": "needle map", "n-forgetting.json": "forgetting curves"
    }  # fmt: skip
    (tmp_path / "x.json").write_text("[1, ")
    with pytest.raises(BadInput, match="cannot be read"):
        load_picture_data(tmp_path / "x.json")
    with pytest.raises(NotFound):
        load_picture_data(tmp_path / "none.json")


def test_a_picture_that_could_not_be_drawn_is_refused_before_the_work(monkeypatch, tmp_path) -> None:
    def loaded(name: str) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(room, "_loaded", loaded)
    for path in ("none/p.json", "none/h.png"):
        with pytest.raises(BadInput, match="there is no folder"):
            heads("any", **{"png" if path.endswith("png") else "out": str(tmp_path / path)})
    with pytest.raises(BadInput, match="there is no folder"):
        needle(out=str(tmp_path), png=str(tmp_path / "none" / "n.png"))
    with pytest.raises(BadInput, match="PNG"):
        heads("any", png=str(tmp_path / "h.svg"))


def test_no_picture_replaces_what_was_read_or_is_written(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(room, "_loaded", lambda name: pytest.fail("the model was loaded"))
    profile = tmp_path / "h.json"
    profile.write_text("what a search of hours found")
    with pytest.raises(BadInput, match="would replace"):
        heads("any", out=str(profile), png=str(tmp_path / "h.png"))
    with pytest.raises(BadInput, match="would replace"):
        needle(policy="none", out=str(tmp_path), profile=str(profile), png=str(tmp_path / "h.png"))
    beside = tmp_path / "h-kvzip.json"
    with pytest.raises(BadInput, match="would replace"):
        needle(policy="none,kvzip", out=str(tmp_path), profile=str(beside), png=str(tmp_path / "h.png"))
    assert profile.read_text() == "what a search of hours found"


def test_needles_that_cannot_be_put_are_said(model, tmp_path) -> None:
    for wrong, what in (({"depths": "2"}, "depths from 0 to 1"), ({"lengths": "99999"}, "more than the")):
        with pytest.raises(BadInput, match=what):
            needle(out=str(tmp_path), **{**NEEDLES, **wrong})
    with pytest.raises(ModelError, match="none of 4 needles"):
        needle(out=str(tmp_path), **{**NEEDLES, "lengths": "20"})


def test_what_cannot_be_read_is_refused(model, tmp_path) -> None:
    wrongs = ({"ratio": "much"}, {"ratio": "7"}, {"ratio": "0.1,0.2"}, {"lengths": ""}, {"depths": "0;1"})
    for wrong in (*wrongs, {"question": "later"}, {"policy": " ,"}):
        with pytest.raises(BadInput):
            needle(out=str(tmp_path), **{**NEEDLES, **wrong})
    with pytest.raises(NotFound):
        needle(policy="snap", out=str(tmp_path), **NEEDLES)
    for text, kind in (("", BadInput), ("[]", BadInput), ('{"told": "a"}', BadInput), (None, NotFound)):
        file = tmp_path / ("facts" if text is not None else "nothing")
        file.write_text(text) if text is not None else None
        with pytest.raises(kind):
            heads("any", facts=str(file))
    (tmp_path / "empty.txt").write_text("word")
    with pytest.raises(BadInput, match="no sentences"):
        heads("any", text=str(tmp_path / "empty.txt"))
