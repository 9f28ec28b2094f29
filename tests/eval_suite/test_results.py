"""The record: strict JSON, whole files, honest reuse."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from eval_suite.errors import EvalError
from eval_suite.results import Result, finished, read_result, table


def result(**changes: object) -> Result:
    facts = {
        "task": "CR", "score": 82.6, "dev_score": 82.77, "f1": None, "metric": "accuracy",
        "protocol": "senteval/nested10/logreg/raw", "encoder": "st:x", "fingerprint": "abc/def" * 5, "side": "x",
        "dtype": "float32", "dim": 4, "seed": 1111, "examples": {"all": 8}, "interval": [81.0, 84.0],
        "fold_scores": [82.0, 83.2], "grid": [0.5, 1.0], "chosen_c": [0.5, 1.0], "n_iter": [3, 4],
        "grid_edge_hits": 2, "data_sha256": "d", "classifier": {"C": 1.0, "penalty": None}, "seconds": {"probe": 1.0},
    }  # fmt: skip
    return Result(**{**facts, **changes})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = result().write(tmp_path / "new" / "folder")
    assert read_result(path) == result()
    assert [p.name for p in path.parent.iterdir()] == ["CR.abc-defabc-d.json"]
    assert {"task", "score", "dev_score", "metric", "protocol", "encoder", "fingerprint"} <= set(
        json.loads(path.read_text())
    )


def test_nan_never_gets_into_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        result(score=float("nan")).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = result().write(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(EvalError, match="No space left"):
        result(score=1.0).write(tmp_path)
    assert read_result(path).score == 82.6


def test_only_the_very_same_run_counts_as_done(tmp_path: Path) -> None:
    done = result()
    done.write(tmp_path)
    key = (done.fingerprint, done.protocol, done.data_sha256)
    assert finished(tmp_path, "CR", *key) == done
    assert finished(tmp_path, "MR", *key) is None
    for i in range(3):
        other = list(key)
        other[i] = "another" + other[i]
        assert finished(tmp_path, "CR", *other) is None
    # the same first twelve characters are not the same fingerprint
    assert finished(tmp_path, "CR", key[0][:12] + "zzz", *key[1:]) is None


def test_a_result_of_another_scikit_learn_is_run_again(tmp_path: Path) -> None:
    old = result(versions={**result().versions, "scikit-learn": "0.21.3"})
    old.write(tmp_path)
    assert finished(tmp_path, "CR", old.fingerprint, old.protocol, old.data_sha256) is None


def test_comparability_ignores_the_encoder_and_sees_the_rest() -> None:
    base = result().comparability
    same = {"encoder": "other", "fingerprint": "f", "side": "plain", "score": 1.0, "seconds": {}, "dim": 9}
    for name, value in same.items():
        assert result(**{name: value}).comparability == base
    other = {"protocol": "p", "data_sha256": "e", "seed": 1, "dtype": "float64", "metric": "f1",
             "grid": [1.0], "classifier": {}, "versions": {"numpy": "0.1.2"}}  # fmt: skip
    hashes = {result(**{name: value}).comparability for name, value in other.items()}
    assert len(hashes | {base}) == len(other) + 1


def test_an_unreadable_result_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "CR.json"
    path.write_text('{"task": "CR"}')
    with pytest.raises(EvalError, match=r"CR\.json: not a readable result"):
        read_result(path)


def test_the_table_has_averages() -> None:
    pair = result(task="MRPC", score=71.59, dev_score=73.26, f1=80.74)
    text = table([result(), pair, dataclasses.replace(pair, task="packages", dev_score=None, f1=None)])
    assert text.splitlines()[-1].split() == ["average", "75.26", "78.02"]
    assert "80.74" in text
