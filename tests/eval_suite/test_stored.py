"""Reading whole folders: what would mislead a comparison stops it, with the file's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval_suite.errors import EvalError
from eval_suite.stored import encoders, read_folders


def test_results_of_all_folders_and_copies_once(make_result, tmp_path: Path) -> None:
    one, two = make_result("CR", "a", 0.8), make_result("CR", "b", 0.7)
    for folder in ("x", "y"):
        one.write(tmp_path / folder)
    two.write(tmp_path / "y")
    found = read_folders([tmp_path / "x", tmp_path / "y"])
    assert found == [one, two]
    assert list(encoders(found)) == ["a", "b"]


def test_two_scores_of_one_encoder_and_task_name_both_files(make_result, tmp_path: Path) -> None:
    make_result("CR", "a", 0.8).write(tmp_path / "x")
    make_result("CR", "a", 0.7).write(tmp_path / "y")
    with pytest.raises(
        EvalError, match=r"x/CR\.aaa\.\w+\.json and .*y/CR\.aaa\.\w+\.json: two results of a on CR"
    ):
        read_folders([tmp_path / "x", tmp_path / "y"])


def test_two_protocols_of_one_task_are_two_results(make_result, tmp_path: Path) -> None:
    make_result("CR", "a", 0.8).write(tmp_path / "x")
    make_result("CR", "a", 0.7, protocol="fast").write(tmp_path / "y")
    assert len(read_folders([tmp_path / "x", tmp_path / "y"])) == 2


def test_no_folder_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="nowhere: no such folder"):
        read_folders([tmp_path / "nowhere"])
    with pytest.raises(EvalError, match=r"no results \(\*\.json\) in it"):
        read_folders([tmp_path])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("{", "not a readable result"),
        ({"grid": [1.0]}, "not a readable result"),  # an older format had fields of other names
        ({"score": "high"}, "score is not what a result holds"),
        ({"score": float("nan")}, "score is not"),
        ({"scores": [1]}, "scores is not"),
        ({"interval": [1.0]}, "interval is not"),
        ({"per_example": {"accuracy": [1, None]}}, "per_example is not"),
        ({"per_example": None}, "per_example is not"),
        ({"versions": {"numpy": 2}}, "versions is not"),
        ({"task": None}, "task is not"),
    ],
)
def test_files_that_are_no_result(make_result, tmp_path: Path, change: object, words: str) -> None:
    path = make_result("CR", "a", 0.8).write(tmp_path)
    text = change if isinstance(change, str) else json.dumps({**json.loads(path.read_text()), **change})
    path.write_text(text)
    with pytest.raises(EvalError, match=words) as error:
        read_folders([tmp_path])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
