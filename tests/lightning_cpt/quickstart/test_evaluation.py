"""The quickstart's pool as an evaluation task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep.shards import open_splits
from eval_suite.bm25 import BM25Encoder
from eval_suite.errors import EvalError
from eval_suite.pool import lexical_search
from eval_suite.task import Options
from lightning_cpt.data.evaluation import fixed_pool
from lightning_cpt.quickstart.evaluation import NAME, tasks


@pytest.fixture
def folder(pair_folder: Path, tmp_path: Path) -> Path:
    """Where a quickstart would have put its pairs."""
    (tmp_path / "pairs").symlink_to(pair_folder)
    return tmp_path


def test_the_task_measures_what_the_quickstart_does(folder: Path) -> None:
    task = tasks()[NAME]
    result = task.run(BM25Encoder(), folder, Options())  # type: ignore[arg-type]
    pool = fixed_pool(open_splits(folder / "pairs")["test"], 0, 1000)
    expected = lexical_search([r["x"] for r in pool], [r["y"] for r in pool])
    assert result.score == round(100 * expected.mrr, 2)
    assert np.allclose(result.per_example["mrr"], expected.reciprocal_ranks, atol=1e-7)
    assert result.examples == {"queries": 50, "documents": 50, "pools": 1}
    assert result.warnings[0].startswith("50 candidates, not 1,000")


def test_other_texts_are_other_data(folder: Path, pair_folder: Path, tmp_path: Path) -> None:
    task = tasks()[NAME]
    other = tmp_path / "other" / "pairs"
    other.mkdir(parents=True)
    (other / "test").symlink_to(pair_folder / "validation")
    assert task.sha256(folder) == task.sha256(folder)
    assert task.sha256(folder) != task.sha256(other.parent)


def test_no_pairs_and_no_test_split(pair_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="no `pairs` of a quickstart"):
        tasks()[NAME].sha256(tmp_path)
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "train").symlink_to(pair_folder / "train")
    with pytest.raises(EvalError, match="no readable test split"):
        tasks()[NAME].sha256(tmp_path)
