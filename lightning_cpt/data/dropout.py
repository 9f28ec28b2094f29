"""Leaves out tokens of training texts at random, as a pure function of the seed, the batch and the record."""

from __future__ import annotations

import numpy as np
import torch

from lightning_cpt.ragged import Ragged


def drop_tokens(batch: Ragged, share: float, key: int, rows: np.ndarray) -> Ragged:
    """``batch`` without about ``share`` of its tokens; delimiters stay, and so does a text that would lose all.

    What is dropped depends on nothing but the arguments: not on the rank, the worker or any generator's state.

    Args:
        batch: ``n`` sequences, delimiters first and last.
        share: Probability of each token to be left out, 0 to 1.
        key: Any number below 2**64: another one draws anew.
        rows: The record each sequence comes from, ``(n,)``.
    """
    lengths = batch.lengths.numpy()
    starts = np.cumsum(lengths) - lengths  # (n,)
    sequence = np.repeat(np.arange(len(lengths)), lengths)  # (total,)
    place = np.arange(len(sequence)) - starts[sequence]
    inner = (place > 0) & (place < lengths[sequence] - 1)
    # Two rounds: rows and places are small neighbouring numbers, one round would leave them alike.
    row_keys = _mix(np.uint64(key) ^ _mix(rows.astype(np.uint64)))  # (n,)
    draw = (
        _mix(row_keys[sequence] + place.astype(np.uint64)) >> np.uint64(11)
    ) * 2.0**-53  # (total,) in [0, 1)
    kept = ~inner | (draw >= share)
    emptied = np.bincount(sequence, kept & inner, len(lengths)) == 0
    kept |= emptied[sequence]
    counts = np.bincount(sequence, kept, len(lengths)).astype(np.int64)
    return Ragged(batch.ids[torch.from_numpy(kept)], torch.from_numpy(counts))


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014): 64 bits in, 64 well mixed bits out."""
    with np.errstate(over="ignore"):
        mixed = values + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)))
