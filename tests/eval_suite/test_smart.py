"""Cranfield and CISI in SMART form."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval_suite.bm25 import BM25Encoder
from eval_suite.errors import EvalError
from eval_suite.run import run_task
from eval_suite.tasks.smart import TASKS

CRANFIELD = {
    "cran.all.1400": ".I 1\n.T\nslip\nstream .\n.A\nx\n.B\ny\n.W\nslip\nstream .\n  a wing .\n.I 2\n.T\nheat\n.W\nof plates\n",
    "cran.qry": ".I 001\n.W\nwing in\na slipstream\n.I 004\n.W\nplates\n",
    "cranqrel": "1 1 2 \n1 2 -1\n2 2 4",
}
CISI = {
    "CISI.ALL": ".I 1\n.T\nTitles\n.A\nA\n.A\nB\n.W\nOn indexing.\n.X\n1\t5\t1\n.I 2\n.T\nScience\n.W\nWhat it is.\n.X\n",
    "CISI.QRY": ".I 1\n.W\nindexing?\n.I 2\n.T\nScience\n.W\nWhat?\n.B\n(x)\n",
    "CISI.REL": "     1      1\t0\t0.000000\n     2      2\t0\t0.000000\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_cranfield(tmp_path: Path) -> None:
    write(tmp_path / "raw" / "cranfield", CRANFIELD)
    data = TASKS["Cranfield"].read(tmp_path)
    assert list(data.documents()) == [("1", "slip stream . a wing ."), ("2", "heat of plates")]
    assert data.queries == {"1": "wing in a slipstream", "2": "plates"}  # numbered by their order
    assert data.qrels == {"1": {"1": 3, "2": 0}, "2": {"2": 1}}


def test_cisi(tmp_path: Path) -> None:
    write(tmp_path / "cisi", CISI)
    data = TASKS["CISI"].read(tmp_path)
    assert list(data.documents()) == [("1", "Titles On indexing."), ("2", "Science What it is.")]
    assert data.queries == {"1": "indexing?", "2": "Science What?"}
    assert data.qrels == {"1": {"1": 1}, "2": {"2": 1}}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cranqrel", "1 1\n", "line 1 is no judgement"),
        ("cranqrel", "1 one 2\n", "line 1 is no judgement"),
        ("cranqrel", "9 1 2\n", "line 1 judges query 9 of 2"),
        ("cran.qry", "no record\n", "line 1 stands before the first record"),
        ("cran.all.1400", ".I\n.W\nx\n", "line 1: a record without a number"),
        ("cran.qry", "", "it holds no record"),
        ("cranqrel", "", "judge no query"),
    ],
)
def test_corrupt_files_name_their_checksum(tmp_path: Path, name: str, text: str, message: str) -> None:
    write(tmp_path / "cranfield", CRANFIELD | {name: text})
    with pytest.raises(EvalError, match=f"{message}.*sha256 is "):
        TASKS["Cranfield"].read(tmp_path)


@pytest.mark.data
@pytest.mark.parametrize("name", ["Cranfield", "CISI"])
def test_the_real_sets_are_whole(search_data: Path, name: str) -> None:
    result = run_task(BM25Encoder(), name, search_data)  # type: ignore[arg-type]
    assert not result.warnings
    assert result.details["judged_documents_missing"] == 0
    assert result.score > 30
