"""The only reader of environment variables and of the configuration file."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from .errors import BadInput

__all__ = ["Settings", "key_for", "key_of_mount", "load_settings", "variable_of_mount", "wants_color"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may set once for every call.

    Each can stand in the environment as ``PINYON_<NAME>`` or in ``config.toml`` under its name; the environment wins.

    Args:
        path: File of the memory.
        space: Default space.
        user: Default user, or None.
        agent: Default agent, or None.
        embedder: ``static``, ``minilm``, ``e5``, ``hf:<id>`` or ``openai:<model>@<url>``; None keeps what the memory
            was made with.
        generator: ``openai:<model>@<url>``, ``anthropic:<model>`` or ``hf:<id>``; None answers by quoting.
        backbone: Local model that states are made with where no call names one, as `Memory.open` takes it, or None.
        judge: As `generator`: the model that is asked whether statements exclude each other; None asks nobody.
        api_key: Key for the embedder or generator; ``OPENAI_API_KEY`` and ``ANTHROPIC_API_KEY`` are read too.
        durability: ``full`` or ``normal``.
        key: Passphrase of an encrypted memory, or None.
        key_file: File that holds the key of an encrypted memory, or None; it wins over `key`.
        model_cache: Folder where what is made of local models rests: their converted form, and their fingerprints.
        data: Folder of the question sets of `measure`, or None.
        bench_cache: Folder where `measure` looks for the rivals' environments, and benchmarks keep what they make.
    """

    path: str = ""
    space: str = "main"
    user: str | None = None
    agent: str | None = None
    embedder: str | None = None
    generator: str | None = None
    backbone: str | None = None
    judge: str | None = None
    api_key: str | None = None
    durability: str = "full"
    key: str | None = None
    key_file: str | None = None
    model_cache: str = ""
    data: str | None = None
    bench_cache: str = ""


def load_settings(environment: Mapping[str, str] | None = None, *, folder: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        environment: Variables; the process's own when None.
        folder: Where ``config.toml`` lies; ``$XDG_CONFIG_HOME/pinyon`` when None.

    Raises:
        BadInput: The file is not TOML or holds an unknown name.
    """
    env = os.environ if environment is None else environment
    home = Path(env.get("HOME", "~")).expanduser()
    folder = folder or Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "pinyon"
    given: dict[str, object] = dict(_file(folder / "config.toml"))
    names = {field.name for field in fields(Settings)}
    strange = sorted(set(given) - names)
    if strange:
        raise BadInput(f"{folder / 'config.toml'} sets {strange[0]!r}", hint=f"known are {', '.join(sorted(names))}")
    for name in names:
        value = env.get(f"PINYON_{name.upper()}")
        if value:
            given[name] = value
    if "api_key" not in given:
        service = str(given.get("generator") or given.get("embedder") or "")
        variable = "ANTHROPIC_API_KEY" if service.startswith("anthropic:") else "OPENAI_API_KEY"
        given["api_key"] = env.get(variable)
    if not given.get("path"):
        data = Path(env.get("XDG_DATA_HOME") or home / ".local" / "share")
        given["path"] = str(data / "pinyon" / "memory.db")
    if not given.get("model_cache"):
        given["model_cache"] = str(home / ".cache" / "pinyon-models")
    if not given.get("bench_cache"):
        given["bench_cache"] = str(Path(env.get("XDG_CACHE_HOME") or home / ".cache") / "pinyon-bench")
    return Settings(**given)  # type: ignore[arg-type]  # names checked above, values are texts


def key_for(service: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the key for a generator that is named by a call: that of the settings, or of the service's own variable.

    Args:
        service: As `generator` in the settings.
        environment: Variables; the process's own when None.
    """
    env = os.environ if environment is None else environment
    return load_settings({**env, "PINYON_GENERATOR": service}).api_key


def variable_of_mount(name: str) -> str:
    """Return how the variables begin that hold the key of what is mounted under a name.

    Example:
        >>> variable_of_mount("the team")
        'PINYON_MOUNT_THE_TEAM'
    """
    return f"PINYON_MOUNT_{re.sub('[^A-Z0-9]', '_', name.upper())}"


def key_of_mount(name: str, environment: Mapping[str, str] | None = None) -> str | Path | None:
    """Return the key of what is mounted under a name: a passphrase, the file that holds the key, or None.

    ``PINYON_MOUNT_<NAME>_KEY_FILE`` wins over ``PINYON_MOUNT_<NAME>_KEY``.

    Args:
        name: Of the mount.
        environment: Variables; the process's own when None.
    """
    env = os.environ if environment is None else environment
    variable = variable_of_mount(name)
    if file := env.get(f"{variable}_KEY_FILE"):
        return Path(file).expanduser()
    return env.get(f"{variable}_KEY") or None


def wants_color(environment: Mapping[str, str] | None = None) -> bool:
    """Return whether a terminal may be written to in colour: ``NO_COLOR`` is empty and the terminal is not dumb.

    Args:
        environment: Variables; the process's own when None.

    Example:
        >>> wants_color({"NO_COLOR": "1"})
        False
    """
    env = os.environ if environment is None else environment
    return not env.get("NO_COLOR") and env.get("TERM") != "dumb"


def _file(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
