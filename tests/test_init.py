import subprocess
import sys

import pytest

import pinyon


def test_public_names_are_sorted_and_there() -> None:
    assert pinyon.__all__ == sorted(pinyon.__all__)
    assert len(pinyon.__all__) <= 20
    for name in pinyon.__all__:
        assert getattr(pinyon, name) is not None
    assert set(pinyon.__all__) <= set(dir(pinyon))
    assert set(pinyon._HOMES) == set(pinyon.__all__) - {"__version__"}


def test_every_name_comes_from_its_home() -> None:
    for name, home in pinyon._HOMES.items():
        assert getattr(pinyon, name).__module__ == f"pinyon{home}"


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="'Memmory'"):
        pinyon.Memmory  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_costs_nothing_that_is_not_used() -> None:
    code = "import sys, pinyon; assert 'numpy' not in sys.modules; pinyon.Memory; assert 'numpy' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
