"""Reads text documents: .txt, .md and .rst files, and the rows of .jsonl files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import DataError
from data_prep.report import Report

SUFFIXES = (".txt", ".md", ".rst", ".jsonl")


@dataclass(slots=True)
class Document:
    """A text: its ``name`` (the path from the given folder's parent; for a row, with its id or number),
    its ``kind`` (the suffix) and its ``text`` with ``\\n`` line ends."""

    name: str
    kind: str
    text: str


def find_documents(roots: list[Path]) -> list[tuple[str, Path]]:
    """Names and paths of the files under ``roots`` that hold documents, sorted by name.

    A file that several roots reach is found once, under the name that the outermost of them gives it.

    Raises:
        DataError: a root does not exist or holds no such file.
    """
    found: dict[Path, str] = {}
    for root in map(Path.resolve, roots):
        paths = (
            [root] if root.is_file() else [Path(at, name) for at, _, names in os.walk(root) for name in names]
        )
        paths = [path for path in paths if path.suffix in SUFFIXES]
        if not paths:
            raise DataError(
                f"{root}: no {', '.join(SUFFIXES)} files" if root.exists() else f"{root}: no such path"
            )
        for path in paths:
            found[path] = max(found.get(path, ""), path.relative_to(root.parent).as_posix(), key=len)
    return sorted((name, path) for path, name in found.items())


def read_documents(
    files: list[tuple[str, Path]],
    report: Report,
    *,
    text_field: str = "text",
    on_file: Callable[[], object] = lambda: None,
) -> Iterator[Document]:
    """Yield the documents of ``files``; what cannot be read or decoded is counted and named in ``report``.

    Raises:
        DataError: naming file and row, for a row that is not JSON or lacks ``text_field``.
    """
    for name, path in files:
        text = _read(path, name, report)
        if text is not None:
            yield from (
                _rows(name, text, text_field)
                if path.suffix == ".jsonl"
                else [Document(name, path.suffix, text)]
            )
        on_file()


def _read(path: Path, name: str, report: Report) -> str | None:
    try:
        name.encode()
        return _decode(path.read_bytes(), name, report)
    except UnicodeEncodeError:
        report.lose("file name not UTF-8", name)
    except OSError:
        report.lose("file not readable", name)
    return None


def _decode(raw: bytes, name: str, report: Report) -> str | None:
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        report.kept["files read"] += 1
        if encoding == "cp1252":
            report.kept["files read as cp1252, not being UTF-8"] += 1
        return text.replace("\r\n", "\n").replace("\r", "\n")
    report.lose("file neither UTF-8 nor cp1252", name)
    return None


def _rows(name: str, text: str, field: str) -> Iterator[Document]:
    # Not splitlines(): JSON strings may hold U+2028 and its like as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name}: row {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{where}: not JSON ({error})") from None
        if not isinstance(row, dict) or not isinstance(row.get(field), str):
            raise DataError(f"{where}: no text under {field!r}; name the field with --text-field")
        document = Document(f"{name}#{row.get('id', number)}", ".jsonl", row[field])
        try:
            (document.name + document.text).encode()
        except UnicodeEncodeError:
            raise DataError(f"{where}: holds half a surrogate pair, which is no Unicode text") from None
        yield document
