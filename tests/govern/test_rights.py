"""What concerns every tenant, and what rules of one tenant may not touch of another's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.core.scope import Scope
from pinyon.errors import BadInput, Conflict, Denied
from pinyon.govern import RedactionRule
from pinyon.importing import export_everything, migrate_between, restore
from pinyon.testing import FixedClock


def shared(path: Path | str = ":memory:") -> Memory:
    """Return a memory in which a tenant has an administrator and a secret."""
    memory = Memory.open(path, clock=FixedClock("2024-05-01"))
    memory.at(tenant="acme", user="boss").rights.role("admin", add=["user:boss"])
    memory.at(tenant="acme", user="boss").add("The merger is on Friday.")
    return memory


def whole_store_verbs(memory: Memory, folder: Path) -> list[Callable[[], object]]:
    return [
        lambda: export_everything(memory, folder / "all.pinyon"),
        lambda: restore(memory, folder / "all.pinyon"),
        lambda: memory.purge(),
        lambda: memory.own_key(space="ward"),
        lambda: memory.shred(space="ward"),
    ]


@pytest.mark.parametrize(
    "who",
    [
        {"tenant": "rival", "user": "eve"},
        {"tenant": "acme", "user": "boss"},
        {"tenant": "acme"},
        {"user": "eve"},
        {},
    ],
)
def test_with_an_administrator_anywhere_only_one_of_the_whole_memory_does_what_concerns_all(
    who: dict[str, str], tmp_path: Path
) -> None:
    memory = shared().at(**who)  # type: ignore[arg-type]
    for verb in whole_store_verbs(memory, tmp_path):
        with pytest.raises(Denied, match="administrators of the whole memory"):
            verb()
    assert not (tmp_path / "all.pinyon").exists()
    memory.rights.role("admin", add=["user:root"], tenant=None, user=None)
    root = memory.at(tenant=None, user="root")
    assert export_everything(root, tmp_path / "all.pinyon").cubes == 1
    assert root.purge().level == "file"


def test_a_strangers_tenant_is_refused_where_another_one_has_rules_without_an_administrator(tmp_path: Path) -> None:
    memory = Memory.open(":memory:")
    memory.rights.grant(read=["user:ann"], tenant="acme", space="ward")
    with pytest.raises(Denied):
        export_everything(memory.at(tenant="rival"), tmp_path / "all.pinyon")
    export_everything(memory.at(tenant="acme"), tmp_path / "all.pinyon")


def test_nobody_may_put_themselves_above_tenants_with_administrators() -> None:
    memory = shared()
    for who in ({"user": "eve"}, {"agent": "bot"}):
        with pytest.raises(Denied, match="above them"):
            memory.rights.role("admin", add=["user:eve"], **who)  # type: ignore[arg-type]
    memory.rights.group("care", add=["user:eve"], user="eve")  # rules of one's own, that give nobody more
    memory.rights.role("admin", add=["user:root"])
    with pytest.raises(Denied, match="administrators alone"):
        memory.rights.role("admin", add=["user:eve"])


def test_a_sweep_stays_in_the_callers_tenant_where_others_have_rules() -> None:
    memory = shared()
    rival = memory.at(tenant="rival", user="eve")
    rival.add("rival's own")
    memory.caller.parts.clock.advance(timedelta(days=31).total_seconds())  # type: ignore[attr-defined]
    assert len(rival.sweep(dry_run=True).moves) == 1
    assert rival.sweep().looked == 1
    boss = memory.at(tenant="acme", user="boss")
    assert [cube.header.life.state for cube in boss.list().cubes] == ["generated"]
    with pytest.raises(Denied):
        boss.at(user="joe").sweep()
    memory.rights.role("admin", add=["user:root"])
    assert memory.at(user="root").sweep().looked == 2


def test_redaction_of_a_tenant_holds_for_it_alone() -> None:
    memory = shared()
    rival = memory.at(tenant="rival", user="eve")
    rival.rights.redact([RedactionRule("email", "block")])
    boss = memory.at(tenant="acme", user="boss")
    assert boss.add("write to ann@example.com").cubes[0].text == "write to ann@example.com"
    with pytest.raises(BadInput):
        rival.add("write to ann@example.com")
    assert boss.rights.redaction() == ()
    with pytest.raises(Denied):
        memory.rights.redact([RedactionRule("email", "block")], user="eve")
    with pytest.raises(Denied):
        boss.rights.redact([], user="joe")


def test_redaction_of_the_whole_memory_holds_for_every_tenant_and_before_its_own() -> None:
    memory = Memory.open(":memory:")
    memory.rights.redact([RedactionRule("email", "mask")])
    acme = memory.at(tenant="acme", user="ann")
    acme.rights.redact([RedactionRule("email", "tag"), RedactionRule("card", "mask")])
    assert acme.add("ann@example.com 4111 1111 1111 1111").cubes[0].text == "[email] [card]"
    acme.rights.redact([])
    assert acme.add("bob@example.com 4111 1111 1111 1111").cubes[0].text == "[email] 4111 1111 1111 1111"
    assert [rule.kind for rule in memory.rights.redaction()] == ["email"]


def test_a_refusal_of_what_concerns_all_is_written_to_the_audit() -> None:
    memory = shared()
    rival = memory.at(tenant="rival", user="eve")
    with pytest.raises(Denied):
        rival.purge()
    (line,) = [entry.line for entry in rival.audit()]
    assert (line.action, line.allowed, line.rule, line.actor.user) == ("purge", False, "admin", "eve")
    boss = memory.at(tenant="acme", user="boss")
    with pytest.raises(Denied):
        list(boss.audit(user="joe"))
    assert [(e.line.action, e.line.actor.user) for e in boss.audit()] == [("audit", "joe")]


def test_a_migration_is_for_administrators_of_the_whole_memory(tmp_path: Path) -> None:
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    memory = shared(source)
    memory.rights.role("admin", add=["user:root"])
    memory.close()
    for scope in (None, Scope(user="eve"), Scope(tenant="acme", user="boss"), Scope(tenant="rival", user="root")):
        with pytest.raises(Denied, match="administrators of the whole memory"):
            migrate_between(source, target, scope=scope)
    assert not target.exists()
    assert migrate_between(source, target, scope=Scope(user="root")).cubes == 1
    with Memory.open(source) as again:
        refused = [e.line for e in again.at(user="root").audit() if not e.line.allowed]
    assert {line.action for line in refused} == {"migrate"}


def test_no_space_that_a_tenant_uses_gets_a_key_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    pytest.importorskip("sqlcipher3")
    with Memory.open(tmp_path / "m.db", key="correct horse battery staple") as memory:
        memory.at(tenant="acme", user="ann").add("in the ward", space="ward")
        with pytest.raises(Conflict, match="holds memories"):
            memory.own_key(space="ward")
