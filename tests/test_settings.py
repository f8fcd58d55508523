"""Settings: the environment wins over the file, and neither surprises."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinyon.errors import BadInput
from pinyon.settings import key_of_mount, load_settings


def test_without_anything_the_memory_lies_in_the_folder_of_user_data(tmp_path: Path) -> None:
    settings = load_settings({"HOME": str(tmp_path)}, folder=tmp_path)
    assert settings.path == str(tmp_path / ".local" / "share" / "pinyon" / "memory.db")
    assert (settings.space, settings.user, settings.durability) == ("main", None, "full")


def test_what_is_made_of_models_rests_in_the_cache_unless_said_otherwise(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert load_settings(home, folder=tmp_path).model_cache == str(tmp_path / ".cache" / "pinyon-models")
    (tmp_path / "config.toml").write_text('model_cache = "/models"\n')
    assert load_settings(home, folder=tmp_path).model_cache == "/models"
    assert load_settings(home | {"PINYON_MODEL_CACHE": "/mine"}, folder=tmp_path).model_cache == "/mine"


def test_the_model_of_states_is_a_setting(tmp_path: Path) -> None:
    assert load_settings({}, folder=tmp_path).backbone is None
    (tmp_path / "config.toml").write_text('backbone = "smollm2"')
    assert load_settings({}, folder=tmp_path).backbone == "smollm2"
    assert load_settings({"PINYON_BACKBONE": "there@cuda"}, folder=tmp_path).backbone == "there@cuda"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('user = "ann"\nspace = "home"\n')
    settings = load_settings({"HOME": str(tmp_path), "PINYON_USER": "bob"}, folder=tmp_path)
    assert (settings.user, settings.space) == ("bob", "home")


@pytest.mark.parametrize(
    ("generator", "variable"), [("anthropic:x", "ANTHROPIC_API_KEY"), ("openai:x@http://h", "OPENAI_API_KEY")]
)
def test_the_key_of_the_service_is_found(tmp_path: Path, generator: str, variable: str) -> None:
    environment = {"HOME": str(tmp_path), "PINYON_GENERATOR": generator, variable: "secret"}
    assert load_settings(environment, folder=tmp_path).api_key == "secret"


@pytest.mark.parametrize("text", ["colour = 3\n", "not toml", "\x00"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(BadInput, match=r"config\.toml"):
        load_settings({"HOME": str(tmp_path)}, folder=tmp_path)


def test_the_key_of_a_mount_is_a_file_before_it_is_a_passphrase() -> None:
    both = {"PINYON_MOUNT_THE_TEAM_KEY": "a passphrase", "PINYON_MOUNT_THE_TEAM_KEY_FILE": "/keys/team"}
    assert key_of_mount("the team", both) == Path("/keys/team")
    assert key_of_mount("the-team", {"PINYON_MOUNT_THE_TEAM_KEY": "a passphrase"}) == "a passphrase"
    assert key_of_mount("team", both) is None
