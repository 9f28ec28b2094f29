"""Runs the code of an export's card in a fresh process and compares its vectors with the checkpoint's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.export.texts import Texts
from lightning_cpt.tokenization import SIDES, Side

LIMIT = 1e-5  # of float32 unit vectors
NAMES: dict[Side, str] = {"x": "query", "y": "document"}
_FRESH = Path(__file__).with_name("fresh.py")


@dataclass(frozen=True)
class Comparison:
    """How far an export is from its checkpoint.

    Args:
        largest: largest difference of any number.
        side, text: where it is.
        line: one sentence for the card.
    """

    largest: float
    side: Side
    text: str
    line: str


def compare(encoder: TextEncoder, folder: Path, texts: Texts) -> Comparison:
    """Compare both sides of an export with its checkpoint.

    Raises:
        ConfigError: the card's code does not run, or its vectors have another shape.
    """
    found = _in_fresh_process(folder, texts.all)
    largest, where = 0.0, (SIDES[0], "")
    for side in SIDES:
        own = encoder.encode(texts.all, side, progress=False)  # (n, dim)
        theirs = found[NAMES[side]]
        if theirs.shape != own.shape:
            raise ConfigError(
                f"export: the folder's vectors are {theirs.shape}, the checkpoint's {own.shape}"
            )
        off = np.abs(theirs.astype(np.float64) - own).max(axis=1)  # (n,)
        off[~np.isfinite(off)] = np.inf
        if off.max() > largest:
            largest, where = float(off.max()), (side, texts.all[int(off.argmax())][:60])
    line = (
        f"largest difference from the checkpoint {largest:.1e} (limit {LIMIT:.0e}) over {len(texts.all)} texts on both "
        f"sides, {texts.truncated['x']} of them truncated as x and {texts.truncated['y']} as y, in a fresh process"
    )
    return Comparison(largest, where[0], where[1], line)


def _in_fresh_process(folder: Path, texts: list[str]) -> dict[str, np.ndarray]:
    """The vectors of both sides, by a Python that can import nothing of this project."""
    with TemporaryDirectory() as place:
        given, made = Path(place) / "texts.json", Path(place) / "vectors.npz"
        given.write_text(json.dumps(texts), encoding="utf-8")
        # -I: neither this folder nor PYTHONPATH. No network: all that is needed lies in the folder.
        command = [sys.executable, "-I", str(_FRESH), str(folder), str(given), str(made)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise ConfigError(f"export: the exported folder does not load by its card's code: {lines[-1]}")
        with np.load(made) as file:
            return {side: file[side] for side in NAMES.values()}
