"""Finds the files of documents under given folders, and reads them in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from data_prep.errors import DataError
from data_prep.readers import READERS, Document, ReadRules, Source, kind_of, read
from data_prep.report import Report

__all__ = ["Document", "find_documents", "read_documents", "sources"]


def find_documents(roots: list[Path]) -> list[tuple[str, Path]]:
    """Names and paths of the files under ``roots`` that hold documents, sorted by name.

    A file that several roots reach is found once, under the name that the outermost of them gives it.

    Raises:
        DataError: a root does not exist, holds no such file or cannot be read; two files have one name.
    """
    found: dict[Path, tuple[str, Path]] = {}
    for root in (Path(os.path.abspath(root)) for root in roots):  # a link keeps its own name
        paths = [root] if root.is_file() else list(_walk(root))
        paths = [path for path in paths if kind_of(path)]
        if not paths:
            raise DataError(
                f"{root}: no {', '.join(READERS)} files" if root.exists() else f"{root}: no such path"
            )
        for path in paths:
            name = path.relative_to(root.parent).as_posix()
            known, _ = found.setdefault(path.parent.resolve() / path.name, (name, path))
            if len(name) > len(known):
                found[path.parent.resolve() / path.name] = (name, path)
    files = sorted(found.values())
    for (name, path), (other, second) in pairwise(files):
        if name == other:  # their pairs would have the same ids
            raise DataError(f"{path} and {second}: have one name; give a folder that holds both")
    return files


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); give the folders that can")

    for folder, _, names in os.walk(root, onerror=refuse if root.exists() else None):
        yield from (Path(folder, name) for name in names)


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
