"""Names of a room come when they are asked for."""

from __future__ import annotations

import pytest

from pinyon.lazy import names_from


def test_a_name_is_imported_when_it_is_asked_for() -> None:
    find = names_from("pinyon.core", {"budget": "Budget Footprint"})
    assert find("Budget").__name__ == "Budget"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"module 'pinyon\.core' has no attribute 'Bucket'"):
        find("Bucket")


def test_a_function_named_as_its_module_is_the_function() -> None:
    import pinyon.govern.purge
    import pinyon.schedule.spread
    import pinyon.text.cited_prompt

    for found in (pinyon.govern.purge, pinyon.schedule.spread, pinyon.text.cited_prompt):
        assert callable(found)
