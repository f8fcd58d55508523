"""A model that cannot be had is refused at once, in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

hub = pytest.importorskip("huggingface_hub")

from pinyon.errors import ModelError  # noqa: E402
from pinyon.models._hub import check_hub  # noqa: E402


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that nobody reaches, and what was asked of it."""
    asked: list[str] = []

    def refuse(self: object, model: str, **rest: object) -> object:
        asked.append(model)
        raise ConnectionError("Name or service not known\nand much more")

    monkeypatch.setattr(hub.HfApi, "model_info", refuse)
    return asked


def test_what_is_neither_here_nor_there_is_refused(offline: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda model, file: None)
    with pytest.raises(ModelError) as caught:
        check_hub("nope")
    said = "the model 'nope' cannot be loaded: it is no folder, and the Hugging Face hub has it not: Name or service"
    assert caught.value.message == f"{said} not known"
    assert offline == ["nope"]


def test_what_is_here_is_not_asked_for(
    offline: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_hub(str(tmp_path))
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda model, file: str(tmp_path / file))
    check_hub("known/model")
    assert offline == []


@pytest.mark.parametrize("load", ["Backbone", "LocalGenerator", "HuggingFaceEmbedder"])
def test_every_way_to_load_one_looks_first(load: str, offline: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from pinyon.models import HuggingFaceEmbedder, LocalGenerator, Message
    from pinyon.models.backbone import Backbone

    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda model, file: None)
    ways: dict[str, Callable[[], object]] = {
        "Backbone": lambda: Backbone.load("nope"),
        "LocalGenerator": lambda: LocalGenerator("nope").generate([Message("user", "hello")]),
        "HuggingFaceEmbedder": lambda: HuggingFaceEmbedder("nope").dimensions,
    }
    with pytest.raises(ModelError, match="hub has it not"):
        ways[load]()
    assert offline == ["nope"]
