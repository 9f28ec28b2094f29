"""Puts results that are comparable into one block, and each of the others into a block that names the field."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from eval_suite.comparable import comparable_key, differing_fields
from eval_suite.results import Result

Fields = tuple[str, ...]


def blocks(
    results: Sequence[Result], column: Callable[[Result], Hashable] = lambda r: r.task
) -> dict[Fields, list[Result]]:
    """Differing fields -> results; () is the main block, the setting that most results share, and comes first.

    Within a block all results of a column are comparable: also those of tasks with two names, which share a column
    and differ in the field "task". A field reads "settings.k: 3 (5 in the first ranking)".
    """
    usual = _usual(results, column)
    found: dict[Fields, list[Result]] = {(): []}
    for result in results:
        found.setdefault(_fields(usual[column(result)], result, results), []).append(result)
    return {
        key: rows
        for key, rows in sorted(found.items(), key=lambda item: (item[0] != (), -len(item[1]), item[0]))
        if rows
    }


def _usual(results: Sequence[Result], column: Callable[[Result], Hashable]) -> dict[Hashable, Result]:
    """Column -> a result in its most usual setting; where settings tie, all tasks lean to the same side."""
    common = Counter(_setting(r) for r in results)
    exact = Counter(comparable_key(r) for r in results)
    best: dict[Hashable, Result] = {}
    for r in sorted(
        results, key=lambda r: (common[_setting(r)], exact[comparable_key(r)], _setting(r), comparable_key(r))
    ):
        best[column(r)] = r  # the last one wins
    return best


def _setting(r: Result) -> str:
    """What tasks of one run have in common."""
    return json.dumps([r.must_agree()["versions"], r.dtype, r.seed, r.protocol.split("/")[0]], sort_keys=True)


def _fields(usual: Result, result: Result, results: Sequence[Result]) -> Fields:
    here = usual.must_agree()
    return tuple(
        _data(result, results)
        if path == "data_sha256"
        else f"{path}: {_show(value)} ({_show(_at(here, path))} in the first ranking)"
        for path, value in differing_fields(usual, result)
        if path != "data_sha256" or result.task == usual.task  # another task has other data in any case
    )


def _data(result: Result, results: Sequence[Result]) -> str:
    """All tasks' second copy of the data share one block, so a copy is named by its number, not by its hash."""
    copies = Counter(r.data_sha256 for r in results if r.task == result.task)
    order = sorted(copies, key=lambda sha: (-copies[sha], sha))
    return f"data_sha256: other data files (copy {order.index(result.data_sha256) + 1})"


def _at(table: object, path: str) -> object:
    for key in path.split("."):
        table = table.get(key) if isinstance(table, dict) else None
    return table


def _show(value: object) -> str:
    text = "absent" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
