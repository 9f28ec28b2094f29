"""Finds the source files under a path or in a repository's revision, and the package that each belongs to."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from data_prep.code import git
from data_prep.code.language import Language
from data_prep.code.languages import LANGUAGES, choose
from data_prep.code.licence import licence_file
from data_prep.errors import DataError

STDLIB = "python-stdlib"
_NEVER = {
    "__pycache__",
    "node_modules",
    "site-packages",
    "dist-packages",
    "lib-dynload",
}
# A copy of somebody else's package would carry held-out code into the training split.
_VENDORED = {
    "_vendor",
    "vendor",
    "_vendored",
    "vendored",
    "externals",
    "extern",
    "third_party",
    "_bundled",
    "bower_components",
}

_REPOSITORY = ".git"
_HERE = PurePosixPath()

Listing = Mapping[PurePosixPath, Collection[str]]


@dataclass(frozen=True, slots=True, order=True)
class SourceFile:
    """A source file.

    Args:
        name: Path from the package's parent folder, with ``/``: the same on every machine.
        package: The unit of the split.
        path: Where the file lies; the repository, for a file that is read from its objects.
        language: Name of its language.
        licence: Name of the licence's file in the package's folder, where there is one.
        commit: The commit that it is read from, if it is.
        blob: Its object in the repository.
    """

    name: str
    package: str
    path: Path
    language: str = "python"
    licence: str = ""
    commit: str = ""
    blob: str = ""

    def read(self, limit: int) -> bytes | None:
        """The file's bytes; None if they are more than ``limit``.

        Raises:
            OSError: it cannot be read.
        """
        if self.blob:
            return git.read_blob(self.path, self.blob, limit)
        with open(self.path, "rb") as file:
            raw = file.read(limit + 1)
        return raw if len(raw) <= limit else None


def find_sources(roots: list[Path], languages: list[Language] | None = None) -> list[SourceFile]:
    """All files of ``languages`` (default: all installed) under ``roots``, sorted by name.

    A root is a folder, a file, a bare repository, or ``REPOSITORY@REVISION``, which is read from its objects.
    A Python file's package is: the root itself if it is a package (``__init__.py``) or a repository (``.git``,
    ``pyproject.toml``, ``setup.py``); ``python-stdlib`` for all of the standard library's folder; else the
    folder directly under the root, or the module's own name. Another language's is the repository (``.git``) it
    lies in, else the nearest folder with a file of its packager (``package.json``, ``pom.xml``, ...), else as for
    Python. Hidden folders, virtual environments and, inside a root, ``site-packages`` and ``node_modules`` are
    passed over. Links to folders are not followed. A file that several roots reach is found once, under the name
    that the outermost of them gives it.

    Raises:
        DataError: a root does not exist or holds no such file.
    """
    languages = choose(None) if languages is None else languages
    suffixes = {suffix: language for language in languages for suffix in language.suffixes}
    found: dict[tuple[Path, str], SourceFile] = {}
    for root in roots:
        revision = git.at_revision(root)
        here = Path(os.path.abspath(root))  # a link keeps its own name
        files = _in_git(*revision, suffixes) if revision else _under(here, suffixes)
        if not files:
            there = revision or root.exists()
            raise DataError(
                f"{root}: no {', '.join(suffixes)} files" if there else f"{root}: no such file or folder"
            )
        real = root.resolve()
        for file in files:
            key = (file.path if file.blob else real / file.path.relative_to(here), file.blob and file.name)
            known = found.setdefault(key, file)
            found[key] = max(known, file, key=lambda one: len(one.name))
    return sorted(found.values())


def _in_git(repository: Path, revision: str, suffixes: dict[str, Language]) -> list[SourceFile]:
    """A repository is one package."""
    commit, entries = git.list_files(repository, revision)
    package, path = git.repository_name(repository), repository.resolve()
    top = [name for name, _ in entries if "/" not in name]
    environments = {name.rpartition("/")[0] for name, _ in entries if name.endswith("/pyvenv.cfg")}
    return [
        SourceFile(f"{package}/{name}", package, path, language.name, licence_file(top), commit, blob)
        for name, blob in entries
        if (language := suffixes.get(PurePosixPath(name).suffix))
        and not any(map(_unwanted, name.split("/")[:-1]))
        and not any(name.startswith(folder + "/") for folder in environments)
    ]


def _under(root: Path, suffixes: dict[str, Language]) -> list[SourceFile]:
    if root.is_file():
        language = suffixes.get(root.suffix)
        return [SourceFile(root.name, root.stem, root, language.name)] if language else []
    listing = _walk(root)
    prefixes = {one.name: _prefix(root, one) for one in suffixes.values() if listing}
    return [
        _source(root, folder / name, language, prefixes[language.name], listing)
        for folder, names in listing.items()
        for name in names
        if (language := suffixes.get(PurePosixPath(name).suffix)) and (root / folder / name).is_file()
    ]


def _prefix(root: Path, language: Language) -> str:
    """What stands in front of the names of a root that is one package."""
    if is_stdlib(root):
        return STDLIB + "/"
    return root.name + "/" if _has_root(os.listdir(root), language) else ""


def is_stdlib(root: Path) -> bool:
    """Whether ``root`` is the folder of Python's standard library."""
    return all((root / name).exists() for name in ("os.py", "site.py", "encodings/__init__.py"))


def _has_root(names: Collection[str], language: Language) -> bool:
    return any(
        any(fnmatch(name, pattern) for name in names) if "*" in pattern else pattern in names
        for pattern in (_REPOSITORY, *language.roots)
    )


def _source(root: Path, path: PurePosixPath, language: Language, prefix: str, listing: Listing) -> SourceFile:
    home = _home(path, language, bool(prefix), listing)
    package = prefix + ("" if home == _HERE else str(home).removesuffix(path.suffix))
    return SourceFile(
        name=prefix + str(path),
        package=package.rstrip("/"),
        path=root / path,
        language=language.name,
        licence=licence_file(listing.get(home, ())),
    )


def _home(path: PurePosixPath, language: Language, whole: bool, listing: Listing) -> PurePosixPath:
    """The folder, or the single file, that is the package of ``path``."""
    if not language.whole_roots:
        parents = list(path.parents)
        for parent in parents:
            if _REPOSITORY in listing[parent]:
                return parent
        for parent in parents:
            if _has_root(listing[parent], language):
                return parent
    return _HERE if whole else PurePosixPath(path.parts[0])


def _walk(root: Path) -> dict[PurePosixPath, list[str]]:
    """Each wanted folder below ``root`` with the names in it, its folders' too."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); give the folders that can")

    listing = {}
    for folder, subfolders, names in os.walk(root, onerror=refuse if root.exists() else None):
        listing[PurePosixPath(Path(folder).relative_to(root))] = [*names, *subfolders]
        subfolders[:] = [name for name in subfolders if _wanted(Path(folder, name))]
    return listing


def _wanted(folder: Path) -> bool:
    return not (_unwanted(folder.name) or os.path.exists(folder / "pyvenv.cfg"))


def _unwanted(folder: str) -> bool:
    return folder in _NEVER or folder.startswith(".")


def skip_reason(file: SourceFile) -> str | None:
    """Why a file is not mined by its name alone, or None."""
    language, inner = LANGUAGES[file.language], file.name.partition("/")[2] or file.name
    if language.generated.search(file.name):
        return "generated file"
    if language.tests.search(inner):
        return "test file"
    folders = set(inner.split("/")[:-1])
    if file.package == STDLIB and "lib2to3" in folders:
        return "grammar tool (lib2to3)"
    return "vendored file" if folders & _VENDORED else None
