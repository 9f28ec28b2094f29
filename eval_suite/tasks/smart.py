"""Cranfield and CISI: two small search sets of abstracts, in the form of the SMART system."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

from eval_suite.corpus import SearchSet, document_text
from eval_suite.files import corrupt, lines, one_of
from eval_suite.tasks.beir import find_folder
from eval_suite.tasks.search import SearchTask

_FIELD = re.compile(r"\.([A-Z])(?:\s+(\S+))?\s*")


class _Files(NamedTuple):
    documents: str
    queries: str
    judgements: str


_CRANFIELD = _Files("cran.all.1400", "cran.qry", "cranqrel")
_CISI = _Files("CISI.ALL", "CISI.QRY", "CISI.REL")


def _paths(data: Path, name: str, names: _Files) -> list[Path]:
    folder = find_folder(data, name, holds=(names.documents,))
    return [one_of(folder, file) for file in names]


def _read_cranfield(data: Path) -> SearchSet:
    """Judgements count the queries by their order in the file, whose own numbers have gaps.

    Grades by cranqrel.readme: code 1, a complete answer, is 4; code 4, of minimum interest, is 1; -1 is 0.
    """
    documents, queries, judgements = _paths(data, "cranfield", _CRANFIELD)
    texts = [text for _, text in _records(queries)]
    qrels: dict[str, dict[str, int]] = {}
    for number, columns in _rows(judgements, 3):
        query, document, code = columns
        if not 1 <= query <= len(texts):
            raise corrupt(judgements, f"line {number} judges query {query} of {len(texts)}")
        qrels.setdefault(str(query), {})[str(document)] = 5 - code if code > 0 else 0
    expected = {"queries": 225, "documents": 1400}
    return _set(documents, {str(i): text for i, text in enumerate(texts, 1)}, qrels, expected)


def _read_cisi(data: Path) -> SearchSet:
    """All judgements are relevant; 76 of the 112 queries have one."""
    documents, queries, judgements = _paths(data, "cisi", _CISI)
    qrels: dict[str, dict[str, int]] = {}
    for _, (query, document) in _rows(judgements, 2):
        qrels.setdefault(str(query), {})[str(document)] = 1
    return _set(documents, dict(_records(queries)), qrels, {"queries": 76, "documents": 1460})


def _set(
    documents: Path, queries: dict[str, str], qrels: dict[str, dict[str, int]], expected: dict[str, int]
) -> SearchSet:
    if not qrels:
        raise corrupt(documents.with_name("judgements"), "they judge no query")
    found = _records(documents)  # 1,400 abstracts: no need for a stream
    return SearchSet(partial(iter, found), queries, qrels, expected)


def _records(path: Path) -> list[tuple[str, str]]:
    """(id, text): title and text, or the text alone where it begins with the title, as all of Cranfield's do."""
    found: list[tuple[str, dict[str, list[str]]]] = []
    field: list[str] = []
    for number, line in enumerate(lines(path), 1):
        mark = _FIELD.fullmatch(line)
        if mark and mark[1] == "I":
            if not mark[2]:
                raise corrupt(path, f"line {number}: a record without a number")
            found.append((mark[2], {}))
            field = []
        elif mark and not mark[2] and found:
            field = found[-1][1].setdefault(mark[1], [])
        elif found:
            field.append(line)
        elif line.strip():
            raise corrupt(path, f"line {number} stands before the first record '.I 1': {line[:60]!r}")
    if not found:
        raise corrupt(path, "it holds no record '.I 1'")
    return [(str(int(i)) if i.isdigit() else i, _text(fields)) for i, fields in found]


def _text(fields: dict[str, list[str]]) -> str:
    title, text = (" ".join(" ".join(fields.get(key, [])).split()) for key in "TW")
    return text if text.startswith(title) else document_text(title, text)


def _rows(path: Path, columns: int) -> list[tuple[int, list[int]]]:
    """(line, its first whole numbers)."""
    found = []
    for number, line in enumerate(lines(path), 1):
        if line.strip():
            try:
                row = [int(cell) for cell in line.split()[:columns]]
            except ValueError as error:
                raise corrupt(path, f"line {number} is no judgement: {line[:60]!r}") from error
            if len(row) < columns:
                raise corrupt(path, f"line {number} is no judgement: {line[:60]!r}")
            found.append((number, row))
    return found


TASKS: dict[str, SearchTask] = {
    "Cranfield": SearchTask(
        "Cranfield", lambda data: _paths(data, "cranfield", _CRANFIELD), _read_cranfield, "smart", split="all"
    ),
    "CISI": SearchTask("CISI", lambda data: _paths(data, "cisi", _CISI), _read_cisi, "smart", split="all"),
}
