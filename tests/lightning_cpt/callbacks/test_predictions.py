"""Predictions: each row once, in the input's order, with its id, the same on any number of ranks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def ids_in(folder: Path) -> list[str]:
    return [json.loads(line) for line in (folder / "ids.jsonl").read_text().splitlines()]


def test_texts_of_one_side_leave_no_file_of_the_other(
    here: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"y": f"t{i}", "id": f'a "{i}\n'}) + "\n" for i in range(37))
    )
    where = tmp_path / "out"
    changes = {"run.predictions": str(where)}
    here("predict", "--config", recipe(changes))  # the test split first: its x must not stay
    assert np.load(where / "x.npy").shape == (50, 16)
    here("predict", "--config", recipe({**changes, "data.predict": "texts.jsonl", "data.folder": "nowhere"}))
    assert np.load(where / "y.npy").shape == (37, 16)
    assert ids_in(where) == [f'a "{i}\n' for i in range(37)]
    assert sorted(path.name for path in where.iterdir()) == ["ids.jsonl", "y.npy"]


@pytest.mark.slow
def test_ranks_write_what_one_process_writes(
    cpt: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    for number in (1, 3):
        changes = {
            "trainer.devices": number,
            "trainer.strategy": "ddp" if number > 1 else "auto",
            "data.batch_size": 6,
            "run.predictions": str(tmp_path / str(number)),
        }
        done = cpt("predict", "--config", recipe(changes))
        assert done.returncode == 0, done.stderr
    one, many = tmp_path / "1", tmp_path / "3"
    assert ids_in(one) == ids_in(many)
    for side in ("x", "y"):
        np.testing.assert_allclose(np.load(one / f"{side}.npy"), np.load(many / f"{side}.npy"), atol=1e-6)
