"""MS MARCO in both forms, and DPR's questions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from eval_suite.bm25 import BM25Encoder
from eval_suite.errors import EvalError
from eval_suite.run import run_task
from eval_suite.tasks.large_search import TASKS, _cells, _read_questions

PASSAGES = [
    ("1", 'the "old" tower of Paris', "Eiffel Tower"),
    ("2", "a river in Paris", "Seine"),
    ("3", "a bridge, built in 1889", "Bridge"),
    ("4", "a tower, built in 1889", "Tower"),
]
QUESTIONS = [("when was the tower built", ["1889"]), ("which river is in Paris", ["Seine"])]


def write_dpr(folder: Path, name: str = "nq-test.qa.csv") -> None:
    rows = [
        "id\ttext\ttitle",
        *(f'{i}\t"{text.replace(chr(34), chr(34) * 2)}"\t{title}' for i, text, title in PASSAGES),
    ]
    (folder / "psgs_w100.tsv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    (folder / name).write_text("".join(f"{q}\t{a!r}\n" for q, a in QUESTIONS))


def test_answers_count_in_the_text_and_not_in_the_title(tmp_path: Path) -> None:
    write_dpr(tmp_path)
    result = run_task(BM25Encoder(), "NQ", tmp_path)  # type: ignore[arg-type]
    # The first question finds 1889; "Seine" stands in a title alone.
    assert result.scores == {"recall@20": 50.0, "recall@100": 50.0}
    assert result.per_example["recall@20"] == [1.0, 0.0]
    assert result.settings["match"] == "DPR string"
    assert TASKS["NQ"].examples(tmp_path) == [(question,) for question, _ in QUESTIONS]
    assert [line.split(":")[0][:9] for line in result.warnings] == ["2 queries", "4 documen", "50.0 % of"]


def test_the_cut_is_by_place(tmp_path: Path) -> None:
    write_dpr(tmp_path, "trivia-test.csv")
    rows = [f"{i}\tthe tower was built\tTower {i}" for i in range(10, 40)]
    packed = gzip.decompress((tmp_path / "psgs_w100.tsv.gz").read_bytes()).decode()
    (tmp_path / "psgs_w100.tsv").write_text("\n".join([packed, *rows]))
    result = run_task(BM25Encoder(), "TriviaQA", tmp_path)  # type: ignore[arg-type]
    assert result.scores == {"recall@20": 0.0, "recall@100": 50.0}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nq-test.qa.csv", "only a question\n", "row 1 is no question"),
        ("nq-test.qa.csv", "", "it holds no question"),
        ("psgs_w100.tsv", "id\ttext\ttitle\n1\tx\n", "row 2 has 2 columns"),
    ],
)
def test_corrupt_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    write_dpr(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(EvalError, match=message):
        run_task(BM25Encoder(), "NQ", tmp_path)  # type: ignore[arg-type]


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"no psgs_w100.tsv"):
        TASKS["NQ"].sha256(tmp_path)
    with pytest.raises(EvalError, match=r"no folder 'msmarco' with corpus.jsonl or collection.tsv"):
        TASKS["MSMARCO"].sha256(tmp_path)


def test_ms_marco_in_both_forms(tmp_path: Path) -> None:
    tsv, beir = tmp_path / "a" / "msmarco", tmp_path / "b" / "msmarco"
    tsv.mkdir(parents=True)
    (tsv / "collection.tsv").write_text("".join(f"{i}\t{text}\n" for i, text, _ in PASSAGES))
    (tsv / "queries.dev.small.tsv").write_text("7\tbuilt tower\n8\triver\n")
    (tsv / "qrels.dev.small.tsv").write_text("7\t0\t3\t1\n8\t0\t2\t1\n")
    (beir / "qrels").mkdir(parents=True)
    (beir / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": i, "title": "", "text": t}) + "\n" for i, t, _ in PASSAGES)
    )
    (beir / "queries.jsonl").write_text(
        '{"_id": "7", "text": "built tower"}\n{"_id": "8", "text": "river"}\n'
    )
    (beir / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n7\t3\t1\n8\t2\t1\n")
    one, two = (run_task(BM25Encoder(), "MSMARCO", tmp_path / form) for form in "ab")  # type: ignore[arg-type]
    assert one.scores == two.scores
    # "built" and "tower" weigh the same here, so passages 1 and 3 tie for the second place: (1/2 + 1/3) / 2
    assert (one.metric, one.score) == ("mrr@10", round(100 * (5 / 12 + 1) / 2, 2))
    assert one.protocol == "beir/dev/mrr@10"
    (beir / "qrels" / "dev.tsv").unlink()
    with pytest.raises(EvalError, match="no split 'dev'"):
        TASKS["MSMARCO"].sha256(tmp_path / "b")


def test_its_run_can_be_written(tmp_path: Path) -> None:
    write_dpr(tmp_path)
    done = run_task(BM25Encoder(), "NQ", tmp_path, trec=tmp_path / "trec")  # type: ignore[arg-type]
    run, qrels = (tmp_path / f"trec/{done.path(Path()).stem}.{end}" for end in ("run", "qrels"))
    assert run.read_text().startswith("0 Q0 ")
    assert qrels.read_text() == ""


def test_a_bare_carriage_return_is_one_line(tmp_path: Path) -> None:
    (path := tmp_path / "q.csv").write_bytes(b"ok\t['a']\nwho is\rthere?\t['a']\n")
    with pytest.raises(EvalError, match="after row 1"):
        _read_questions(path)
    path.write_bytes(b"1\ta\rb\tc\n")
    with pytest.raises(EvalError, match="after row 0"):
        list(_cells(path))
