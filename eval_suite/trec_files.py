"""Writes runs and judgements in the files of trec_eval, so that any other engine can check a score."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from eval_suite.corpus import SearchSet
from eval_suite.errors import EvalError
from eval_suite.results import result_path


def stem(task: str, fingerprint: str, protocol: str, data_sha256: str) -> str:
    """What the files of one result are called: as it is, so that an approximate run never takes the exact one's place."""
    return result_path(Path(), task, fingerprint, protocol, data_sha256).name.removesuffix(".json")


def write_trec(
    folder: Path, name: str, data: SearchSet, scores: np.ndarray, rows: np.ndarray
) -> tuple[Path, Path]:
    """Write NAME.run and NAME.qrels whole or not at all, and return their paths; the corpus is read once more for ids.

    scores, rows: (queries, k) as `search.Found` has them. Equal scores stand in the order of the corpus; trec_eval
    sorts a run anew, equal ones by the document's id, falling. White space in an id becomes "_".
    Raises EvalError where the folder cannot be written.
    """
    ids = _ids(data, rows)
    queries = [_word(query) for query in data.qrels]
    run = (
        f"{query} Q0 {ids[int(row)]} {rank} {float(score)!r} {name}\n"
        for query, own_scores, own_rows in zip(queries, scores, rows, strict=True)
        for rank, (score, row) in enumerate(zip(own_scores, own_rows, strict=True), 1)
        if row >= 0
    )
    qrels = (
        f"{_word(query)} 0 {_word(document)} {gain}\n"
        for query, grades in data.qrels.items()
        for document, gain in grades.items()
    )
    return _write(folder / f"{name}.run", run), _write(folder / f"{name}.qrels", qrels)


def _ids(data: SearchSet, rows: np.ndarray) -> dict[int, str]:
    """Row -> id, of the rows that are hits."""
    wanted = iter(np.unique(rows[rows >= 0]).tolist())
    ids, next_row = {}, next(wanted, None)
    for row, (document, _) in enumerate(data.documents()):
        if row == next_row:
            ids[row], next_row = _word(document), next(wanted, None)
    return ids


def _word(name: str) -> str:
    return "_".join(name.split()) or "_"


def _write(path: Path, rows: Iterable[str]) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            file.writelines(rows)
        os.replace(part, path)
    except OSError as error:
        raise EvalError(
            f"trec {path.parent}: cannot be written ({error.strerror}); give another --trec"
        ) from error
    return path
