"""Finds the files of documents under given folders, and reads them in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from data_prep.errors import DataError
from data_prep.readers import READERS, Document, ReadRules, Source, kind_of, read
from data_prep.report import Report

__all__ = ["Document", "find_documents", "read_documents", "sources"]


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
        paths = [path for path in paths if kind_of(path)]
        if not paths:
            raise DataError(
                f"{root}: no {', '.join(READERS)} files" if root.exists() else f"{root}: no such path"
            )
        for path in paths:
            found[path] = max(found.get(path, ""), path.relative_to(root.parent).as_posix(), key=len)
    return sorted((name, path) for path, name in found.items())


def sources(files: list[tuple[str, Path]]) -> list[Source]:
    """The files as sources, each with the suffix that names its reader."""
    return [Source(name, path, kind_of(path) or "") for name, path in files]


def read_documents(
    files: list[tuple[str, Path]],
    report: Report,
    *,
    rules: ReadRules | None = None,
    on_file: Callable[[], object] = lambda: None,
) -> Iterator[Document]:
    """Yield the documents of ``files`` one at a time; what cannot be read is counted and named in ``report``.

    Raises:
        DataError: naming file and row, for a bad row where ``rules`` say stop; a package is missing.
    """
    for source in sources(files):
        yield from read(source, rules or ReadRules(), report)
        on_file()
