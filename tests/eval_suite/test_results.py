"""The record: strict JSON, whole files, honest reuse."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from eval_suite.errors import EvalError
from eval_suite.results import Result, finished, read_result, table


def result(**changes: object) -> Result:
    facts = {
        "task": "CR", "family": "probe", "score": 82.6, "metric": "accuracy",
        "scores": {"accuracy": 82.6, "dev_accuracy": 82.77},
        "protocol": "senteval/nested10/logreg/raw", "encoder": "st:x", "fingerprint": "abc/def" * 5, "side": "x",
        "dtype": "float32", "dim": 4, "seed": 1111, "examples": {"all": 8}, "interval": [81.0, 84.0],
        "settings": {"grid": [0.5, 1.0], "classifier": {"C": 1.0, "penalty": None}},
        "details": {"fold_scores": [82.0, 83.2]}, "per_example": {"accuracy": [1.0, 0.0]}, "data_sha256": "d",
        "seconds": {"probe": 1.0},
    }  # fmt: skip
    return Result(**{**facts, **changes})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = result().write(tmp_path / "new" / "folder")
    assert read_result(path) == result()
    assert [p.name for p in path.parent.iterdir()] == ["CR.abc-defabc-d.3b81dc.json"]
    assert {"task", "score", "scores", "metric", "protocol", "encoder", "fingerprint"} <= set(
        json.loads(path.read_text())
    )


def test_two_protocols_and_two_editions_of_the_data_stand_beside_each_other(tmp_path: Path) -> None:
    assert len({result(**other).write(tmp_path) for other in ({}, {"data_sha256": "e"})}) == 2
    quick = result(protocol="senteval/nested10/logreg-fast/raw")
    assert result().write(tmp_path) != quick.write(tmp_path)
    assert finished(tmp_path, "CR", quick.fingerprint, quick.protocol, quick.data_sha256) == quick


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
    same = {"encoder": "other", "fingerprint": "f", "side": "plain", "score": 1.0, "seconds": {}, "dim": 9,
            "details": {}, "warnings": ["w"], "per_example": {}, "model": {"step": 3}}  # fmt: skip
    for name, value in same.items():
        assert result(**{name: value}).comparability == base
    other = {"protocol": "p", "data_sha256": "e", "seed": 1, "dtype": "float64", "metric": "f1",
             "settings": {"grid": [1.0]}, "versions": {"numpy": "0.1.2"}}  # fmt: skip
    hashes = {result(**{name: value}).comparability for name, value in other.items()}
    assert len(hashes | {base}) == len(other) + 1


def test_an_unreadable_result_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "CR.json"
    path.write_text('{"task": "CR"}')
    with pytest.raises(EvalError, match=r"CR\.json: not a readable result"):
        read_result(path)


def test_the_table_has_the_average_the_other_scores_and_the_warnings() -> None:
    pair = result(task="MRPC", score=71.59, scores={"accuracy": 71.59, "f1": 80.74}, warnings=["few"])
    lines = table([result(), pair]).splitlines()
    assert lines[-2].split() == ["average", "77.09"]
    assert lines[2].endswith("f1 80.74")
    assert lines[-1] == "MRPC: warning: few"


def test_scores_of_two_metrics_have_no_average() -> None:
    found = table([result(), result(task="SciFact", metric="ndcg@10", scores={"ndcg@10": 64.5}, score=64.5)])
    assert "average" not in found


def test_what_must_agree_names_the_differing_field() -> None:
    one, two = result().must_agree(), result(settings={"grid": [9.0]}).must_agree()
    assert [key for key in one if one[key] != two[key]] == ["settings"]
