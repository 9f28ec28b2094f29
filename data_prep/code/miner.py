"""Mines pairs of docstring and function out of source files and CodeSearchNet's rows, several at a time."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from data_prep.code import codesearchnet
from data_prep.code.function import Function
from data_prep.code.grammar import TooSlow, is_installed
from data_prep.code.language import Language
from data_prep.code.languages import LANGUAGES, choose
from data_prep.code.licence import stated_licence
from data_prep.code.mined import TOO_SLOW, Mined, pair_reason
from data_prep.code.sources import SourceFile, find_sources, skip_reason
from data_prep.errors import DataError
from data_prep.filters import CodeRules
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.spool import KILLED

_GENERATED = re.compile(
    rb"auto(matically)?[- ]?generated|@generated|do not edit|generated (by|from|with) [\w./`'-]+\.\w",
    re.IGNORECASE,
)
_GENERATED_FILE = "generated file"
_FILES_PER_TASK = 64
_TASKS_AHEAD = 4

Work = SourceFile | Path  # a file of a tree or a repository, or a corpus of rows
_Each = Callable[[list[Any]], list[Mined]]


def mine(
    roots: list[Path],
    *,
    languages: Collection[str] | None = None,
    rules: CodeRules | None = None,
    processes: int = 2,
    report: Report | None = None,
    on_found: Callable[[int], object] = lambda files: None,
    on_file: Callable[[], object] = lambda: None,
) -> Iterator[Pair]:
    """Yield the pairs of all functions with docstrings under ``roots`` that pass the filters.

    The order is that of the files' names, then that of CodeSearchNet's files as they are given, whatever the file
    system or the number of processes.

    Args:
        roots: Source trees, repositories (also bare ones, and ``REPOSITORY@REVISION``), site-packages or standard
            library folders, single files, and CodeSearchNet's ``.jsonl.gz``.
        languages: Names of those to mine; all whose grammar is installed if not given.
        rules: The filters' limits.
        processes: Files are parsed by this many worker processes; 1 works in this one.
        report: Receives the counts.
        on_found: Called once, with the number of files, for a progress bar.
        on_file: Called after each file.

    Raises:
        DataError: a root is missing or holds no source file; a grammar is not installed; a row is broken.
    """
    report = report if report is not None else Report()
    work = find_work(roots, languages)
    on_found(len(work))
    yield from mine_work(
        work, languages=languages, rules=rules, processes=processes, report=report, on_file=on_file
    )


def find_work(roots: list[Path], languages: Collection[str] | None = None) -> list[Work]:
    """The source files under ``roots`` in the order of their names, then CodeSearchNet's files as they are given.

    Raises:
        DataError: as :func:`mine`.
    """
    corpora = [Path(root) for root in roots if codesearchnet.is_corpus(root)]
    trees = [Path(root) for root in roots if not codesearchnet.is_corpus(root)]
    return [*_find(trees, choose(languages), languages), *corpora]


def mine_work(
    work: list[Work],
    *,
    languages: Collection[str] | None,
    rules: CodeRules | None,
    processes: int,
    report: Report,
    on_file: Callable[[], object] = lambda: None,
) -> Iterator[Pair]:
    """Yield the pairs of what :func:`find_work` found, or of a part of it; the arguments are those of :func:`mine`."""
    rules, names = rules or CodeRules(), [language.name for language in choose(languages)]
    found = [one for one in work if isinstance(one, SourceFile)]
    sources = [source for source in found if _is_wanted(source, report, on_file)]
    with _workers(processes) as run:
        for mined in run(partial(_each, mine_file, rules), _batches(sources, _FILES_PER_TASK)):
            yield from _account(mined, report)
            on_file()
        for corpus in (one for one in work if isinstance(one, Path)):
            rows = _batches(codesearchnet.read_rows(corpus), _FILES_PER_TASK)
            for mined in run(partial(_each, partial(codesearchnet.mine_row, names), rules), rows):
                yield from _account(mined, report)
            on_file()


def _find(roots: list[Path], chosen: list[Language], names: Collection[str] | None) -> list[SourceFile]:
    """The files of the chosen languages and, where nobody chose, those that want a grammar: they are counted."""
    return find_sources(roots, chosen if names is not None else list(LANGUAGES.values())) if roots else []


def _is_wanted(source: SourceFile, report: Report, on_file: Callable[[], object]) -> bool:
    reason = skip_reason(source)
    if reason is None and not is_installed(source.language):
        reason = f"{source.language} file (pip install tree-sitter-{source.language})"
    if reason is None:
        return True
    report.dropped[reason] += 1
    on_file()
    return False


def _account(mined: Mined, report: Report) -> list[Pair]:
    report.kept.update(mined.kept)
    report.dropped.update(mined.dropped)
    if mined.lost:
        report.lose(mined.lost, mined.name)
    return mined.pairs


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    items = iter(items)
    return iter(lambda: list(islice(items, size)), [])


def _each(work: Callable[[Any, CodeRules], Mined], rules: CodeRules, batch: list[Any]) -> list[Mined]:
    return [work(item, rules) for item in batch]


@contextmanager
def _workers(processes: int) -> Iterator[Callable[[_Each, Iterator[list[Any]]], Iterator[Mined]]]:
    """A function that does work on batches, in their order; few of them wait at a time, however many there are."""
    if processes == 1:
        yield lambda work, batches: (mined for batch in batches for mined in work(batch))
        return
    with ProcessPoolExecutor(processes) as pool:

        def run(work: _Each, batches: Iterator[list[Any]]) -> Iterator[Mined]:
            waiting: deque[Future[list[Mined]]] = deque()
            for batch in batches:
                waiting.append(pool.submit(work, batch))
                if len(waiting) == processes * _TASKS_AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

        try:
            yield run
        except BrokenProcessPool:
            raise DataError(KILLED) from None


def mine_file(source: SourceFile, rules: CodeRules) -> Mined:
    """Pairs of one file, how many functions were dropped and why, and why the file was lost, if it was."""
    mined, language = Mined(source.name), LANGUAGES[source.language]
    try:
        source.name.encode()
        raw = source.read(rules.max_file_bytes)
    except UnicodeEncodeError:
        mined.lost = "file name not UTF-8"
        return mined
    except OSError:
        mined.lost = "file not readable"
        return mined
    if raw is None:
        mined.lost = f"file over {rules.max_file_bytes:,} bytes"
    elif _GENERATED.search(raw[:1000]):
        mined.dropped[_GENERATED_FILE] += 1
    elif (text := language.decode(raw)) is None:
        mined.lost = "file not decodable"
    elif max(map(len, text.split("\n"))) > rules.max_line_chars:
        mined.lost = f"file with a line over {rules.max_line_chars:,} characters"
    else:
        _mine_text(source, text, stated_licence(raw) or source.licence, mined, rules)
    return mined


def _mine_text(source: SourceFile, text: str, licence: str, mined: Mined, rules: CodeRules) -> None:
    language = LANGUAGES[source.language]
    try:
        found = language.find(text.encode(), rules.max_parse_seconds)
    except TooSlow:
        mined.lost = "file takes " + TOO_SLOW.format(rules.max_parse_seconds)
        return
    if found.functions is None:
        mined.lost = "file does not parse"
        return
    if found.broken:
        mined.lost = "part of a file (syntax error)"
    for function in found.functions:
        x = language.prose(function.doc)
        if reason := function.fault or pair_reason(x, function.code, rules):
            mined.dropped[reason] += 1
        else:
            mined.pairs.append(_pair(source, function, x, licence))
    mined.kept["files read"] += 1
    mined.kept[f"{language.name} files"] += 1
    mined.kept[f"{language.name} functions with documentation"] += len(found.functions)
    mined.kept[f"{language.name} pairs before duplicates"] += len(mined.pairs)


def _pair(source: SourceFile, function: Function, x: str, licence: str) -> Pair:
    meta: dict[str, Any] = {
        "document": source.name,
        "package": source.package,
        "path": source.name,
        "name": function.name.split("@")[0],
        "lang": source.language,
        "span": list(function.span),
    }
    meta |= {key: value for key, value in (("licence", licence), ("commit", source.commit)) if value}
    return Pair(id=f"{source.name}:{function.name}", x=x, y=function.code, source="code", meta=meta)
