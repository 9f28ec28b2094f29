"""Says which field keeps two results of a task from standing in one ranking."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from eval_suite.results import Result

_SHOWN = 60  # characters of a value


def differing(a: Result, b: Result) -> list[str]:
    """One entry for each field that must agree and does not, as "settings.grid: [1] / [2]"; empty if comparable."""
    return [f"{path}: {_short(x)} / {_short(y)}" for path, x, y in _walk("", a.must_agree(), b.must_agree())]


def differing_fields(a: Result, b: Result) -> list[tuple[str, Any]]:
    """(path, b's value) of each such field."""
    return [(path, y) for path, _, y in _walk("", a.must_agree(), b.must_agree())]


def comparable_key(result: Result) -> str:
    """Equal for results that may stand in one ranking; made from the fields, whatever hash the file holds."""
    return json.dumps(result.must_agree(), sort_keys=True)


def _walk(path: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            yield from _walk(f"{path}.{key}" if path else key, a.get(key), b.get(key))
    elif a != b:
        yield path, a, b


def _short(value: Any) -> str:
    text = "absent" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
