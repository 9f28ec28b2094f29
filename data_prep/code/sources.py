"""Finds the Python files under a path, and the package that each belongs to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import DataError

STDLIB = "python-stdlib"
_NEVER = {"__pycache__", "node_modules", "site-packages", "dist-packages", "lib-dynload"}
_REPOSITORY = (".git", "pyproject.toml", "setup.py")


@dataclass(frozen=True, slots=True, order=True)
class SourceFile:
    """A Python file.

    Args:
        name: Path from the package's parent folder, with ``/``: the same on every machine.
        package: The unit of the split.
        path: Where the file lies.
    """

    name: str
    package: str
    path: Path


def find_sources(roots: list[Path]) -> list[SourceFile]:
    """All ``.py`` files under ``roots``, sorted by name.

    A root's package is: the root itself if it is a package (``__init__.py``) or a repository (``.git``,
    ``pyproject.toml``, ``setup.py``); ``python-stdlib`` for all of the standard library's folder; else the
    folder directly under the root, or the module's own name. Hidden folders, virtual environments and, inside
    a root, ``site-packages`` are passed over. Links to folders are not followed. A file that several roots reach
    is found once, under the name that the outermost of them gives it.

    Raises:
        DataError: a root does not exist or holds no Python file.
    """
    found: dict[Path, SourceFile] = {}
    for root in roots:
        files = _under(root)
        if not files:
            raise DataError(f"{root}: no .py files" if root.exists() else f"{root}: no such file or folder")
        for file in files:
            known = found.setdefault(file.path, file)
            found[file.path] = max(known, file, key=lambda one: len(one.name))
    return sorted(found.values())


def _under(root: Path) -> list[SourceFile]:
    root = root.resolve()
    if root.is_file():
        return [SourceFile(root.name, root.stem, root)] if root.suffix == ".py" else []
    if is_stdlib(root):
        prefix, package = STDLIB + "/", STDLIB
    elif (root / "__init__.py").exists() or any((root / name).exists() for name in _REPOSITORY):
        prefix, package = root.name + "/", root.name
    else:
        prefix, package = "", ""
    names = [path.relative_to(root).as_posix() for path in _walk(root)]
    return [SourceFile(prefix + name, package or _top(name), root / name) for name in names]


def is_stdlib(root: Path) -> bool:
    """Whether ``root`` is the folder of Python's standard library."""
    return all((root / name).exists() for name in ("os.py", "site.py", "encodings/__init__.py"))


def _top(name: str) -> str:
    return name.split("/", 1)[0].removesuffix(".py")


def _walk(root: Path) -> list[Path]:
    files = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if _wanted(Path(folder, name))]
        files += [Path(folder, name) for name in names if name.endswith(".py")]
    return [path for path in files if path.is_file()]


def _wanted(folder: Path) -> bool:
    return not (folder.name in _NEVER or folder.name.startswith(".") or (folder / "pyvenv.cfg").exists())


def skip_reason(file: SourceFile) -> str | None:
    """Why a file is not mined by its name alone, or None."""
    *folders, base = file.name.split("/")
    inner = set(folders[1:])
    if (
        inner & {"test", "tests", "idle_test"}
        or base.startswith("test_")
        or base.endswith(("_test.py", "_tests.py"))
    ):
        return "test file"
    if base == "conftest.py" or (file.package == STDLIB and "lib2to3" in inner):
        return "test file" if base == "conftest.py" else "grammar tool (lib2to3)"
    # A copy of somebody else's package would carry held-out code into the training split.
    if inner & {
        "_vendor",
        "vendor",
        "_vendored",
        "vendored",
        "externals",
        "extern",
        "third_party",
        "_bundled",
    }:
        return "vendored file"
    return None
