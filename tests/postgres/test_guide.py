"""The blocks of the guide run as they stand, with the servers' names replaced."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pg_server import WHY_NOT, Server

pytestmark = [pytest.mark.postgres, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
PAGE = Path(__file__).parents[2] / "docs" / "guides" / "postgres.md"


def test_the_guide_runs(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import psycopg

    name = f"g{uuid.uuid4().hex[:12]}"
    two = f"{postgres.address.removesuffix('/postgres')}/{name}"
    with psycopg.connect(postgres.address, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    text = text.replace("postgresql://pinyon@db.example/notes", f"{postgres.address}?schema={name}")
    text = text.replace("postgresql://pinyon@two.example/notes", two)
    names: dict[str, object] = {"now": datetime(2024, 5, 1, tzinfo=UTC)}
    for found in re.finditer(r"^```py\n(?P<body>.*?)^```", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start("body"))
        exec(compile("\n" * line + found["body"], str(PAGE), "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 of 1"
    assert said[1].startswith("1 1 ")
    assert said[2:4] == ["False", "1 " + said[3].removeprefix("1 ")]
    assert said[4:] == ["1 0", "['main']", "[]"]
