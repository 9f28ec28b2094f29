"""A folder that is there whole or as it was before: written beside its place, renamed at the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from data_prep.files import sync_folder
from lightning_cpt.errors import ConfigError

TAG = "lightning-cpt"  # in every card's head


@contextmanager
def placed(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A new folder that takes the name ``out`` when the block ends well; else nothing is left of it.

    Raises:
        ConfigError: something is there and is not to be replaced, or the place cannot be written.
    """
    out = out.expanduser()
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConfigError(f"--out {out}: is no folder; name another")
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise ConfigError(
                f"--out {out}: is there already; name another folder, or replace it with --overwrite"
            )
        if not _is_export(out):  # a run's folder, or somebody's home, would be gone
            raise ConfigError(
                f"--out {out}: is no former export, so --overwrite leaves it alone; name another folder"
            )
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        new = Path(mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.absolute().parent))
    except OSError as error:
        raise ConfigError(
            f"--out {out}: cannot be written ({error.strerror}); name another folder"
        ) from error
    try:
        yield new
        new.chmod(0o755)  # mkdtemp makes it for its owner alone
        _swap(new, out.absolute())
    except OSError as error:
        raise ConfigError(
            f"--out {out}: cannot be written ({error.strerror or error}); make room, or name another folder"
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _is_export(folder: Path) -> bool:
    """Whether its card has the tag of ours."""
    try:
        head = (folder / "README.md").read_text(encoding="utf-8").partition("\n---\n")[0]
    except (OSError, UnicodeDecodeError):
        return False
    return f"- {TAG}" in head.splitlines()


def _swap(new: Path, out: Path) -> None:
    """Two renames, so that a stop between them leaves both folders whole."""
    old = new.with_suffix(".old")
    if out.exists():
        out.rename(old)
    try:
        new.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)
