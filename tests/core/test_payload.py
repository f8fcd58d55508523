"""What a cube holds, written and read back."""

from __future__ import annotations

from pinyon.core.cube import seal_hash
from pinyon.core.header import Header
from pinyon.core.payload import Blob, State, payload_from_json, payload_to_json

BLOB = Blob("ab" * 32, 7)


def test_a_state_comes_back_with_its_details() -> None:
    state = State((BLOB,), {"weights": "w"}, tokens=3, details={"form": "int8", "errors": {"keys_max": 0.1}})
    assert payload_from_json(payload_to_json(state)) == state


def test_a_state_without_details_is_written_and_sealed_as_before_there_were_any() -> None:
    state = State((BLOB,), {"weights": "w"}, tokens=3)
    said = {
        "kind": "state",
        "format": "kv_cache",
        "blobs": [{"sha256": "ab" * 32, "bytes": 7, "role": "tensors"}],
        "binding": {"weights": "w"},
        "tokens": 3,
    }
    assert payload_to_json(state) == said
    assert payload_from_json(said) == state
    assert seal_hash(state, Header(), "") == "f7e4b950c8b93e59ae8cb1f69514581d88ba8ac186ea0b34fc7687423c92a3d2"
