"""The code pairs, tokenizers and start weights that the benchmarks measure on, made once under --work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import say
from data_prep.errors import DataError
from data_prep.shards import open_splits
from lightning_cpt.data.evaluation import fixed_pool
from lightning_cpt.errors import ConfigError
from lightning_cpt.quickstart import corpus
from lightning_cpt.ragged import Ragged
from lightning_cpt.tokenization import PairTokenizer

VOCABULARY = 16384
_QUICK = {"train": ("click", "jinja2", "rich"), "validation": ("joblib",), "test": ("fsspec",)}
Record = dict[str, Any]


def code_pairs(work: Path, *, quick: bool = False) -> Path:
    """The quickstart's pairs by the quickstart's split, or a few packages' for a smoke test; mined if not there."""
    out = work / ("code-quick" if quick else "code")
    if not whole(out):
        say(f"mining code pairs of installed packages into {out}, once")
        folders = {root.stem: root for root in corpus.roots()}
        names = [name for part in _QUICK.values() for name in part]
        roots = [str(folders[name]) for name in names] if quick else [str(root) for root in corpus.roots()]
        test, validation = (
            (_QUICK["test"], _QUICK["validation"]) if quick else (corpus.HELD_OUT, corpus.VALIDATION)
        )
        cpt(
            "prep",
            "code",
            *roots,
            "--out",
            str(out),
            "--overwrite",
            "--holdout",
            *test,
            "--validation",
            *validation,
        )
    return out


def tokenizer(pairs: Path, *, identifiers: bool = False, vocabulary: int = VOCABULARY) -> Path:
    """A byte-level BPE tokenizer of the training pairs; with ``identifiers``, as the quickstart has it."""
    out = pairs / ("tokenizer-identifiers" if identifiers else "tokenizer")
    if not (out / "tokenizer_config.json").exists():
        say(f"training a tokenizer on {pairs}")
        options = ["--identifiers"] if identifiers else []
        cpt("prep", "tokenizer", str(pairs), "--vocab-size", str(vocabulary), "--out", str(out), *options)
    return out


def whole(pairs: Path) -> bool:
    try:
        return len(open_splits(pairs)) == 3
    except DataError:
        return False


def cpt(*arguments: str) -> None:
    command = [sys.executable, "-m", "lightning_cpt.cli", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(f"cpt {' '.join(arguments[:2])} failed: {done.stderr.strip().splitlines()[-1]}")


def chosen(pairs: Path, split: str, number: int, seed: int = 0) -> list[Record]:
    """As many records of a split, the same ones on every machine with the same packages.

    Raises:
        ConfigError: there are fewer.
    """
    records = fixed_pool(open_splits(pairs)[split], seed, number)
    if len(records) < number:
        raise ConfigError(f"{pairs}: {len(records)} {split} pairs, {number} are needed; ask for fewer pairs")
    return records


def tokens(tokenization: PairTokenizer, records: list[Record]) -> tuple[Ragged, Ragged]:
    """Token ids of both sides, delimiters included."""
    return tokenization([r["x"] for r in records], "x"), tokenization([r["y"] for r in records], "y")


def stretched(side: Ragged, mean: float, longest: int) -> Ragged:
    """The same sequences with lengths times one factor, so that they have that mean: real spread at another size.

    A longer sequence repeats its inner tokens, a shorter one lacks the last; both ends stay.
    """
    low, high = 0.0, 100.0
    for _ in range(60):
        factor = (low + high) / 2
        lengths = (side.lengths * factor).round().clamp(3, longest)
        low, high = (factor, high) if lengths.double().mean() < mean else (low, factor)
    rows = []
    for row, length in zip(side.ids.split(side.lengths.tolist()), lengths.tolist(), strict=True):
        inner = row[1:-1] if len(row) > 2 else row
        rows.append(
            torch.cat([row[:1], inner.repeat(int(length // len(inner)) + 1)[: int(length) - 2], row[-1:]])
        )
    return Ragged(torch.cat(rows), lengths.long())


def quiet_transformers() -> None:
    """No progress bars of loading and saving small models between our lines."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def save_tokens(path: Path, x: Ragged, y: Ragged) -> None:
    """Both sides in one .npz, for processes to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"x_ids": x.ids, "x_lengths": x.lengths, "y_ids": y.ids, "y_lengths": y.lengths}
    arrays = {name: tensor.numpy() for name, tensor in arrays.items()}
    np.savez(path, **arrays)


def load_tokens(path: Path) -> tuple[Ragged, Ragged]:
    """What :func:`save_tokens` wrote."""
    with np.load(path) as file:
        x, y = (
            Ragged(*(torch.from_numpy(file[f"{side}_{part}"]) for part in ("ids", "lengths")))
            for side in "xy"
        )
    return x, y


def start_weights(folder: Path, shape: dict[str, Any], tokenizer_folder: Path, seed: int = 0) -> Path:
    """Fresh weights of a backbone of that shape, saved with its tokenizer as from_pretrained reads them."""
    if not (folder / "model.safetensors").exists():
        from transformers import AutoTokenizer

        from lightning_cpt.encoder import TextEncoder

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = TextEncoder(
                config=dict(shape), tokenizer=str(tokenizer_folder), max_length_x=8, max_length_y=8
            )
        AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
        backbone: Any = encoder.backbone
        backbone.save_pretrained(folder)
    return folder


def averaging_start(folder: Path, tokenizer_folder: Path, *, width: int, heads: int, positions: int) -> Path:
    """The quickstart's start, one GPT layer that averages its tokens, in this size, saved with its tokenizer."""
    if not (folder / "model.safetensors").exists():
        from transformers import AutoTokenizer

        from lightning_cpt.quickstart.start import write_start

        vocabulary = len(PairTokenizer(tokenizer_folder))
        AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
        write_start(folder, vocabulary=vocabulary, width=width, heads=heads, positions=positions, seed=0)
    return folder
