"""Describes a folder of shards in text: counts, lengths, duplicates, a histogram, and single pairs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

from data_prep.shards import PairShards
from data_prep.token_ids import text_tokenizer

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_BAR = 40


def describe(name: str, shards: PairShards) -> str:
    """Statistics of a split, from its index alone."""
    lines = [
        f"{name}: {shards.count:,} pairs, {len(shards.chunk_counts):,} chunks, source {shards.source}, "
        f"layout {shards.layout}, fingerprint {shards.fingerprint}",
        f"  {'documents':<12}{len(np.unique(shards.hashes[:, 2])):>10,}",
    ]
    if shards.tokens:
        lines.append(
            f"  token ids of {shards.tokens.dtype[1:]}, tokenizer {shards.tokens.tokenizer}{_cut(shards)}"
        )
    if shards.left_out:
        lines.append(f"  {'quarantined':<12}{shards.left_out:>10,}")
    for column, side in enumerate("xy"):
        unique = len(np.unique(shards.hashes[:, column]))
        lines.append(f"  duplicate {side} {shards.count - unique:>10,}")
    header = "".join(f"{f'{quantile:.0%}':>9}" for quantile in _QUANTILES)
    lines.append(f"  length in {shards.unit:<6}{header}")
    for column, side in enumerate("xy"):
        values = np.quantile(shards.lengths[:, column], _QUANTILES)
        lines.append(f"  {side:<16}" + "".join(f"{value:>9,.0f}" for value in values))
    for column, side in enumerate("xy"):
        lines += [f"  lengths of {side}", *_histogram(shards.lengths[:, column])]
    return "\n".join(lines)


def _cut(shards: PairShards) -> str:
    most = shards.tokens.max_tokens if shards.tokens else None
    return f"; {shards.cut:,} texts cut at {most:,} tokens" if most else ""


def _histogram(lengths: np.ndarray) -> list[str]:
    """One bar for each power of two."""
    powers = np.frexp(lengths)[1]  # 2**(power - 1) <= length < 2**power
    counts = np.bincount(powers)
    widest = counts.max()
    rows = [(power, count) for power, count in enumerate(counts) if power >= powers.min()]
    return [
        f"  {2**power // 2:>8,} +{'#' * round(_BAR * count / widest):<{_BAR}} {count:>9,}"
        for power, count in rows
    ]


def show(name: str, shards: PairShards, count: int) -> str:
    """The first ``count`` pairs, to be read by eye; token ids are decoded by the tokenizer that lies beside them.

    Raises:
        DataError: token ids whose tokenizer is not there.
    """
    read = _decoder(shards)
    parts = []
    for record in islice(shards, count):
        parts.append(f"--- {name}: {record['id']}\n[x] {read(record['x'])}\n[y] {read(record['y'])}")
        parts += [f"[negative] {read(negative)}" for negative in record["negatives"]]
    return "\n".join(parts)


def _decoder(shards: PairShards) -> Callable[[Any], str]:
    """What makes a readable text of a side of a record."""
    if not shards.tokens:
        return str
    fast = text_tokenizer(shards.tokenizer())
    return lambda ids: f"({len(ids)} tokens) {fast.decode(ids.tolist(), skip_special_tokens=False)}"
