"""Reads CodeSearchNet's .jsonl.gz files row by row, and takes the docstring out of the code where a row left it in."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.code.grammar import TooSlow
from data_prep.code.languages import LANGUAGES
from data_prep.code.mined import TOO_SLOW, Mined, pair_reason
from data_prep.errors import DataError
from data_prep.filters import CodeRules
from data_prep.pairs import Pair

_SUFFIXES = (".jsonl.gz", ".jsonl")
_LINES = re.compile(r"#L(\d+)(?:-L(\d+))?$")
_WORD = re.compile(r"\w+")
# So many words of a docstring, in a row, do not stand in a function by chance.
_TELLTALE_WORDS = 5
_FEW_WORDS = 3  # of a docstring, with which it can be told from chance


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a corpus: where it is from, ``{file}#{number}``, and its text."""

    name: str
    line: str


def is_corpus(path: Path) -> bool:
    """Whether a path has the suffix of such a file."""
    return str(path).endswith(_SUFFIXES)


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file; no more than one is in memory.

    Raises:
        DataError: the file is missing, cut, or no UTF-8 text.
    """
    try:
        # newline: JSON strings may hold U+2028 and its like as they are.
        opened: Any = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield Row(f"{path.name}#{number}", line)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file or folder") from None
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: cut or damaged ({error}); copy it again") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; convert it first") from None


def mine_row(languages: Collection[str], row: Row, rules: CodeRules) -> Mined:
    """The pair of one row, if it passes the filters.

    Raises:
        DataError: the row is no JSON object or lacks a field.
    """
    fields, mined = _parse(row), Mined(row.name)
    if fields["language"] not in languages:
        mined.dropped[f"row in another language ({fields['language']})"] += 1
        return mined
    language = LANGUAGES[fields["language"]]
    mined.kept[f"{language.name} rows"] += 1
    x = language.prose(fields["docstring"])
    try:
        y, reason = _without_docstring(fields, x, rules.max_parse_seconds, mined)
    except TooSlow:
        mined.lost = "row takes " + TOO_SLOW.format(rules.max_parse_seconds)
        return mined
    if reason := reason or pair_reason(x, y, rules):
        mined.dropped[reason] += 1
        return mined
    mined.kept[f"{language.name} pairs before duplicates"] += 1
    mined.pairs.append(Pair(id=row.name, x=x, y=y, source="code", meta=_meta(fields)))
    return mined


def _parse(row: Row) -> dict[str, Any]:
    try:
        fields = json.loads(row.line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{row.name}: not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise DataError(f"{row.name}: a row must be an object, not {type(fields).__name__}")
    fields["code"] = fields.get("code") or fields.get("original_string")
    for key in ("repo", "path", "func_name", "language", "code", "docstring"):
        if not isinstance(fields.get(key), str):
            raise DataError(f"{row.name}: no text under {key!r}; CodeSearchNet's rows have it")
    try:
        row.line.encode()
        "".join(value for value in fields.values() if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        raise DataError(f"{row.name}: holds half a surrogate pair, which is no Unicode text") from None
    return fields


def _without_docstring(
    fields: dict[str, Any], x: str, seconds: float, mined: Mined
) -> tuple[str, str | None]:
    """The code without its docstring, and why the row is no pair: a docstring left inside would give the answer away."""
    language, code = LANGUAGES[fields["language"]], re.sub(r"\r\n?", "\n", fields["code"])
    stripped = language.strip(code, seconds)
    if stripped is None:
        return "", "row whose code does not parse: docstring not removed"
    if _tells(stripped, x):
        return "", "row whose docstring was not found, yet stands in the code"
    had_one = "docstring removed" if stripped.strip() != code.strip() else "no docstring in the code"
    mined.kept[f"{language.name} rows, {had_one}"] += 1
    return stripped, None


def _tells(code: str, x: str) -> bool:
    """Whether the docstring's first words stand in the code, whatever marks are between them."""
    words = _WORD.findall(x)[: 2 * _TELLTALE_WORDS]
    return len(words) >= _FEW_WORDS and " ".join(words) in " ".join(_WORD.findall(code))


def _meta(fields: dict[str, Any]) -> dict[str, Any]:
    document = f"{fields['repo']}/{fields['path']}"
    meta: dict[str, Any] = {
        "document": document,
        "package": fields["repo"],
        "path": document,
        "name": fields["func_name"],
        "lang": fields["language"],
    }
    if lines := _LINES.search(str(fields.get("url") or "")):
        meta["span"] = [int(lines[1]), int(lines[2] or lines[1])]
    found = {"commit": fields.get("sha"), "partition": fields.get("partition"), "url": fields.get("url")}
    return meta | {key: str(value) for key, value in found.items() if value}
