"""Pairs with negatives out of MS MARCO's triples: as texts, as ids beside two tables of texts, or as jsonl."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.errors import DataError
from data_prep.lookup import Lookup
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.triplets import by_name, clean_negatives, held_out_first

SUFFIXES = (".tsv", ".jsonl")
MAX_NEGATIVES = 7


class Row(NamedTuple):
    """One row: texts, or ids where they are looked up."""

    where: str
    number: int
    query: str
    positive: str
    negatives: list[str]


@dataclass(slots=True)
class _Group:
    """A query and one positive, named after their first row, with the first negatives.

    ``said`` is the query's text but for white space, whatever its id; ``home`` is the file that had it first.
    """

    id: str
    said: str
    home: str
    where: str
    negatives: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Texts:
    """Where the texts of ids are."""

    queries: Lookup
    collection: Lookup


def read_triples(
    paths: list[Path],
    report: Report,
    *,
    texts: Texts | None = None,
    max_negatives: int = MAX_NEGATIVES,
    holdout: Collection[str] = (),
    validation: Collection[str] = (),
    on_row: Callable[[], object] = lambda: None,
    on_pair: Callable[[], object] = lambda: None,
) -> list[Pair]:
    """The pairs query -> positive, each with the first ``max_negatives`` negatives of its rows.

    The rows are streamed: memory grows with the distinct (query, positive) pairs and their kept negatives, not
    with the rows. MS MARCO's 40 million text triples hold about half a million such pairs: 3 KB each with 7
    negatives, under 2 GB; its 400 million id triples the same, and 150 MB for the collection's index.
    A pair's ``document`` is its query's text; neither white space nor an id of its own tells queries apart.

    Args:
        paths: .tsv files of query, positive and negative; .jsonl files with ``query``, ``positive`` and
            ``negative`` or ``negatives`` (a text or a list of them).
        report: gets the counts.
        texts: the .tsv rows are ids into these.
        max_negatives: most negatives of a pair.
        holdout: names of the files that are the test split.
        validation: likewise.
        on_row: called for each row.
        on_pair: called for each pair, once its texts are there.

    Raises:
        DataError: naming file and row, for the first that is none, or whose id has no text.
    """
    files = by_name(_checked(paths))
    groups: dict[tuple[str, str], _Group] = {}
    homes: dict[str, str] = {}  # query's text -> its first file: all of a query goes to one split
    for name in held_out_first(files, holdout, validation):
        for row in _rows(files[name], ids=texts is not None):
            group = groups.get((row.query, row.positive))
            if group is None:
                said = _said(row, texts)
                group = _Group(f"{name}:{row.number}", said, homes.setdefault(said, name), row.where)
                groups[row.query, row.positive] = group
            _add(group, row.negatives, max_negatives, report)
            on_row()
        report.kept["files read"] += 1
    pairs = []
    for pair in _pairs(groups, report, texts):
        pairs.append(pair)
        on_pair()
    return pairs


def _checked(paths: list[Path]) -> list[Path]:
    for path in paths:
        if path.suffix not in SUFFIXES:
            raise DataError(f"{path}: unknown kind; give {' or '.join(SUFFIXES)} files, unpacked")
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    return paths


def _said(row: Row, texts: Texts | None) -> str:
    """The query's text; finds tables that do not belong to the ids at the first row, not after the last."""
    if texts is not None:
        _text(texts.collection, row.positive, row.where)
    return " ".join((row.query if texts is None else _text(texts.queries, row.query, row.where)).split())


def _add(group: _Group, negatives: list[str], limit: int, report: Report) -> None:
    for negative in negatives:
        if negative in group.negatives:
            report.dropped["repeated triple"] += 1
        elif len(group.negatives) < limit:
            group.negatives.append(negative)
        else:
            report.dropped["negative beyond --max-negatives"] += 1


def _rows(path: Path, *, ids: bool) -> Iterator[Row]:
    reader, number = _jsonl if path.suffix == ".jsonl" else _tsv, 0
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield reader(line, f"{path}: row {number}", number, ids)
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: not UTF-8 text, at row {number + 1} or soon after; convert it first"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _tsv(line: str, where: str, number: int, ids: bool) -> Row:
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != 3:
        raise DataError(f"{where}: {len(cells)} columns instead of 3 (query, positive, negative)")
    if not all(cells):
        raise DataError(f"{where}: has an empty column")
    if not ids and all(cell.isdecimal() for cell in cells):
        raise DataError(f"{where}: holds ids, not texts; give --queries and --collection, their tables")
    return Row(where, number, cells[0], cells[1], cells[2:])


def _jsonl(line: str, where: str, number: int, ids: bool) -> Row:
    if ids:
        raise DataError(f"{where}: --queries and --collection go with .tsv files of ids; leave them out")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: must be an object with query, positive and negative(s)")
    given = row.get("negatives", row.get("negative"))
    negatives = [given] if isinstance(given, str) else given
    texts = [row.get("query"), row.get("positive"), *(negatives if isinstance(negatives, list) else [None])]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise DataError(
            f"{where}: needs texts under query, positive and negative (or a list under negatives)"
        )
    query, positive, *others = (str(text).strip() for text in texts)
    return Row(where, number, query, positive, others)


def _pairs(groups: dict[tuple[str, str], _Group], report: Report, texts: Texts | None) -> Iterator[Pair]:
    right: dict[str, set[str]] = {}
    for (_, positive), group in groups.items():
        right.setdefault(group.said, set()).add(positive)
    for (query, positive), group in groups.items():
        negatives = clean_negatives(group.negatives, right[group.said], report)
        if not negatives:
            report.dropped["pair without negatives"] += 1
            continue
        report.kept["pairs"] += 1
        report.kept["negatives"] += len(negatives)
        yield _pair(query, positive, negatives, group, texts)


def _pair(query: str, positive: str, negatives: list[str], group: _Group, texts: Texts | None) -> Pair:
    record: dict[str, Any] = {"id": group.id, "x": query, "y": positive, "negatives": negatives}
    meta = {"document": group.said, "file": group.home}
    if texts is not None:
        passages = [_text(texts.collection, key, group.where) for key in (positive, *negatives)]
        record |= {"id": f"{query}-{positive}", "x": _text(texts.queries, query, group.where)}
        record |= {"y": passages[0], "negatives": passages[1:]}
    return Pair.from_dict({**record, "source": "triples", "meta": meta}, group.where)


def _text(table: Lookup, key: str, where: str) -> str:
    try:
        return table[key]
    except KeyError:
        raise DataError(f"{where}: id {key} is not in {table.path}; give the table it belongs to") from None
