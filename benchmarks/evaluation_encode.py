"""Encoding the seven tasks' texts: ours against sentence-transformers' own `encode` of the same model."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

from benchmarks.common import Record, alternate, say, summary, table
from benchmarks.evaluation_texts import load_model, read_tasks, texts_of
from eval_suite.adapters import SentenceTransformerEncoder
from eval_suite.encoder import encode_texts

_EVERY = 12  # of the texts: the whole takes tens of minutes a side, and every twelfth has the same lengths
_BATCHES = (8, 16, 32, 64)  # the peer's, its default of 32 among them; the quickest counts
_DEFAULT = 32


def measure(record: Record, args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Alternates both sides on one sample of each task's texts; returns seconds, ratio and the largest difference."""
    torch.set_num_threads(args.threads)
    encoder = load_model(args.model, fast=True)
    texts = _quick_texts() if args.quick else _sampled(args)
    vectors: dict[str, np.ndarray] = {}
    sides = {"encode/ours": lambda: _timed(vectors, "ours", lambda: _ours(encoder, texts), len(texts))} | {
        f"encode/sentence-transformers {size}": _peer(encoder, texts, size, vectors) for size in _BATCHES
    }
    alternate(record, sides, args.repetitions, lambda label, r: say(f"{label}: {r['seconds']:.1f} s"))
    return _summary(record, texts, vectors)


def _peer(
    encoder: SentenceTransformerEncoder, texts: list[str], size: int, vectors: dict[str, np.ndarray]
) -> Any:
    def encode() -> np.ndarray:
        found: np.ndarray = encoder.model.encode(texts, batch_size=size, show_progress_bar=False)
        return found

    return lambda: _timed(vectors, "theirs", encode, len(texts))


def _ours(encoder: SentenceTransformerEncoder, texts: list[str]) -> np.ndarray:
    return encode_texts(encoder, texts, "plain")


def _timed(vectors: dict[str, np.ndarray], name: str, encode: Any, texts: int) -> dict[str, float]:
    start = time.perf_counter()
    vectors[name] = encode()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "texts_per_second": texts / seconds} | _apart(vectors)


def _apart(vectors: dict[str, np.ndarray]) -> dict[str, float]:
    if len(vectors) < 2:
        return {}
    return {"largest_difference": float(np.abs(vectors["ours"] - vectors["theirs"]).max())}


def _sampled(args: argparse.Namespace) -> list[str]:
    """Of all tasks' different texts every twelfth."""
    return list(dict.fromkeys(t for parts in read_tasks(args.data).values() for t in texts_of(parts)))[
        ::_EVERY
    ]


def _quick_texts() -> list[str]:
    return [f"{i} " + " ".join(["a film"] * (1 + i % 20)) for i in range(100)]


def _summary(record: Record, texts: list[str], vectors: dict[str, np.ndarray]) -> tuple[dict[str, Any], str]:
    names = ["ours", *(f"sentence-transformers {size}" for size in _BATCHES)]
    seconds = {name: [r["seconds"] for r in record.runs(f"encode/{name}")] for name in names}
    best = min(names[1:], key=lambda name: float(np.median(seconds[name])))
    ratio = summary([t / o for t, o in zip(seconds[best], seconds["ours"], strict=True)])
    plain = seconds[f"sentence-transformers {_DEFAULT}"]
    default = summary([t / o for t, o in zip(plain, seconds["ours"], strict=True)])
    apart = max(
        r["largest_difference"]
        for n in names
        for r in record.runs(f"encode/{n}")
        if "largest_difference" in r
    )
    rows = [[name, float(np.median(s)), len(texts) / float(np.median(s))] for name, s in seconds.items()]
    text = table(["side", "seconds", "texts/s"], rows)
    text += (
        f"\nours: {ratio['median']:.2f} times as quick as {best} ({ratio['low']:.2f} to {ratio['high']:.2f}), "
        f"{default['median']:.2f} times its default; largest difference {apart:.1e}"
    )
    found = {
        "texts": len(texts),
        "seconds": {name: summary(s) for name, s in seconds.items()},
        "times_as_quick_as_best": ratio,
        "times_as_quick_as_default": default,
        "largest_difference": apart,
    }
    return found, text
