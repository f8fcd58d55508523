"""A local model with an inside, on tiny networks of every family."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from typing import Any  # noqa: E402

from tiny_networks import (  # noqa: E402
    FAMILIES,
    HEADS,
    KV_HEADS,
    LAYERS,
    VOCABULARY,
    WIDTH,
    backbone_of,
    network_of,
    random_cuts,
    some_ids,
)

from pinyon.errors import BadInput, MissingExtra, ModelError  # noqa: E402
from pinyon.models._network import surprise  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.models.base import Generator, Message  # noqa: E402
from pinyon.models.cache import CacheShape, StateCache  # noqa: E402
from pinyon.models.taps import AttentionRows, Site, Taps  # noqa: E402
from pinyon.testing import small_model  # noqa: E402


def plain(backbone: Backbone, ids: list[int]) -> torch.Tensor:
    """Logits of the network's own slow attention, (q, V)."""
    with torch.no_grad():
        logits: torch.Tensor = backbone.network(torch.tensor([ids]), use_cache=False).logits[0]
        return logits


def spoken(tokenizer_template: str | None = None) -> Backbone:
    """A backbone with a tokenizer of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<unk>", "<s>", "</s>", *"user assistant system : what is red the key where".split()]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = tokenizer_template
    return Backbone(network_of("llama", vocab_size=len(words)), tokenizer, "spoken")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_reading_in_chunks_equals_a_plain_forward(family: str, chunk: int) -> None:
    backbone, ids = backbone_of(family), some_ids(40)
    expected, cache, found = plain(backbone, ids), backbone.cache(), []
    for start in range(0, 40, chunk):
        found.append(backbone.forward(ids[start : start + chunk], cache, logits="all"))
    assert (torch.cat(found) - expected).abs().max() <= 1e-4
    assert (cache.read, cache.next_position, len(cache)) == (40, 40, 40)
    assert cache.nbytes == 40 * backbone.bytes_per_token


@pytest.mark.parametrize("family", FAMILIES)
def test_written_tokens_equal_those_of_transformers_with_its_own_cache(family: str) -> None:
    backbone, ids = backbone_of(family), some_ids(20)
    options = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    expected = backbone.network.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, 20), **options
    )[0, 20:].tolist()  # fmt: skip
    assert list(backbone.continuation(ids, max_tokens=24, stop=()).ids) == expected


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3"])
def test_a_batch_of_equal_lengths_is_read_as_each_text_alone(family: str) -> None:
    backbone = backbone_of(family)
    texts = torch.tensor([some_ids(13, seed) for seed in (1, 2, 3)])
    cache = backbone.cache()
    backbone.forward(texts[:, :8], cache)
    together = backbone.forward(texts[:, 8:], cache, logits="all")
    assert together.shape == (3, 5, VOCABULARY)
    for text, found in zip(texts.tolist(), together, strict=True):
        assert (found - plain(backbone, text)[8:]).abs().max() <= 1e-4
    assert cache.tokens.ids.tolist() == [-1] * 13
    with pytest.raises(BadInput, match="holds 3 texts, 1 were given"):
        backbone.forward([5], cache)
    with pytest.raises(BadInput, match="one text at a time"):
        backbone.prefill(texts, backbone.cache())


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3"])
def test_a_position_gap_is_what_transformers_makes_of_it(family: str) -> None:
    backbone, ids = backbone_of(family), some_ids(8)
    places = [0, 1, 2, 3, 40, 41, 42, 43]
    cache = backbone.cache()
    backbone.forward(ids[:4], cache)
    found = backbone.forward(ids[4:], cache, positions=places[4:], logits="all")
    assert cache.next_position == 44
    # No window of these networks reaches over the gap; the plain network would hide by place in the cache.
    fresh = backbone.forward(ids[4:], positions=places[4:], logits="all")
    if family == "mistral":  # every layer slides
        assert (found - fresh).abs().max() <= 1e-5
    else:
        assert (found - fresh).abs().max() > 1e-3


def test_a_window_hides_by_position_also_for_one_token() -> None:
    backbone, ids = backbone_of("mistral", num_hidden_layers=1), some_ids(30)
    cache = backbone.cache()
    backbone.forward(ids[:29], cache)
    whole = backbone.forward(ids[29:], cache.clone())
    cache.keep_everywhere(torch.arange(21, 29))  # the window holds nine positions with the token's own
    assert torch.allclose(backbone.forward(ids[29:], cache.clone()), whole, atol=1e-5)
    cache.keep_everywhere(torch.arange(1, 8))
    assert not torch.allclose(backbone.forward(ids[29:], cache), whole, atol=1e-3)


def test_one_query_without_a_window_builds_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    from pinyon.models import _attention

    seen: list[bool] = []
    real = _attention.scaled_dot_product_attention

    def watched(*args: Any, **options: Any) -> torch.Tensor:
        seen.append(options["attn_mask"] is not None)
        result: torch.Tensor = real(*args, **options)
        return result

    monkeypatch.setattr(_attention, "scaled_dot_product_attention", watched)
    backbone = backbone_of("llama")
    cache = backbone.cache()
    backbone.forward(some_ids(9), cache)
    backbone.forward([5], cache)
    assert seen == [False] * (2 * LAYERS)
    backbone.forward([5, 6], cache)
    assert seen == [False] * (2 * LAYERS) + [True] * LAYERS


def test_surprisal_is_the_cross_entropy_of_each_token_across_chunks_and_calls() -> None:
    backbone, ids = backbone_of("qwen3"), some_ids(30)
    cache = backbone.cache()
    backbone.prefill(ids[:11], cache, chunk=4, surprisal=True)
    backbone.prefill(ids[11:], cache, chunk=5, surprisal=True)
    expected = torch.nn.functional.cross_entropy(plain(backbone, ids)[:-1], torch.tensor(ids[1:]), reduction="none")
    assert cache.tokens.surprisal[0].isnan()
    assert torch.allclose(cache.tokens.surprisal[1:], expected, atol=1e-4)
    written = backbone.continuation([], cache, max_tokens=3, stop=(), surprisal=True)
    again = plain(backbone, [*ids, *written.ids]).log_softmax(dim=-1)
    for i, one in enumerate(written.ids):
        assert cache.tokens.surprisal[30 + i].item() == pytest.approx(-again[29 + i, one].item(), abs=1e-4)


def test_after_each_layer_a_caller_sees_entries_and_queries_and_may_cut() -> None:
    backbone, ids = backbone_of("llama"), some_ids(12)
    seen: list[tuple[int, int, tuple[int, ...]]] = []

    def cut(layer: int, entries: Any, queries: torch.Tensor) -> None:
        seen.append((layer, max(entries.lengths()), tuple(queries.shape)))
        scores = queries[:, :KV_HEADS] @ entries.uniform().keys.transpose(-1, -2)  # they are rotated alike
        assert scores.isfinite().all()
        entries.keep([torch.arange(4), torch.arange(4, 8)])

    cache = backbone.cache()
    backbone.prefill(ids[:10], cache, after_layer=cut)
    assert seen == [(layer, 10, (1, HEADS, 10, WIDTH)) for layer in range(LAYERS)]
    assert cache.nbytes == 4 * backbone.bytes_per_token
    assert cache.read == cache.next_position == 10


def test_after_each_chunk_the_cache_may_be_cut_and_progress_is_told() -> None:
    backbone = backbone_of("llama")
    cache, lengths, told = backbone.cache(), [], []

    def cut(cache: StateCache) -> None:
        lengths.append(len(cache))
        cache.keep_everywhere(torch.arange(min(len(cache), 5)))

    backbone.prefill(some_ids(20), cache, chunk=8, after_chunk=cut, progress=told.append)
    assert lengths == [8, 13, 9]
    assert told == [8, 16, 20]


def test_the_cache_has_read_all_that_was_written() -> None:
    backbone, ids = backbone_of("llama"), some_ids(9)
    cache = backbone.cache()
    written = backbone.continuation(ids, cache, max_tokens=5, stop=())
    assert cache.tokens.ids.tolist() == [*ids, *written.ids]
    assert torch.allclose(written.logits, plain(backbone, [*ids, *written.ids])[-1], atol=1e-4)
    assert 0 < written.seconds_to_first <= written.seconds
    assert written.text == ""
    more = backbone.continuation([], cache, max_tokens=3, stop=())
    assert written.ids + more.ids == backbone.continuation(ids, max_tokens=8, stop=()).ids


def test_a_stop_token_ends_the_text_and_is_neither_given_nor_read() -> None:
    backbone, ids = backbone_of("llama"), some_ids(9)
    whole = backbone.continuation(ids, max_tokens=6, stop=()).ids
    cache = backbone.cache()
    last = max(i for i, one in enumerate(whole) if one not in whole[:i])
    written = backbone.continuation(ids, cache, max_tokens=6, stop=[whole[last]])
    assert written.ids == whole[:last]
    assert cache.read == 9 + last
    assert backbone.stop_ids == (2,)


@pytest.mark.parametrize("mode", ["zero", "uniform"])
@pytest.mark.parametrize("cut", [False, True])
def test_silenced_heads_give_zeros_or_the_mean(mode: Any, cut: bool) -> None:
    backbone, ids = backbone_of("gemma3"), some_ids(14)
    cache, taps = backbone.cache(), Taps(record=[Site(0, "heads")], rows=AttentionRows(last=4))
    backbone.forward(ids[:10], cache)
    if cut:
        cache.keep(0, [torch.arange(2, 9), torch.arange(10)])
    backbone.forward(ids[10:], cache, taps=taps, mask_heads=[(0, 1), (0, 3)], mask_mode=mode)
    heads, rows = taps.values[Site(0, "heads")], taps.rows[0]
    layer = cache.layers[0]
    for head in range(HEADS):
        entries = layer.head(head // 2)
        seen = rows[0, head, :, : entries.length] > 0
        weights = seen / seen.sum(dim=-1, keepdim=True) if head in (1, 3) else rows[0, head, :, : entries.length]
        expected = weights @ entries.values[0, 0] * (0.0 if mode == "zero" and head in (1, 3) else 1.0)
        assert torch.allclose(heads[0, :, head], expected, atol=1e-5)


def test_heads_are_silenced_while_reading_while_writing_or_both() -> None:
    backbone, ids = backbone_of("llama"), some_ids(10)
    heads = [(layer, head) for layer in range(LAYERS) for head in range(2)]
    silent, loud = backbone.cache(), backbone.cache()
    backbone.prefill(ids, silent, mask_heads=heads)
    backbone.prefill(ids, loud)
    assert not torch.allclose(silent.logits, loud.logits, atol=1e-3)
    plain_words = backbone.continuation([5], loud.clone(), max_tokens=4, stop=())
    masked = backbone.continuation([5], loud.clone(), max_tokens=4, stop=(), mask_heads=heads)
    assert not torch.allclose(plain_words.logits, masked.logits, atol=1e-3)


def test_two_threads_with_caches_of_their_own_get_what_each_gets_alone() -> None:
    backbone = backbone_of("gemma2")
    texts = [some_ids(25, seed) for seed in range(8)]
    alone = [backbone.continuation(text, max_tokens=12, stop=()).ids for text in texts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: backbone.continuation(text, max_tokens=12, stop=()).ids, texts))
    assert together == alone


def test_two_backbones_of_one_network_in_each_others_way_are_noticed() -> None:
    backbone = backbone_of()
    other = Backbone(backbone.network, None, "other")
    cache = backbone.cache()

    def meddle(layer: int, entries: Any, queries: torch.Tensor) -> None:
        backbone.network.config._attn_implementation = "eager"  # what another thread's backbone does as it ends

    with pytest.raises(ModelError, match="1 of 3 layers"):
        other.forward(some_ids(4), cache, after_layer=meddle)
    assert (cache.read, cache.nbytes, len(cache)) == (0, 0, 0)
    assert bool(cache)


def test_a_network_called_past_its_backbone_meanwhile_says_so() -> None:
    backbone = backbone_of()

    def meddle(layer: int, entries: Any, queries: torch.Tensor) -> None:
        backbone.network(torch.tensor([[3, 4]]))

    with pytest.raises(ModelError, match="while a backbone reads with it"):
        backbone.forward(some_ids(4), after_layer=meddle)
    assert backbone.network.config._attn_implementation == "eager"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no accelerator")
@pytest.mark.parametrize("family", FAMILIES)
def test_an_accelerator_reads_cuts_and_moves_as_the_processor_does(family: str) -> None:
    ids, found = some_ids(30), []
    for device in ("cpu", "cuda"):
        backbone = Backbone(network_of(family).to(device), None, device)
        cache = backbone.cache()
        backbone.prefill(ids[:24], cache, chunk=10, surprisal=True)
        for layer, kept in enumerate(random_cuts(24)):
            cache.keep(layer, kept)
        cache.reposition()
        found.append(backbone.forward(ids[24:], cache, logits="all").cpu())
        cache.crop(24)
        facts = cache.tokens.lookup(cache.layers[0].head(0).origins)
        assert facts.surprisal.device.type == device
    assert (found[0] - found[1]).abs().max() <= 1e-3


def test_the_network_keeps_its_own_attention_and_nothing_global_is_replaced() -> None:
    interface = transformers.AttentionInterface()
    before = {name: interface[name] for name in interface.valid_keys()}
    network = network_of("llama")
    ids = torch.tensor([some_ids(8)])
    expected = network(ids).logits
    backbone = Backbone(network, None, "mine")
    backbone.forward(ids[0])
    assert network.config._attn_implementation == "eager"
    assert torch.equal(network(ids).logits, expected)
    assert all(interface[name] is function for name, function in before.items())


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([], "at least one token"),
        ([3, VOCABULARY], "token id 200 is not in the vocabulary of 'tiny-llama', 0 to 199"),
        ([3, -1], "token id -1 is not in the vocabulary"),
        ([0.5], "whole numbers"),
        (["a"], "whole numbers"),
        ([[1, 2], [3]], "whole numbers"),
        ([[[1]]], "at least one token"),
        ([2**70], "whole numbers"),
    ],
)
def test_ids_that_cannot_be_read_are_refused_in_one_sentence(ids: Any, words: str) -> None:
    backbone, cache = backbone_of(), backbone_of().cache()
    for call in (lambda: backbone.forward(ids, cache), lambda: backbone.continuation(ids, cache)):
        with pytest.raises(BadInput, match=words):
            call()
    assert cache.read == 0


def test_positions_heads_and_caches_that_do_not_fit_are_refused() -> None:
    backbone = backbone_of()
    with pytest.raises(BadInput, match="increase"):
        backbone.forward([3, 4], positions=[5, 5])
    with pytest.raises(BadInput, match="increase"):
        backbone.forward([3, 4], positions=[-1, 5])
    with pytest.raises(BadInput, match="as many positions"):
        backbone.forward([3, 4], positions=[5])
    with pytest.raises(BadInput, match="position 256 lies beyond the 256 positions"):
        backbone.forward([3], positions=[256])
    with pytest.raises(BadInput, match=r"no head \(0, 4\)"):
        backbone.forward([3], mask_heads=[(0, 4)])
    with pytest.raises(BadInput, match="cache is of another model"):
        backbone.forward([3], StateCache(CacheShape(LAYERS, HEADS, WIDTH)))
    cache = backbone.cache()
    backbone.forward([3], cache)
    with pytest.raises(BadInput, match=r"is torch\.float64 on cpu"):
        backbone_of(dtype=torch.float64).forward([3], cache)
    with pytest.raises(BadInput, match="logits must be"):
        backbone.forward([3], logits="some")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="chunk must be >= 1"):
        backbone.prefill([3], backbone.cache(), chunk=0)
    with pytest.raises(BadInput, match="max_tokens must be >= 1"):
        backbone.continuation([3], max_tokens=0)
    with pytest.raises(BadInput, match="without a tokenizer"):
        backbone.encode("words")
    with pytest.raises(BadInput, match="families that work"):
        Backbone(
            transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=20)),
            None,
            "gpt2",
        )


def test_a_text_longer_than_the_model_reads_what_fits_and_says_so() -> None:
    backbone = backbone_of(max_position_embeddings=16)
    cache = backbone.cache()
    with pytest.raises(BadInput, match="position 19 lies beyond the 16 positions"):
        backbone.prefill(some_ids(20), cache, chunk=10)
    assert cache.read == len(cache) == 10
    cache.keep_everywhere(torch.arange(4))
    cache.reposition()
    backbone.forward(some_ids(12), cache)
    assert cache.next_position == 16


def test_a_conversation_is_rendered_read_and_answered() -> None:
    template = "{% for m in messages %}<s>{{ m.role }} : {{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<s>assistant{% endif %}"  # noqa: E501
    backbone, turns = spoken(template), [Message("user", "where is the red key")]
    assert isinstance(backbone, Generator)
    assert backbone.render(turns) == "<s>user : where is the red key</s><s>assistant"
    assert backbone.render(turns, opening=False) == "<s>user : where is the red key</s>"
    assert spoken().render(turns) == "user: where is the red key\nassistant:"
    assert spoken().render(turns, opening=False) == "user: where is the red key"
    assert backbone.decode(backbone.encode("the red key")) == "the red key"
    assert backbone.encode("\ud800 key") == [0, backbone.encode("key")[0]]
    ids = backbone.encode(backbone.render(turns))
    assert backbone.generate(turns, max_tokens=7) == backbone.continuation(ids, max_tokens=7).text
    with pytest.raises(ModelError, match="reads at most 256"):
        backbone.generate([Message("user", "key " * 300)])


def test_shape_and_size_are_those_of_the_network() -> None:
    backbone = backbone_of("qwen2", dtype=torch.bfloat16)
    assert (backbone.n_layers, backbone.n_heads, backbone.n_kv_heads, backbone.head_width) == (
        3,
        HEADS,
        KV_HEADS,
        WIDTH,
    )
    assert (backbone.limit, backbone.vocabulary, backbone.name) == (256, VOCABULARY, "tiny-qwen2")
    assert backbone.bytes_per_token == 2 * LAYERS * KV_HEADS * WIDTH * 2
    assert (backbone.dtype, backbone.device.type) == (torch.bfloat16, "cpu")
    cache = backbone.cache()
    assert backbone.forward(some_ids(4), cache, logits="none") is None
    assert cache.logits is None
    assert cache.nbytes == 4 * backbone.bytes_per_token
    assert backbone.forward(some_ids(4), cache).dtype == torch.float32


@pytest.mark.model
def test_the_small_model_answers_and_agrees_with_transformers() -> None:
    try:
        backbone = Backbone.load(small_model())
    except MissingExtra as missing:
        pytest.skip(missing.message)
    assert "Paris" in backbone.generate([Message("user", "What is the capital of France?")], max_tokens=16)
    ids = backbone.encode("The lighthouse keeper wrote every evening about the weather and the ships that passed. " * 3)
    expected = plain(backbone, ids)
    cache, found = backbone.cache(), []
    for start in range(0, len(ids), 16):
        found.append(backbone.forward(ids[start : start + 16], cache, logits="all"))
    assert (torch.cat(found) - expected).abs().max() <= 1e-3
    assert backbone.bytes_per_token == 46_080


def test_what_is_no_text_and_no_conversation_is_refused() -> None:
    with pytest.raises(BadInput, match="a text is needed, got None"):
        spoken().encode(None)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="at least one message"):
        spoken().generate([])


@pytest.mark.parametrize("count", [0, 1, 32, 70])
def test_surprise_in_blocks_is_that_of_the_whole(count: int) -> None:
    draw = torch.Generator().manual_seed(count)
    logits, targets = torch.randn(count, 50, generator=draw) * 5, torch.randint(50, (count,), generator=draw)
    whole = -logits.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0]
    assert torch.allclose(surprise(logits, targets), whole, atol=1e-5)
