"""Names and walls."""

from __future__ import annotations

import pytest
from hypothesis import given
from worlds import callers

from pinyon.core.scope import Scope, check_name
from pinyon.errors import BadInput


@pytest.mark.parametrize(
    "name", ["", " ", "\t", "a\x00b", "a\nb", "\x7f", "x" * 256, "\ud800", None, 7, b"ann", ["ann"]]
)
@pytest.mark.parametrize("what", ["tenant", "user", "agent", "session"])
def test_a_name_that_cannot_be_used_is_refused(what: str, name: object) -> None:
    if name is None:
        with pytest.raises(BadInput):
            check_name(name, what)  # type: ignore[arg-type]
    else:
        with pytest.raises(BadInput, match=what):
            Scope(**{what: name})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["a", "x" * 255, "Ärger", "蜜蜂", "../..", "a b", "'; DROP TABLE cubes; --", "None", "%"]
)
def test_any_other_name_can_be_used(name: str) -> None:
    assert check_name(name, "user") == name


@given(callers)
def test_a_caller_sees_what_it_wrote(caller: Scope) -> None:
    assert caller.sees(caller)


@given(callers, callers)
def test_walls_hold(caller: Scope, owner: Scope) -> None:
    if caller.sees(owner):
        assert caller.tenant == owner.tenant
        assert owner.user in (None, caller.user)
        assert owner.agent in (None, caller.agent)
    elif caller.tenant == owner.tenant:
        assert owner.user not in (None, caller.user) or owner.agent not in (None, caller.agent)
