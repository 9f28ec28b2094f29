"""Reads a repository's files from its objects at one revision, through the git command; never from a network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, cast

from data_prep.errors import DataError

# A partial clone would fetch what it lacks, a credential helper would ask.
_ENVIRONMENT = {
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
}
_FILE_MODES = (b"100644", b"100755")
_STEP = 1 << 20


def at_revision(root: Path) -> tuple[Path, str] | None:
    """The repository and the revision that ``REPOSITORY@REVISION`` or a bare repository names; None for any other path."""
    if root.exists():
        bare = (root / "HEAD").is_file() and (root / "objects").is_dir() and (root / "refs").is_dir()
        return (root, "HEAD") if bare else None
    words = str(root).split("@")
    for i in range(1, len(words)):
        folder, revision = Path("@".join(words[:i])), "@".join(words[i:])
        if revision and folder.is_dir():
            return folder, revision
    return None


def repository_name(repository: Path) -> str:
    """``/a/b.git`` and ``/a/b/.git`` are both ``b``."""
    folder = repository.resolve()
    return folder.parent.name if folder.name == ".git" else folder.name.removesuffix(".git")


def list_files(repository: Path, revision: str) -> tuple[str, list[tuple[str, str]]]:
    """The commit, and path and object of each plain file in its tree; links and submodules are left out.

    Raises:
        DataError: git is not installed, there is no repository here, or it has no such revision.
    """
    if _git(repository, "rev-parse", "--show-prefix").strip():
        raise DataError(f"{repository}: a folder inside a repository; name the repository's own folder")
    try:
        commit = _git(repository, "rev-parse", "--verify", "--end-of-options", revision + "^{commit}")
    except DataError:
        raise DataError(
            f"{repository}@{revision}: the repository has no such revision; git -C {repository} log --all --oneline "
            "lists them"
        ) from None
    name = commit.decode().strip()
    return name, list(_entries(_git(repository, "ls-tree", "-r", "-z", name)))


def _entries(listing: bytes) -> Iterator[tuple[str, str]]:
    for entry in filter(None, listing.split(b"\0")):
        (mode, _, blob), path = entry.split(b"\t", 1)[0].split(), entry.split(b"\t", 1)[1]
        if mode in _FILE_MODES:
            yield os.fsdecode(path), blob.decode()


def _git(repository: Path, *words: str) -> bytes:
    command = _command(repository, *words)
    try:
        done = subprocess.run(command, capture_output=True, env=_environment(), check=False)
    except FileNotFoundError:
        raise DataError(f"{repository}: reading a revision needs the git command; install git") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().split("\n")[0]
        raise DataError(f"{repository}: git {words[0]}: {said}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Without what a hook or another worktree sets: it would lead to another repository than the one named."""
    return {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | _ENVIRONMENT


def _command(repository: Path, *words: str) -> list[str]:
    return ["git", "-C", str(repository), "-c", "protocol.allow=never", *words]


def read_blob(repository: Path, blob: str, limit: int) -> bytes | None:
    """An object's bytes; None if they are more than ``limit``.

    Raises:
        OSError: the repository lacks the object.
    """
    process = _reader(str(repository), os.getpid())
    requests, answers = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
    requests.write(blob.encode() + b"\n")
    requests.flush()
    header = answers.readline().split()
    if len(header) != 3:
        raise OSError(f"{repository}: no object {blob}")
    size = int(header[2])
    if size > limit:
        _skip(answers, size + 1)
        return None
    data = answers.read(size + 1)
    if len(data) != size + 1:
        raise OSError(f"{repository}: object {blob} is cut")
    return data[:-1]


def _skip(stream: IO[bytes], size: int) -> None:
    while size and (data := stream.read(min(size, _STEP))):
        size -= len(data)


@lru_cache(maxsize=4)
def _reader(repository: str, owner: int) -> subprocess.Popen[bytes]:
    """One git process for all objects that the process ``owner`` reads; it ends with its input.

    A forked worker must not share its parent's: their requests and answers would mix.
    """
    return subprocess.Popen(
        _command(Path(repository), "cat-file", "--batch"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )
