"""Test sentences that were planted in the training pairs are found, and the scores without them are right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.pairs import Pair
from data_prep.shards import write_shards
from eval_suite.errors import EvalError
from eval_suite.results import Result
from lightning_cpt import cli
from lightning_cpt.contamination import rescore

GOOD = [f"the film number {i} was a great and warm surprise to us" for i in range(12)]
BAD = [f"its plot number {i} left everybody cold and rather bored today" for i in range(12)]
PLANTED = [GOOD[3], BAD[7]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "eval" / "downstream" / "CR"
    folder.mkdir(parents=True)
    for name, rows in (("custrev.pos", GOOD), ("custrev.neg", BAD)):
        (folder / name).write_text("".join(f"{row}\n" for row in rows))
    return tmp_path / "eval"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    texts = [f"something else altogether about subject {i}, of no interest here" for i in range(30)]
    texts[4] = f"He said it. {PLANTED[0].capitalize()}. Then he left."
    texts[9] = f"{PLANTED[1]}"
    pairs = [
        Pair(id=str(i), x=text, y=f"an answer with the number {i}", source="s")
        for i, text in enumerate(texts)
    ]
    write_shards(tmp_path / "shards" / "train", pairs, source="s")
    # held-out pairs are no training
    held_out = [Pair(id="h", x=GOOD[0], y="an answer", source="s")]
    write_shards(tmp_path / "shards" / "validation", held_out, source="s")
    return tmp_path / "shards"


def result(per_example: dict[str, list[float]], metric: str = "accuracy") -> Result:
    facts: dict[str, Any] = {
        "task": "CR", "family": "probe", "score": 50.0, "metric": metric, "scores": {metric: 50.0},
        "interval": [40.0, 60.0], "protocol": "p", "encoder": "py:m:f", "fingerprint": "abcdef", "side": "x",
        "dtype": "float32", "dim": 4, "seed": 1, "examples": {"all": 24}, "data_sha256": "d", "settings": {},
        "per_example": per_example,
    }  # fmt: skip
    return Result(**facts)


def test_the_planted_are_found_and_taken_out(data: Path, shards: Path, tmp_path: Path, capsys: Any) -> None:
    from eval_suite.registry import find_task

    rows = [text for (text,) in find_task("CR").examples(data)]
    right = [0.0 if text in PLANTED or i % 2 else 1.0 for i, text in enumerate(rows)]
    of_these = find_task("CR").sha256(data)
    replace(result({"accuracy": right}), data_sha256=of_these).write(tmp_path / "results")
    status = cli.main(
        [
            "eval",
            "contamination",
            "--shards",
            str(shards),
            "--data",
            str(data),
            "--tasks",
            "CR",
            "--results",
            str(tmp_path / "results"),
            "--json",
            str(tmp_path / "found.json"),
        ]
    )
    assert status == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert [rows[i] for i in found["tasks"]["CR"]["touched"]] == [t for t in rows if t in PLANTED]
    (score,) = found["scores"]
    clean = [value for value, text in zip(right, rows, strict=True) if text not in PLANTED]
    assert score["touched"] == 2
    assert score["score"] == pytest.approx(100 * np.mean(right), abs=0.01)
    assert score["without"] == pytest.approx(100 * np.mean(clean), abs=0.01)
    assert score["interval"][0] <= score["without"] <= score["interval"][1]
    assert "CR" in capsys.readouterr().out


def test_a_correlation_is_taken_anew() -> None:
    gold = [1.0, 2.0, 3.0, 4.0, 9.0]
    found = rescore(
        result({"cosine": [0.4, 0.3, 0.2, 0.1, 0.9], "gold": gold}, "spearman"),
        np.array([False] * 4 + [True]),
    )
    assert found is not None
    assert found.without == -100.0
    assert found.score > -100.0


def test_all_touched_leaves_no_score() -> None:
    found = rescore(result({"accuracy": [1.0, 0.0]}), np.array([True, True]))
    assert found is not None
    assert (found.without, found.interval) == (None, [])


def test_a_result_of_other_data_is_named() -> None:
    with pytest.raises(EvalError, match="result CR of py:m:f: has accuracy of 3 examples, the data hold 2"):
        rescore(result({"accuracy": [1.0, 0.0, 1.0]}), np.array([True, False]))


def test_mistakes_are_one_line(data: Path, tmp_path: Path, capsys: Any) -> None:
    command = ["eval", "contamination", "--shards", str(tmp_path / "none"), "--data", str(data), "--tasks"]
    assert cli.main([*command, "CR"]) == cli.MISTAKE
    assert cli.main([*command, "CRR"]) == cli.MISTAKE
    err = capsys.readouterr().err
    assert "unknown task 'CRR'" in err
    assert len(err.strip().splitlines()) == 2


def test_a_result_of_other_files_with_as_many_examples_is_named(
    data: Path, shards: Path, tmp_path: Path, capsys: Any
) -> None:
    result({"accuracy": [1.0] * (len(GOOD) + len(BAD))}).write(tmp_path / "results")
    folders = ["--shards", str(shards), "--data", str(data), "--results", str(tmp_path / "results")]
    assert cli.main(["eval", "contamination", *folders, "--tasks", "CR"]) == cli.MISTAKE
    assert "result CR of py:m:f: is of other data files" in capsys.readouterr().err
