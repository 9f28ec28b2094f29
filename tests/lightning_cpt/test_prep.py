"""`cpt prep decontaminate`: eval_suite's texts meet data_prep's shards."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from data_prep.history import read_history
from data_prep.pairs import Pair
from data_prep.shards import open_splits, write_shards
from lightning_cpt.cli import main

SENTENCE = "the plot is thin , but the two leads do n't let it show for a single minute of the film ."


def test_a_contaminated_pair_goes_and_the_card_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "eval" / "downstream" / "MR").mkdir(parents=True)
    (tmp_path / "eval" / "downstream" / "MR" / "rt-polarity.pos").write_text(SENTENCE + "\n")
    rows = [
        {"id": str(i), "x": f"question {i}", "y": f"answer {i} of many, and nothing else"} for i in range(50)
    ]
    rows[7]["y"] = (
        "He wrote: The plot is thin, but the two leads don't let it show for a single minute of the film. So it is."
    )
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert main(["prep", "pairs", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "pairs")]) == 0
    words = ["--data", str(tmp_path / "eval"), "--out", str(tmp_path / "out")]
    assert main(["prep", "decontaminate", str(tmp_path / "pairs"), *words]) == 0
    assert "dropped: holds an evaluation text" in capsys.readouterr().out
    kept = {record["id"] for shards in open_splits(tmp_path / "out").values() for record in shards}
    assert kept == {row["id"] for row in rows} - {"7"}
    assert read_history(tmp_path / "out")[-1]["contamination"]["tasks"]["MR"]["dropped"] == 1
    assert "| MR | 1 | 0 | 0 | 1 | 1 | 1 |" in (tmp_path / "out" / "card.md").read_text(encoding="utf-8")


def test_no_evaluation_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.jsonl").write_text('{"x": "a", "y": "b"}')
    fractions = ["--test-fraction", "0", "--validation-fraction", "0"]
    assert (
        main(["prep", "pairs", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "pairs"), *fractions])
        == 0
    )
    words = ["--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert main(["prep", "decontaminate", str(tmp_path / "pairs"), *words]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_data_folder_may_be_the_tasks_own_and_behind_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "real" / "MR").mkdir(parents=True)
    (tmp_path / "real" / "MR" / "rt-polarity.pos").write_text(SENTENCE + "\n")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "MR").symlink_to(tmp_path / "real" / "MR")
    rows = [{"id": str(i), "x": f"question {i}", "y": f"answer {i}"} for i in range(50)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert main(["prep", "pairs", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "pairs")]) == 0
    for number, place in enumerate(("real/MR", "linked")):
        monkeypatch.chdir(tmp_path / place)
        words = ["--data", ".", "--out", str(tmp_path / f"out{number}")]
        assert main(["prep", "decontaminate", str(tmp_path / "pairs"), *words]) == 0
        assert "MR" in capsys.readouterr().out


def test_overwriting_leaves_no_split_of_a_former_corpus(tmp_path: Path) -> None:
    for name, fractions in (("a", "0.3"), ("b", "0")):
        rows = [{"id": f"{name}{i}", "x": f"{name} {i} x", "y": f"{name} {i} y"} for i in range(50)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        split = ["--test-fraction", fractions, "--validation-fraction", fractions]
        assert (
            main(["prep", "pairs", str(tmp_path / f"{name}.jsonl"), "--out", str(tmp_path / name), *split])
            == 0
        )
        words = ["prep", "clean", str(tmp_path / name), "--out", str(tmp_path / "out"), "--overwrite"]
        assert main(words) == 0
    found = open_splits(tmp_path / "out")
    assert {record["id"][0] for shards in found.values() for record in shards} == {"b"}
    assert list(found) == ["train"]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_names_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"x": f"q{i}", "y": f"a{i}"} for i in range(40)]
    path = write_rows(tmp_path / "p.jsonl", [*rows, {"x": "q", "y": "a", "\ud800": 1}])
    out = tmp_path / os.fsdecode(b"o\xff")
    assert main(["prep", "pairs", str(path), "--out", str(out)]) == 0
    assert all((out / name).exists() for name in ("history.json", "card.md"))
    assert main(["prep", "card", str(out)]) == 0  # the account can be read again


def test_paths_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(tmp_path / "d", [Pair("a", "x", "y")], source="u")
    (tmp_path / "file").write_text("")
    (tmp_path / "tars/x.tar").mkdir(parents=True)
    for words in (
        ["tokenizer", tmp_path / "d", "--vocab-size", 261, "--out", tmp_path / "file"],
        ["stats", tmp_path / ("a" * 300)],
        ["stats", tmp_path / "tars"],
    ):
        assert main(["prep", *map(str, words)]) == 2
        assert capsys.readouterr().err.strip().splitlines()[-1].startswith("cpt: error: ")
