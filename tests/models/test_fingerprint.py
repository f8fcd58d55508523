"""A state is bound to everything it depends on beside its text."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from typing import Any  # noqa: E402

from tiny_networks import backbone_of, network_of, some_ids  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.models import _loading, _marks  # noqa: E402
from pinyon.models import fingerprint as room  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.models.fingerprint import Fingerprint, FingerprintMaker, mismatch, weights_digest  # noqa: E402


def tokenizer_of(*words: str, template: str | None = "{{ messages }}") -> Any:
    from tokenizers import Tokenizer, models

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(("<unk>", *words))}, unk_token="<unk>"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    tokenizer.chat_template = template
    return tokenizer


def bound(network: Any = None, tokenizer: Any = None, adapters: tuple[str, ...] = ()) -> Fingerprint:
    return FingerprintMaker(network or network_of("llama"), tokenizer or tokenizer_of("one", "two")).make(adapters)


def nudged(network: Any) -> Any:
    with torch.no_grad():
        network.model.layers[1].mlp.up_proj.weight[3, 4] += 2**-20
    return network


def test_the_same_network_has_the_same_fingerprint() -> None:
    assert bound() == bound()
    assert mismatch(bound(), bound()) == []
    assert bound().digest == bound().digest


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: bound(nudged(network_of("llama"))), ["the weights differ"]),
        (lambda: bound(tokenizer=tokenizer_of("two", "one")), ["the tokenizer differs"]),
        (lambda: bound(tokenizer=tokenizer_of("one", "two", template="x")), ["the chat template differs"]),
        (lambda: bound(tokenizer=tokenizer_of("one", "two", template=None)), ["the chat template differs"]),
        (lambda: bound(adapters=("a",)), ["the adapters differ"]),
        (
            lambda: bound(network_of("llama", rope_parameters={"rope_type": "default", "rope_theta": 5e5})),
            ["the rotary positions differ"],
        ),
        (lambda: bound(network_of("llama", rms_norm_eps=1e-3)), ["the architecture differs"]),
        (
            lambda: bound(network_of("llama", dtype=torch.float64)),
            ["the weights differ", "the number type differs ('float32' and 'float64')"],
        ),
    ],
)
def test_what_a_state_depends_on_is_named_when_it_differs(other: Callable[[], Fingerprint], words: list[str]) -> None:
    assert mismatch(bound(), other()) == words
    assert bound().digest != other().digest


def test_the_order_of_adapters_counts() -> None:
    assert mismatch(bound(adapters=("a", "b")), bound(adapters=("b", "a"))) == ["the adapters differ"]


def test_padding_that_a_call_left_behind_does_not_count() -> None:
    tokenizer = tokenizer_of("one", "two")
    tokenizer.add_special_tokens({"pad_token": "<unk>"})
    before = bound(tokenizer=tokenizer)
    tokenizer(["one", "two two"], padding=True, truncation=True, max_length=2)
    assert bound(tokenizer=tokenizer) == before


def test_a_token_that_is_added_later_is_noticed() -> None:
    backbone = Backbone(network_of("llama"), tokenizer_of("one", "two"), "mine")
    before = backbone.fingerprint
    assert backbone.fingerprint == before
    backbone.tokenizer.add_tokens(["three"])
    assert mismatch(before, backbone.fingerprint) == ["the tokenizer differs"]


def test_a_weight_written_to_in_place_is_noticed_and_undone_it_is_forgotten() -> None:
    backbone = backbone_of()
    before = backbone.fingerprint
    weight = backbone.network.model.layers[0].self_attn.q_proj.weight
    old = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0] += 1.0
    assert mismatch(before, backbone.fingerprint) == ["the weights differ"]
    with torch.no_grad():
        weight.copy_(old)
    assert backbone.fingerprint == before


def test_names_types_and_shapes_of_tensors_count_beside_their_bytes() -> None:
    part = torch.arange(6, dtype=torch.float32)
    digests = {
        weights_digest(weights)
        for weights in (
            {"a": part},
            {"b": part},
            {"a": part.reshape(2, 3)},
            {"a": part.view(torch.int32)},
            {"a": part, "b": torch.zeros(0)},
            {"a": part[:3].clone(), "b": part[3:].clone()},
            {"a": part, "b": part},
        )
    }
    assert len(digests) == 7
    assert weights_digest({"a": part, "b": part + 1}) == weights_digest({"b": part + 1, "a": part.clone()})
    assert weights_digest({"a": part.reshape(2, 3).T}) == weights_digest({"a": part.reshape(2, 3).T.contiguous()})


def test_large_tensors_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    part = torch.randn(1000)
    whole = weights_digest({"a": part})
    monkeypatch.setattr(room, "_BLOCK", 64)
    assert weights_digest({"a": part}) == whole


def test_a_fingerprint_survives_as_json() -> None:
    backbone = backbone_of()
    binding = backbone.binding(adapters=["x", "y"])
    again = Fingerprint.from_json(binding)
    assert again == replace(backbone.fingerprint, adapters=("x", "y"))
    del binding["rope"]
    with pytest.raises(BadInput, match="a fingerprint names weights"):
        Fingerprint.from_json(binding)
    with pytest.raises(BadInput):
        Fingerprint.from_json({**again.as_json(), "adapters": "x"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    network_of("llama").save_pretrained(place)
    tokenizer_of("one", "two").save_pretrained(place)
    return place


def test_weights_of_the_same_files_are_hashed_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = weights_digest
    monkeypatch.setattr(room, "weights_digest", lambda weights: calls.append(1) or real(weights))
    load = lambda dtype=None: Backbone.load(folder, cache_folder=tmp_path / "kept", dtype=dtype)  # noqa: E731
    first = load().fingerprint
    assert load().fingerprint == first
    assert len(calls) == 1
    assert load("float64").fingerprint.weights != first.weights
    nudged(network_of("llama")).save_pretrained(folder)
    assert mismatch(first, load().fingerprint) == ["the weights differ"]
    assert len(calls) == 3


def test_what_was_changed_after_loading_is_hashed_again(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first = Backbone.load(folder, cache_folder=kept).fingerprint
    backbone = Backbone.load(folder, cache_folder=kept)
    nudged(backbone.network)
    assert mismatch(first, backbone.fingerprint) == ["the weights differ"]
    assert Backbone.load(folder, cache_folder=kept).fingerprint == first


def test_a_kept_digest_that_is_torn_is_made_again(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first = Backbone.load(folder, cache_folder=kept).fingerprint
    (file,) = (kept / "fingerprints").iterdir()
    file.write_text(first.weights[:30])
    assert Backbone.load(folder, cache_folder=kept).fingerprint == first
    assert file.read_text() == first.weights


def test_a_folder_that_cannot_be_written_to_only_costs_time(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    backbone = Backbone.load(folder, cache_folder=tmp_path / "kept")
    assert backbone.fingerprint.weights == weights_digest(backbone.network.state_dict())


def test_a_loaded_network_and_the_same_as_an_object_agree(folder: Path, tmp_path: Path) -> None:
    loaded = Backbone.load(folder, cache_folder=tmp_path)
    given = Backbone(loaded.network, loaded.tokenizer, "another name")
    assert loaded.fingerprint == given.fingerprint
    assert torch.equal(loaded.forward(some_ids(5)), given.forward(some_ids(5)))


@pytest.mark.parametrize(
    "write",
    [
        lambda weight: weight.data.add_(0.5),
        lambda weight: weight.data.mul_(1.01),
        lambda weight: weight.detach().numpy().__setitem__(slice(None), 0.0),
        lambda weight: weight.data.__setitem__(slice(3, None), 0.0),
    ],
    ids=["data", "small", "numpy", "rows"],
)
@pytest.mark.parametrize("name", ["model.layers.1.self_attn.q_proj.weight", "lm_head.weight", "model.norm.weight"])
def test_a_write_that_torch_does_not_count_is_noticed(write: Callable[[Any], object], name: str) -> None:
    backbone = backbone_of()
    before = backbone.fingerprint
    weight = backbone.network.get_parameter(name)
    version = weight._version
    write(weight)
    assert weight._version == version
    assert mismatch(before, backbone.fingerprint) == ["the weights differ"]


def test_another_model_under_the_same_name_size_and_time_is_another(folder: Path, tmp_path: Path) -> None:
    def written(network: Any) -> Fingerprint:
        network.save_pretrained(folder)
        for file in folder.iterdir():
            os.utime(file, (1_000_000, 1_000_000))
        return Backbone.load(folder, cache_folder=tmp_path / "kept").fingerprint

    first = written(network_of("llama"))
    assert mismatch(first, written(network_of("llama", seed=1))) == ["the weights differ"]
    assert written(network_of("llama")) == first


def test_files_that_change_while_they_are_read_name_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = network_of("llama", seed=1)
    real = _loading._from

    def replaced(kind: str, source: str, **options: Any) -> Any:
        found = real(kind, source, **options)
        if kind == "AutoModelForCausalLM":
            other.save_pretrained(folder)
        return found

    kept = tmp_path / "kept"
    with monkeypatch.context() as patched:
        patched.setattr(_loading, "_from", replaced)
        torn = Backbone.load(folder, cache_folder=kept)
    assert torn.fingerprint.weights == weights_digest(torn.network.state_dict())
    assert Backbone.load(folder, cache_folder=kept).fingerprint.weights == weights_digest(other.state_dict())


def rebuilt(tokenizer: Any, change: Callable[[dict[str, Any]], None]) -> None:
    """Put a changed tokenizer in the place of the inner one."""
    from tokenizers import Tokenizer

    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    change(rules)
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(rules))


def other_merge(tokenizer: Any) -> None:
    from tokenizers import models

    words = tokenizer.get_vocab()
    tokenizer.backend_tokenizer.model = models.BPE(vocab=words, merges=[("b", "c")])


def lower(tokenizer: Any) -> None:
    from tokenizers import normalizers

    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


def unknown(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.model.unk_token = "a"


@pytest.mark.parametrize(
    "change",
    [other_merge, lower, unknown, lambda tokenizer: rebuilt(tokenizer, lambda rules: rules["model"]["merges"].clear())],
    ids=["merge", "normalizer", "unknown", "inner"],
)
def test_a_rule_of_the_tokenizer_that_changes_later_is_noticed(change: Callable[[Any], None]) -> None:
    from tokenizers import Tokenizer, models

    words = {word: number for number, word in enumerate(["a", "b", "c", "ab", "bc"])}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab=words, merges=[("a", "b")]))
    )
    backbone = Backbone(network_of("llama"), tokenizer, "mine")
    before = backbone.fingerprint
    assert backbone.fingerprint == before
    change(tokenizer)
    assert mismatch(before, backbone.fingerprint) == ["the tokenizer differs"]


def test_a_large_vocabulary_is_seen_whole_in_some_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import models

    monkeypatch.setattr(_marks, "_PIECES", 4)
    tokenizer = tokenizer_of(*(f"w{number}" for number in range(30)))
    marks = _marks.TokenizerMarks(tokenizer)
    assert all(marks.is_the_same() for _ in range(20))
    words = tokenizer.get_vocab()
    words["w7"], words["w8"] = words["w8"], words["w7"]
    tokenizer.backend_tokenizer.model = models.WordLevel(words, unk_token="<unk>")
    assert not all(marks.is_the_same() for _ in range(8))


class Added(torch.nn.Module):
    """An adapter by hand, with a flag that is no tensor."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.base, self.on, self.scaling = base, True, {"mine": 2.0}
        self.up = torch.nn.Parameter(torch.ones(base.out_features, base.in_features) / 9)

    def forward(self, given: Any) -> Any:
        more = given @ self.up.T * self.scaling["mine"] if self.on else 0
        return self.base(given) + more


class Peft(Added):
    """One that tells of itself as those of peft do."""

    def __init__(self, base: Any) -> None:
        super().__init__(base)
        self._active_adapter: Any = "mine"
        self._disable_adapters = False

    @property
    def active_adapters(self) -> list[str]:
        return [self._active_adapter] if isinstance(self._active_adapter, str) else self._active_adapter

    @property
    def disable_adapters(self) -> bool:
        return self._disable_adapters


def switched(adapter: Any) -> None:
    adapter.on = False


def scaled(adapter: Any) -> None:
    adapter.scaling["mine"] = 1.0


def disabled(adapter: Any) -> None:
    adapter._disable_adapters = True


def inactive(adapter: Any) -> None:
    adapter._active_adapter = []


@pytest.mark.parametrize(
    ("kind", "change"),
    [(Added, switched), (Added, scaled), (Peft, disabled), (Peft, inactive), (Peft, scaled)],
)
def test_an_adapter_that_is_switched_is_noticed(kind: Any, change: Callable[[Any], None]) -> None:
    backbone = backbone_of()
    plain = backbone.fingerprint
    assert plain.adapters == ()
    attention = backbone.network.model.layers[0].self_attn
    attention.q_proj = kind(attention.q_proj)
    on = backbone.fingerprint
    assert mismatch(plain, on) == ["the weights differ", "the adapters differ"]
    assert backbone.fingerprint == on
    change(attention.q_proj)
    assert mismatch(on, backbone.fingerprint) == ["the adapters differ"]


def test_an_adapter_that_says_the_same_in_another_way_is_the_same() -> None:
    backbone = backbone_of()
    attention = backbone.network.model.layers[0].self_attn
    attention.q_proj = Peft(attention.q_proj)
    before = backbone.fingerprint
    attention.q_proj._active_adapter = ["mine"]
    assert backbone.fingerprint == before


def test_what_no_module_shows_is_named_when_the_backbone_is_made() -> None:
    network = network_of("llama")
    backbone = Backbone(network, None, "mine", adapters=["steering"])
    plain = Backbone(network, None, "mine")
    assert mismatch(plain.fingerprint, backbone.fingerprint) == ["the adapters differ"]
    assert backbone.binding() == plain.binding(["steering"])
