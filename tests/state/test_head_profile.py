from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

torch = pytest.importorskip("torch")

from head_worlds import profile_of  # noqa: E402
from state_worlds import tiny  # noqa: E402

from pinyon import Memory  # noqa: E402
from pinyon.core.cube import Draft  # noqa: E402
from pinyon.core.payload import State, payload_from_json, payload_to_json  # noqa: E402
from pinyon.errors import BadInput, Damaged, NotFound, StoreError, TooNew  # noqa: E402
from pinyon.models.fingerprint import Fingerprint, mismatch  # noqa: E402
from pinyon.state.head_profile import FORMAT, HeadProfile, HeadTrial, stability  # noqa: E402
from pinyon.state.prefix import why_not  # noqa: E402
from pinyon.store import MemoryBlobs  # noqa: E402


class Sealed:
    """A cube as far as a profile looks at it."""

    def __init__(self, payload) -> None:
        self.payload, self.id = payload, "c" * 32


def test_another_model_is_refused_in_words(tmp_path) -> None:
    mine, other = tiny(seed=0), tiny(seed=1)
    profile_of(mine).save(tmp_path / "p.json")
    with pytest.raises(BadInput, match="another model: the weights differ"):
        HeadProfile.load(tmp_path / "p.json", other)
    assert HeadProfile.load(tmp_path / "p.json") == profile_of(mine)


def test_a_cube_keeps_a_profile_with_the_model_it_belongs_to() -> None:
    backbone, blobs = tiny(), MemoryBlobs()
    profile = profile_of(backbone)
    draft = profile.draft(blobs)
    assert isinstance(draft, Draft)
    assert isinstance(draft.payload, State)
    assert draft.payload.format == FORMAT
    assert not mismatch(Fingerprint.from_json(draft.payload.binding), backbone.fingerprint)
    again = Sealed(payload_from_json(json.loads(json.dumps(payload_to_json(draft.payload)))))
    assert HeadProfile.of_cube(again, blobs, backbone) == profile
    with pytest.raises(BadInput, match="another model"):
        HeadProfile.of_cube(again, blobs, tiny(seed=3))
    assert profile_of(backbone, [(0, 0, 1.0)]).draft(blobs).key == draft.key  # a later one takes its place
    assert profile_of(tiny(seed=3)).draft(blobs).key != draft.key


def test_a_cube_of_something_else_is_refused_and_a_profile_is_no_cache() -> None:
    backbone, blobs = tiny(), MemoryBlobs()
    with pytest.raises(BadInput, match="keeps no head profile"):
        HeadProfile.of_cube(Sealed(State((blobs.put(b"x"),), backbone.binding())), blobs)
    assert "no cache" in why_not(profile_of(backbone).draft(blobs).payload, backbone.binding())


def test_a_file_that_is_none_is_refused(tmp_path) -> None:
    file = tmp_path / "p.json"
    with pytest.raises(NotFound):
        HeadProfile.load(file)
    good = profile_of(tiny()).to_json()
    for text in ("", "[]", "{}", '{"format": "other"}', json.dumps({**good, "trials": [{"told": 1}]}), "\xff"):
        file.write_text(text, encoding="latin-1")
        with pytest.raises(Damaged):
            HeadProfile.load(file)
    file.write_text(json.dumps({**good, "version": 99}))
    with pytest.raises(TooNew):
        HeadProfile.load(file)
    with pytest.raises(StoreError):
        profile_of(tiny()).save(tmp_path / "no such folder" / "p.json")


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": 0.0}, {"threshold": 1.1}, {"hits": [(3, 0, 0.5)]}, {"hits": [(0, 4, 0.5)]}, {"hits": [(0, 0, 1.5)]}],
)
def test_what_no_model_has_is_refused(wrong) -> None:
    with pytest.raises(BadInput):
        profile_of(tiny(), **wrong)
    with pytest.raises(BadInput, match="do not share"):
        HeadProfile(2, 4, 3, (), {})


def test_a_profile_without_trials_says_that_no_head_copies() -> None:
    empty = HeadProfile(2, 4, 2, (), {})
    assert (empty.retrieval_heads, set(empty.scores.values())) == ((), {0.0})


def test_stability_is_the_correlation_over_heads() -> None:
    backbone = tiny()
    one = profile_of(backbone, [(0, 0, 1.0), (1, 1, 0.5)])
    assert stability(one, one) == pytest.approx(1.0)
    other = profile_of(backbone, [(0, 0, 0.9), (2, 2, 0.5)])
    values = [[p.scores[head] for head in sorted(p.scores)] for p in (one, other)]
    assert stability(one, other) == pytest.approx(float(torch.corrcoef(torch.tensor(values))[0, 1]), abs=1e-6)
    assert stability(one, profile_of(backbone, [])) == 0.0
    with pytest.raises(BadInput, match="unequal shape"):
        stability(one, HeadProfile(2, 4, 2, (), {}))


def test_a_trial_counts_from_above_one_half() -> None:
    given = {"told": "a", "length": 9, "depth": 0.0, "seed": 0, "answer": "", "hits": ()}
    assert [HeadTrial(recall=recall, **given).is_counted for recall in (0.5, 0.51)] == [False, True]


def test_a_memory_keeps_it_and_search_does_not_find_it() -> None:
    backbone = tiny()
    with Memory.open(":memory:") as memory:
        memory.add("Retrieval heads are found by needles.")
        blobs = memory.store.engine.blobs
        draft = profile_of(backbone).draft(blobs)
        given = {"owner": memory.scope, "space": memory.space, "now": datetime.now(UTC)}
        placed = [memory.store.put([draft], **given)[0] for _ in range(2)]
        assert placed[0].cube.id == placed[1].cube.id
        kept = memory.get(placed[0].cube.id)
        assert HeadProfile.of_cube(kept, blobs, backbone) == profile_of(backbone)
        assert [hit.cube.text for hit in memory.search("retrieval heads needles").hits] == [
            "Retrieval heads are found by needles."
        ]
