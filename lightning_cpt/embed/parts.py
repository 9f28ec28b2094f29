"""Embedded parts on disk, each whole or absent, and the folder they lie in until all are there."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.files import atomic_file, write_atomic
from lightning_cpt.embed.numbers import sampled, store
from lightning_cpt.embed.spool import Spool
from lightning_cpt.errors import ConfigError

_SETTINGS = "settings.json"


class Part(NamedTuple):
    """A part's numbers.

    Args:
        stored: ``(n, dim)`` as they go to the result.
        scales: float32 ``(n,)`` of int8, else None.
        sample: float32 ``(k, dim)`` of the rows in the sample; empty for float32.
    """

    stored: np.ndarray
    scales: np.ndarray | None
    sample: np.ndarray


def _read(path: Path) -> dict[str, Any] | None:
    """The settings; None where they are damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class Work:
    """The folder of an embedding that is not finished.

    Args:
        folder: beside the result.
    """

    folder: Path

    def claim(self, settings: dict[str, Any], *, overwrite: bool) -> bool:
        """Take the folder for an embedding of these settings; True where it holds parts of that very one.

        Raises:
            ConfigError: it holds parts of another one, and is not to be overwritten.
        """
        path = self.folder / _SETTINGS
        if path.is_file():
            then = _read(path)
            if then == settings:
                return True
            if not overwrite:
                if then is None:
                    raise ConfigError(f"{path}: damaged; start anew with --overwrite")
                check_same(then, settings, f"{self.folder}: holds an unfinished embedding")
        self.remove()
        try:
            self.folder.mkdir(parents=True)
            write_atomic(path, json.dumps(settings).encode())
        except OSError as error:
            raise ConfigError(f"--out: {self.folder.parent} cannot be written ({error.strerror})") from error
        return False

    def missing(self, spool: Spool) -> list[int]:
        """Parts that are yet to be embedded."""
        return [part for part in range(spool.parts) if not self._path(part).exists()]

    def write(self, part: int, vectors: np.ndarray, dtype: str, spool: Spool) -> None:
        """Store a part's float32 vectors ``(n, dim)``."""
        stored, scales = store(vectors, dtype)
        kept = dtype != "float32"
        rows = sampled(part * spool.part_rows, len(vectors), spool.rows)[: None if kept else 0]
        arrays: dict[str, Any] = {"stored": stored, "sample": vectors[rows]} | (
            {} if scales is None else {"scales": scales}
        )
        with atomic_file(self._path(part)) as file:
            np.savez(file, **arrays)

    def read(self, part: int) -> Part:
        """A part; its bytes are checked against the zip's own checksums."""
        with np.load(self._path(part)) as file:
            return Part(file["stored"], file.get("scales"), file["sample"])

    def remove(self) -> None:
        """Leave nothing of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, part: int) -> Path:
        return self.folder / f"part-{part:08d}.npz"


def check_same(then: dict[str, Any], now: dict[str, Any], what: str) -> None:
    """Refuse to go on with what was made otherwise.

    Raises:
        ConfigError: naming the first difference and the cure.
    """
    for key, value in now.items():
        if then.get(key) != value:
            raise ConfigError(
                f"{what} with {key} {then.get(key)}, not {value}; give the same again, name another --out, or start "
                "anew with --overwrite"
            )
