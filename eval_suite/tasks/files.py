"""Finds and reads the data files of tasks; what is wrong with one ends in a line that names it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from eval_suite.data import known_files
from eval_suite.errors import EvalError

DOWNSTREAM = ("downstream", ".", "senteval/downstream", "raw/senteval/downstream")  # SentEval's, below --data


def find_folder(data: Path, folders: Sequence[str], pattern: str, task: str) -> Path:
    """The first of `folders` below `data` that holds a file of that pattern. Raises EvalError where none does."""
    if not Path(data).is_dir():
        raise EvalError(f"data {data}: is no folder")
    for folder in folders:
        root = Path(data) / folder
        if next(root.glob(pattern), None):
            return root
    looked = ", ".join(dict.fromkeys("itself" if folder == "." else folder for folder in folders))
    raise EvalError(f"data {data}: holds no {pattern} for task {task}; looked in {looked}")


def downstream(data: Path) -> Path:
    """SentEval's `downstream` folder: below `data`, or `data` itself. Raises EvalError where neither is."""
    data = Path(data)
    for folder in DOWNSTREAM:
        root = data / folder
        if "downstream" in (root.name, root.resolve().name) and root.is_dir():  # it may be a link
            return data if folder == "." else root
    problem = "has no `downstream` folder in it" if data.is_dir() else "is no folder"
    raise EvalError(f"data {data}: {problem}; get one with: cpt eval fetch senteval --to {data}")


def data_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """Lines ended by a line feed and by nothing else: latin-1 text holds NEL (0x85), which str.splitlines cuts at."""
    try:
        lines = data_bytes(path).decode(encoding).split("\n")
    except UnicodeDecodeError as error:
        raise EvalError(
            f"{path}: not {encoding} (byte {error.start}); get it again: cpt eval fetch {_suite(path)} --to DIR"
        ) from error
    return lines[:-1] if lines[-1] == "" else lines


def data_bytes(path: Path) -> bytes:
    """The file's bytes. Raises EvalError for one that cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvalError(
            f"data file {path}: cannot be read ({error.strerror}); "
            f"get it with: cpt eval fetch {_suite(path)} --to DIR"
        ) from error


def _suite(path: Path) -> str:
    """What `cpt eval fetch` calls the suite that has the file."""
    folders = {"STS": "sts", "SICK": "sts", "sts": "sts", "sick": "sts", "fine": "sst2"}
    return next((folders[part] for part in reversed(path.parts) if part in folders), "senteval")


def edition_warnings(root: Path, paths: Iterable[str]) -> list[str]:
    """One line a file whose bytes are not those of the known edition: corrupt, or the user's own.

    root: a `downstream` folder. paths: below it; those that no suite of `cpt eval fetch` has are not judged.
    """
    known, lines = _known_hashes(), []
    for path in paths:
        wanted = known.get(f"downstream/{path}")
        found = hashlib.sha256(data_bytes(root / path)).hexdigest()
        if wanted and found != wanted:
            lines.append(
                f"{path}: its sha256 is {found[:12]}, not {wanted[:12]} of the known edition: cut, changed or another "
                "one; cpt eval fetch brings the known one"
            )
    return lines


@cache
def _known_hashes() -> dict[str, str]:
    return {file.path: file.sha256 for suite in ("senteval", "sst2", "sts") for file in known_files(suite)}
