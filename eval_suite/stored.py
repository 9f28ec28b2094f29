"""Reads the results of whole folders, and stops at the first file that a comparison could trip over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eval_suite.comparable import comparable_key
from eval_suite.errors import EvalError
from eval_suite.results import Result, read_result


def read_folders(folders: Iterable[Path]) -> list[Result]:
    """The results of all *.json files in `folders`, by their names; sub-folders are not looked into.

    A result whose very copy lies in another folder counts once. Raises EvalError, naming the file or folder, for
    a folder that does not exist or has no results, a file that is no result of this version, and two different
    results of one encoder, task and setting: which of them is right cannot be known from here.
    """
    seen: dict[tuple[str, str, str], tuple[Path, Result]] = {}
    for folder in dict.fromkeys(Path(f) for f in folders):
        for path in _files(folder):
            result = _read(path)
            key = (result.fingerprint, result.task, comparable_key(result))
            if key in seen and seen[key][1] != result:
                raise EvalError(
                    f"{seen[key][0]} and {path}: two results of {result.encoder} on {result.task}; delete or move one"
                )
            seen.setdefault(key, (path, result))
    return [result for _, result in seen.values()]


def encoders(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Label -> the results of one encoder. The label is its name, with the fingerprint where two share a name."""
    by_print: dict[str, list[Result]] = {}
    for result in results:
        by_print.setdefault(result.fingerprint, []).append(result)
    names = [found[0].encoder for found in by_print.values()]
    return {
        found[0].encoder
        if names.count(found[0].encoder) == 1
        else f"{found[0].encoder} {_tell(found[0])}": found
        for found in by_print.values()
    }


def _tell(result: Result) -> str:
    return f"({result.fingerprint[:8]})"


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise EvalError(f"{folder}: no such folder; name one that `cpt eval run --out` has written")
    files = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    if not files:
        raise EvalError(f"{folder}: no results (*.json) in it; `cpt eval run --out {folder}` writes them")
    return files


def _read(path: Path) -> Result:
    result = read_result(path)
    wrong = next((name for name, right in _checks(result) if not right), None)
    if wrong:
        raise EvalError(f"{path}: {wrong} is not what a result holds there; delete it and run the task again")
    return result


def _checks(r: Result) -> list[tuple[str, bool]]:
    text = ("task", "family", "metric", "protocol", "encoder", "fingerprint", "data_sha256", "dtype")
    tables = ("settings", "details", "model", "versions", "per_example")
    return [
        *((name, isinstance(getattr(r, name), str)) for name in text),
        *((name, isinstance(getattr(r, name), dict)) for name in tables),
        ("score", _number(r.score)),
        ("scores", isinstance(r.scores, dict) and all(map(_number, r.scores.values()))),
        ("interval", _numbers(r.interval) and len(r.interval) in (0, 2)),
        ("warnings", isinstance(r.warnings, list) and all(isinstance(line, str) for line in r.warnings)),
        ("per_example", isinstance(r.per_example, Mapping) and all(map(_numbers, r.per_example.values()))),
        ("versions", isinstance(r.versions, dict) and all(isinstance(v, str) for v in r.versions.values())),
    ]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(map(_number, values))
