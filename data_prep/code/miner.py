"""Mines pairs of docstring and function out of Python source trees, several files at a time."""

from __future__ import annotations

import io
import re
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from data_prep.code.docstring import first_paragraph
from data_prep.code.python import Function, find_functions
from data_prep.code.sources import SourceFile, find_sources, skip_reason
from data_prep.filters import CodeRules, code_reason, doc_reason
from data_prep.pairs import Pair
from data_prep.report import Report

_GENERATED = re.compile(
    rb"auto(matically)?[- ]?generated|@generated|do not edit|generated (by|from|with) [\w./`'-]+\.\w",
    re.IGNORECASE,
)
_GENERATED_FILE = "generated file"
_FILES_PER_TASK = 64

Mined = tuple[list[Pair], Counter[str], str | None]


def mine(
    roots: list[Path],
    *,
    rules: CodeRules | None = None,
    processes: int = 2,
    report: Report | None = None,
    on_file: Callable[[], object] = lambda: None,
) -> Iterator[Pair]:
    """Yield the pairs of all functions with docstrings under ``roots`` that pass the filters.

    The order is that of the files' names, whatever the file system or the number of processes.

    Args:
        roots: Source trees, repositories, site-packages or standard library folders, or single files.
        rules: The filters' limits.
        processes: Files are parsed by this many worker processes; 1 works in this one.
        report: Receives the counts.
        on_file: Called after each file, for a progress bar.

    Raises:
        DataError: a root is missing or holds no Python file; tree-sitter is not installed.
    """
    report = report if report is not None else Report()
    sources = []
    for source in find_sources([Path(root) for root in roots]):
        if reason := skip_reason(source):
            report.dropped[reason] += 1
            on_file()
        else:
            sources.append(source)
    for source, (pairs, dropped, lost) in zip(
        sources, _map(sources, rules or CodeRules(), processes), strict=True
    ):
        report.dropped.update(dropped)
        if lost:
            report.lose(lost, source.name)
        report.kept["files read"] += not lost and _GENERATED_FILE not in dropped
        on_file()
        yield from pairs


def _map(sources: list[SourceFile], rules: CodeRules, processes: int) -> Iterator[Mined]:
    work = partial(mine_file, rules=rules)
    if processes == 1:
        yield from map(work, sources)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(work, sources, chunksize=_FILES_PER_TASK)


def mine_file(source: SourceFile, rules: CodeRules) -> Mined:
    """Pairs of one file, how many functions were dropped and why, and why the whole file was lost, if it was."""
    dropped: Counter[str] = Counter()
    try:
        source.name.encode()
        raw = source.path.read_bytes()
    except UnicodeEncodeError:
        return [], dropped, "file name not UTF-8"
    except OSError:
        return [], dropped, "file not readable"
    if len(raw) > rules.max_file_bytes:
        return [], dropped, f"file over {rules.max_file_bytes:,} bytes"
    if _GENERATED.search(raw[:1000]):
        return [], Counter({_GENERATED_FILE: 1}), None
    text = _decode(raw)
    if text is None:
        return [], dropped, "file not decodable"
    if max(map(len, text.split("\n"))) > rules.max_line_chars:
        return [], dropped, f"file with a line over {rules.max_line_chars:,} characters"
    functions = find_functions(text.encode())
    if functions is None:
        return [], dropped, "file does not parse"
    pairs = []
    for function in functions:
        x = first_paragraph(function.doc)
        if reason := _name_reason(function) or doc_reason(x, rules) or code_reason(function.code, rules):
            dropped[reason] += 1
        else:
            pairs.append(_pair(source, function, x))
    return pairs, dropped, None


def _decode(raw: bytes) -> str | None:
    """The source as text with ``\\n`` line ends, by its own encoding line; None if that fails."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        return re.sub(r"\r\n?", "\n", raw.decode(encoding))
    except (SyntaxError, UnicodeDecodeError, LookupError):
        return None


def _name_reason(function: Function) -> str | None:
    name = function.name.split("@")[0].rpartition(".")[2]
    if name.startswith("__") and name.endswith("__"):
        return "dunder method"
    if name.startswith("test_"):
        return "test function"
    return "stub (no body)" if function.stub else None


def _pair(source: SourceFile, function: Function, x: str) -> Pair:
    meta = {
        "document": source.name,
        "package": source.package,
        "path": source.name,
        "name": function.name.split("@")[0],
        "lang": "python",
        "span": list(function.span),
    }
    return Pair(id=f"{source.name}:{function.name}", x=x, y=function.code, source="code", meta=meta)
