"""`cpt eval run` and `cpt eval fetch` as a user meets them."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from eval_suite import cli
from eval_suite.errors import EvalError

MODULE = "encoder_module_for_the_cli_test"
SOURCE = """
import zlib
import numpy as np
def one(texts): return [[zlib.crc32(w.encode()) % 97 for w in (t + " a b").split()[:3]] for t in texts]
def two(texts): return [[zlib.crc32(w.encode()) % 89 for w in (t + " a b").split()[:3]] for t in texts]
def broken(texts): return np.full((len(texts), 2), np.nan)
"""


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser(prog="cpt")
    cli.add_commands(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["eval", *map(str, arguments)])
    status: int = parsed.func(parsed)
    return status


@pytest.fixture
def arguments(tmp_path: Path, toy_data: Path, monkeypatch: pytest.MonkeyPatch):
    """Arguments of `run` with everything right: replace what a test is about."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)

    def make(
        encoder: str = "one", tasks: str = "TREC,MRPC", data: Path = toy_data, **other: object
    ) -> list[object]:
        named = {
            "encoder": f"py:{MODULE}:{encoder}",
            "tasks": tasks,
            "data": data,
            "out": tmp_path / "out",
            **other,
        }
        return [
            "run",
            *(part for key, value in {"workers": 1, **named}.items() for part in (f"--{key}", value)),
        ]

    return make


def test_writes_one_json_per_task_and_prints_the_table(arguments, tmp_path: Path, capsys) -> None:
    assert run(*arguments()) == 0
    written = {
        json.loads(p.read_text())["task"]: json.loads(p.read_text())
        for p in (tmp_path / "out").glob("*.json")
    }
    assert set(written) == {"TREC", "MRPC"}
    assert written["MRPC"]["encoder"] == f"py:{MODULE}:one"
    out, err = capsys.readouterr()
    assert f"{written['TREC']['score']:.2f}" in out
    assert "average" in out
    assert "TREC: running" in err


def test_a_second_run_skips_what_is_done_and_does_the_rest(arguments, tmp_path: Path, capsys) -> None:
    run(*arguments(tasks="TREC"))
    stamp = next((tmp_path / "out").glob("*.json")).stat().st_mtime_ns
    first = capsys.readouterr().out
    run(*arguments(tasks="TREC,MRPC"))
    out, err = capsys.readouterr()
    assert "TREC:" in err
    assert "already done" in err
    assert "MRPC: running" in err
    assert next((tmp_path / "out").glob("TREC.*")).stat().st_mtime_ns == stamp
    assert first.splitlines()[2] in out  # the row of the skipped task


def test_another_encoder_or_other_data_is_never_taken_for_done(
    arguments, toy_data: Path, tmp_path: Path, capsys
) -> None:
    run(*arguments(tasks="TREC"))
    run(*arguments("two", tasks="TREC"))
    assert len(list((tmp_path / "out").glob("*.json"))) == 2
    with (toy_data / "downstream/TREC/TREC_10.label").open("a") as file:
        file.write("NUM:x How many ?\n")
    capsys.readouterr()
    run(*arguments(tasks="TREC"))
    assert "already done" not in capsys.readouterr().err


def test_tasks_that_ended_before_a_failure_keep_their_results(
    arguments, toy_data: Path, tmp_path: Path
) -> None:
    lines = (toy_data / "downstream/CR/custrev.neg").read_text().splitlines()
    (toy_data / "downstream/CR/custrev.neg").write_text("\n".join(lines[:3]))
    with pytest.raises(EvalError, match="label 0 has 3 examples"):
        run(*arguments(tasks="TREC,CR"))
    assert [p.name.split(".")[0] for p in (tmp_path / "out").glob("*.json")] == ["TREC"]


def test_mistakes_are_one_line_before_any_work(arguments, tmp_path: Path) -> None:
    for bad, message in [
        (arguments(tasks="TREC,CRR"), "unknown task 'CRR'; did you mean 'CR'"),
        (arguments(tasks=" , "), "--tasks names no task"),
        (arguments(data=tmp_path / "nowhere"), "is no folder"),
        (arguments("broken"), "NaN or infinity"),
        (arguments("onne"), "did you mean 'one'"),
        (arguments(workers=0), "--workers 0"),
        (["fetch", "sentevla", "--to", tmp_path], "unknown data 'sentevla'"),
    ]:
        with pytest.raises(EvalError, match=message) as error:
            run(*bad)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_stops_it_before_any_work(arguments, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EvalError, match="cannot be written"):
        run(*arguments(out=tmp_path / "file"))
    assert "running" not in capsys.readouterr().err


def test_list_names_the_groups(capsys) -> None:
    assert run("list") == 0
    assert "senteval     MR, CR, SUBJ, MPQA, SST2, TREC, MRPC" in capsys.readouterr().out


def test_fetch_downloads_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    got = {}
    monkeypatch.setattr("eval_suite.data.fetch", lambda files, to, log: got.update(files=files, to=to))
    assert run("fetch", "senteval", "--to", tmp_path) == 0
    assert len(got["files"]) == 15
    assert got["to"] == tmp_path
    assert "complete" in capsys.readouterr().out


def test_the_parser_needs_no_heavy_import() -> None:
    code = "import sys, argparse, eval_suite, eval_suite.cli as c; c.add_commands(argparse.ArgumentParser().add_subparsers());"
    code += "print([m for m in ('torch', 'sklearn', 'scipy', 'numpy', 'joblib') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(cli.__file__).parents[1],
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_finished_search_still_writes_its_run(arguments, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "data" / "faq"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": str(i), "title": "", "text": f"about {word}"} for i, word in enumerate(("tax", "rent"))]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "rent"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    asked = {"tasks": "beir:faq", "data": tmp_path / "data"}
    run(*arguments(**asked))
    run(*arguments(**asked))
    assert "already done" in capsys.readouterr().err
    run(*arguments(**asked, trec=tmp_path / "trec"))
    assert "already done" not in capsys.readouterr().err
    assert {path.suffix for path in (tmp_path / "trec").iterdir()} == {".run", ".qrels"}


def test_options_are_checked_before_any_task_runs(arguments, tmp_path: Path, capsys) -> None:
    with pytest.raises(EvalError, match="kfold"):
        run(*arguments(tasks="TREC,MRPC", kfold=1))
    assert "running" not in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*.json"))
