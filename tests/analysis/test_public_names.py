"""`from lore_lab.analysis import name` gives the function, whatever was imported before."""

import subprocess
import sys

import pytest

import lore_lab.analysis as analysis


@pytest.mark.parametrize("name", analysis.__all__)
def test_a_public_name_is_what_its_module_defines_and_no_module(name: str) -> None:
    value = getattr(analysis, name)
    assert callable(value)
    assert value.__module__.startswith("lore_lab.analysis.")


def test_a_module_imported_first_does_not_hide_a_function() -> None:
    code = (
        "import lore_lab.analysis.verdicts; from lore_lab.analysis import compare, verdict; assert callable(compare) and callable(verdict)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError):
        analysis.nothing  # noqa: B018
