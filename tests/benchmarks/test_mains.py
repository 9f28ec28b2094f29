"""The benchmarks themselves, at tiny sizes: they run to their end and say what their pages say that they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def measured(name: str, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """The JSON of a benchmark's smoke test."""
    path = tmp_path / f"{name}.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", f"benchmarks.{name}", "--quick", "--threads", "1"),
            *("--json", path, "--work", tmp_path / "work", *arguments),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_loss_alone(tmp_path: Path) -> None:
    assert measured("loss", tmp_path)["rows"]


def test_the_training_step(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    found = measured("training", tmp_path)
    assert found["gradient_difference"] < 1e-5
    for key in ("speedup_vs_best_peer", "speedup_equal_memory", "ours", "peers"):
        assert key in found


def test_learning(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("datasets")
    found = measured("learning", tmp_path, "--parts", "code")
    assert {"start, ours", "ours", "peer"} <= set(found["parts"]["code"])


def test_batch_sizes(tmp_path: Path) -> None:
    found = measured("batch_size", tmp_path)
    assert (tmp_path / "batch_size.png").is_file()
    assert found["runs"]
