"""The package's front door: its names arrive, and looking at it imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lightning_cpt


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, lightning_cpt; print([m for m in ('torch', 'lightning', 'transformers') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in lightning_cpt.__all__:
        assert getattr(lightning_cpt, name) is not None
    assert dir(lightning_cpt) == sorted(lightning_cpt.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = lightning_cpt.nothing_such
