"""Mines pairs of text out of files, several at a time; the pairs come in the order of the files' names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from data_prep.documents import sources
from data_prep.pairs import Pair
from data_prep.readers import ReadRules, Source, read
from data_prep.report import Report
from data_prep.spool import in_order
from data_prep.text import TextRules, mine_text

# Files that one process takes at a time: many small ones, or a large one.
_GROUP_FILES = 64
_GROUP_BYTES = 16_000_000


def mine_files(
    files: list[tuple[str, Path]],
    report: Report,
    *,
    reading: ReadRules | None = None,
    rules: TextRules | None = None,
    processes: int = 1,
    on_file: Callable[[], object] = lambda: None,
) -> Iterator[Pair]:
    """Yield the pairs of ``files`` one at a time; the same ones in the same order for any ``processes``.

    Raises:
        DataError: naming file and row, for a bad row where ``reading`` says stop; a package is missing.
    """
    groups = list(_groups(sources(files)))
    work = partial(_mine_group, reading=reading or ReadRules(), rules=rules or TextRules())
    for item in in_order(work, groups, min(processes, len(groups) or 1)):
        if isinstance(item, Report):
            report.add(item)
            on_file()
        else:
            yield item


def _mine_group(group: list[Source], reading: ReadRules, rules: TextRules) -> Iterator[Pair | Report]:
    """The pairs of each file, and after them its account."""
    for source in group:
        report = Report()
        yield from mine_text(read(source, reading, report), rules, report)
        yield report


def _groups(files: list[Source]) -> Iterator[list[Source]]:
    group: list[Source] = []
    size = 0
    for source in files:
        group.append(source)
        size += source.path.stat().st_size if source.path.exists() else 0
        if len(group) == _GROUP_FILES or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
