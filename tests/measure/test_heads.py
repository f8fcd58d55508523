from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from head_worlds import ANSWER, scripted  # noqa: E402
from state_worlds import tiny, tokenizer  # noqa: E402

import pinyon.measure.heads as room  # noqa: E402
from pinyon.errors import BadInput, NotFound  # noqa: E402
from pinyon.measure.desk import measured  # noqa: E402
from pinyon.measure.heads import heads, needle  # noqa: E402
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
    assert sorted(f.name for f in tmp_path.iterdir()) == [
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


def test_what_cannot_be_read_is_refused(model, tmp_path) -> None:
    wrongs = ({"ratio": "much"}, {"ratio": "7"}, {"ratio": "0.1,0.2"}, {"lengths": ""}, {"depths": "0;1"})
    for wrong in (*wrongs, {"question": "later"}):
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
