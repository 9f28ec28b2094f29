"""An encoder without weights, as an object and under a name that `--encoder` finds."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest

WIDTH = 64
MODULE = """
import re, zlib
import numpy as np

def bag(texts, side):
    rows = np.zeros((len(texts), 64), np.float32)
    for row, text in zip(rows, texts):
        row[0] = 0.01
        for word in re.findall("[a-z]+", text.lower()):
            row[zlib.crc32(word.encode()) % 64] += 1
    return rows
"""


class Bag:
    """Counts of hashed words; ``encoded`` is how many texts of side y it was asked for."""

    name = "bag"

    def __init__(self, fingerprint: str = "bag-1") -> None:
        self.fingerprint, self.encoded = fingerprint, 0

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        self.encoded += len(texts) if side == "y" else 0
        rows = np.zeros((len(texts), WIDTH), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[0] = 0.01
            for word in re.findall("[a-z]+", text.lower()):
                row[zlib.crc32(word.encode()) % WIDTH] += 1
        return rows


@pytest.fixture
def bag() -> Bag:
    return Bag()


@pytest.fixture
def bag_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """``py:...`` of the same encoder; the working folder is ``tmp_path``."""
    name = f"bag_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"py:{name}:bag"
