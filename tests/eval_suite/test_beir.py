"""BEIR folders: any of them, the named sets, and what is said of a bad one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from eval_suite import cli
from eval_suite.bm25 import BM25Encoder
from eval_suite.errors import EvalError
from eval_suite.registry import find_task, groups
from eval_suite.run import run_task
from eval_suite.task import Options
from eval_suite.tasks.beir import TASKS, find_folder, read_beir
from eval_suite.untrained import RandomProjection

DOCUMENTS = [
    {"_id": "1", "title": "Wings", "text": "lift of a wing"},
    {"_id": "2", "title": None, "text": "drag of a plate"},
    {"_id": "3", "title": "Jets"},
    {"_id": "4", "text": "heat"},
]
QUERIES = [
    {"_id": "b", "text": "plate drag"},
    {"_id": "a", "text": "wing lift"},
    {"_id": "c", "text": "unjudged"},
]


def write(folder: Path, qrels: str = "a\t1\t1\nb\t2\t2\n", split: str = "test") -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in [("corpus", DOCUMENTS), ("queries", QUERIES)]:
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "toy")


def test_reads_titles_and_judged_queries_in_the_files_order(folder: Path) -> None:
    data = read_beir(folder, "test")
    assert list(data.documents()) == [
        ("1", "Wings lift of a wing"),
        ("2", "drag of a plate"),
        ("3", "Jets"),
        ("4", "heat"),
    ]
    assert data.qrels == {"b": {"2": 2}, "a": {"1": 1}}
    assert list(data.qrels) == ["b", "a"]


def test_any_folder_is_a_task(folder: Path) -> None:
    result = run_task(BM25Encoder(), "beir:toy", folder.parent)  # type: ignore[arg-type]
    assert (result.task, result.family, result.metric) == ("beir-toy", "search", "ndcg@10")
    assert result.score == 100.0
    assert result.scores["recall@100"] == 100.0
    assert result.examples == {"queries": 2, "documents": 4}
    assert result.per_example["ndcg@10"] == [1.0, 1.0]
    assert result.protocol == "beir/test/ndcg@10"
    assert result.interval == [100.0, 100.0]
    assert result.details["own_ids_dropped"] == 0
    assert find_task("beir:toy").examples(folder.parent) == [("plate drag",), ("wing lift",)]


def test_a_split_that_is_not_there_names_those_that_are(folder: Path) -> None:
    write(folder, split="dev")
    with pytest.raises(EvalError, match=r"no split 'train' .*: dev, test"):
        find_task("beir:toy:train").sha256(folder.parent)
    assert find_task("beir:toy:dev").protocol(Options()) == "beir/dev/ndcg@10"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "corpus.jsonl").unlink(), "no folder 'toy' with corpus.jsonl"),
        (lambda f: (f / "queries.jsonl").unlink(), "queries.jsonl: is not there"),
        (
            lambda f: (f / "corpus.jsonl").write_text('{"_id": "1", '),
            r"line 1 is no JSON .*sha256 is [0-9a-f]{64}",
        ),
        (lambda f: (f / "qrels/test.tsv").write_text("a\t1\tgood\n"), r"line 1 is no .*sha256 is"),
        (lambda f: (f / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n"), "it judges no query"),
        (lambda f: (f / "corpus.jsonl").write_text(""), "the corpus holds no document"),
    ],
)
def test_missing_and_corrupt_files(folder: Path, break_it: Callable[[Path], object], message: str) -> None:
    break_it(folder)
    with pytest.raises(EvalError, match=message):
        run_task(BM25Encoder(), "beir:toy", folder.parent)  # type: ignore[arg-type]


def test_what_is_missing_counts_as_zero_and_is_said(tmp_path: Path) -> None:
    write(tmp_path / "toy", qrels="a\t1\t1\nb\t99\t1\nz\t1\t1\nc\t1\t0\n")
    result = run_task(BM25Encoder(), "beir:toy", tmp_path)  # type: ignore[arg-type]
    assert result.score == 25.0  # one of four queries found its document
    assert result.details["judged_documents_missing"] == 1
    assert result.details["queries_without_text"] == 1
    assert result.details["queries_without_relevant"] == 1
    assert [line.startswith("1 ") for line in result.warnings] == [True, True, True, False]


def test_one_query_only(tmp_path: Path) -> None:
    write(tmp_path / "toy", qrels="a\t1\t1\n")
    assert run_task(BM25Encoder(), "beir:toy", tmp_path).score == 100.0  # type: ignore[arg-type]


def test_a_constant_encoder_scores_chance_and_is_told_so(folder: Path) -> None:
    class Constant:
        name, fingerprint = "constant", "constant"

        def encode(self, texts: list[str], side: str) -> np.ndarray:
            return np.ones((len(texts), 8), np.float32)

    result = run_task(Constant(), "beir:toy", folder.parent)
    chance = 100 * sum(1 / np.log2(rank + 1) for rank in range(1, 5)) / 4
    assert result.score == pytest.approx(chance, abs=0.01)
    assert result.scores["mrr@10"] == pytest.approx(100 * (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=0.01)
    assert [line.split(":")[0] for line in result.warnings] == [
        "100.0 % of the queries have equal scores among their first ten and the next; the tie rule decides part of "
        "this score",
        "collapsed vectors",
    ]


def test_the_papers_sets_by_name(tmp_path: Path) -> None:
    assert len(TASKS) == 11
    assert groups()["beir"] == list(TASKS)
    write(tmp_path / "data" / "SciFact_beir")
    result = run_task(BM25Encoder(), "SciFact", tmp_path)  # type: ignore[arg-type]
    assert result.warnings[0].startswith("2 queries where the published set has 300")
    assert TASKS["Quora"].protocol(Options()) == "beir/test/ndcg@10/own-ids-dropped"
    with pytest.raises(EvalError, match="no folder 'fever'"):
        TASKS["FEVER"].sha256(tmp_path)
    with pytest.raises(EvalError, match="write beir:FOLDER"):
        find_task("beir:../x")


def test_runs_and_judgements_for_trec_eval(folder: Path, tmp_path: Path) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    result = run_task(BM25Encoder(), "beir:toy", folder.parent, trec=tmp_path / "trec")  # type: ignore[arg-type]
    stem = result.path(Path()).stem
    with (tmp_path / f"trec/{stem}.run").open() as run, (tmp_path / f"trec/{stem}.qrels").open() as qrels:
        judged, ranked = pytrec_eval.parse_qrel(qrels), pytrec_eval.parse_run(run)
    assert judged == {"b": {"2": 2}, "a": {"1": 1}}
    found = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10"}).evaluate(ranked)
    mean = 100 * np.mean([one["ndcg_cut_10"] for one in found.values()])
    assert result.score == pytest.approx(mean, abs=0.005)


@pytest.mark.data
def test_scifact_by_bm25(search_data: Path) -> None:
    result = run_task(BM25Encoder(), "SciFact", search_data)  # type: ignore[arg-type]
    assert not result.warnings
    assert 60 < result.score < 72
    assert result.examples == {"queries": 300, "documents": 5183}


def test_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    cli.add_commands(parser.add_subparsers())
    line = ["eval", "run", "--encoder", "bm25", "--tasks", "beir:toy", "--data", str(folder.parent)]
    args = parser.parse_args([*line, "--out", str(tmp_path / "out"), "--trec", str(tmp_path / "trec")])
    assert args.func(args) == 0
    assert "beir-toy" in capsys.readouterr().out
    assert len(list((tmp_path / "trec").iterdir())) == 2
    assert args.func(args) == 0
    assert "already done" in capsys.readouterr().err


def test_a_folder_of_another_user_is_passed_over(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (closed := folder.parent / "lost+found").mkdir()
    children = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return children(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert find_folder(folder.parent, "toy") == folder


def test_runs_of_two_protocols_are_two_files(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    for index in ("exact", "HNSW4"):
        run_task(RandomProjection(8), "beir:toy", folder.parent, trec=tmp_path / "trec", index=index)
    assert len(list((tmp_path / "trec").glob("*.run"))) == 2
