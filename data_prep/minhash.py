"""MinHash signatures of many texts at once, and the number of bands that a threshold asks for."""

from __future__ import annotations

import numpy as np

from data_prep.errors import DataError
from data_prep.shingles import Hashed

PERMUTATIONS = 128
MIN_RECALL = 0.999
_ROUNDS = 4
_EMPTY = np.uint32(2**32 - 1)
_SCALE = np.uint64(0xBF58476D1CE4E5B9)


def _constants(count: int, seed: int) -> np.ndarray:
    """uint64 (count, 2): an odd factor and a summand each; the same on every machine."""
    bits = np.random.Generator(np.random.Philox(seed)).integers(0, 2**64, (count, 2), dtype=np.uint64)
    bits[:, 0] |= np.uint64(1)
    return bits


_ROUND = _constants(_ROUNDS, 1)
_SLOT = _constants(PERMUTATIONS, 2)


def signatures(hashed: Hashed) -> np.ndarray:
    """The signatures of texts that have one shingle each at least: uint32 (texts, 128).

    Two texts agree in a slot with the probability of their Jaccard index. The slots are filled as in fast
    similarity sketching (Dahlgaard, Knudsen and Thorup, 2017): in a round each shingle is thrown into one slot
    and the smallest stays, a slot that is full keeps what it has; what is empty after the last round takes the
    minimum over all shingles. That is 4 hashes per shingle, not 128, and numpy does them for a batch at once.
    """
    count = len(hashed.ends) - 1
    out = np.full((count, PERMUTATIONS), _EMPTY)
    rows, values, sizes = np.arange(count), hashed.values, np.diff(hashed.ends)
    for number in range(_ROUNDS):
        thrown = _throw(values, sizes, number)
        out[rows] = thrown if number == 0 else np.where(out[rows] == _EMPTY, thrown, out[rows])
        still = (out[rows] == _EMPTY).any(1)
        values, rows, sizes = values[np.repeat(still, sizes)], rows[still], sizes[still]
        if not len(rows):
            return out
    _fill_empty(out, rows, values, sizes)
    return out


def _throw(values: np.ndarray, sizes: np.ndarray, number: int) -> np.ndarray:
    """One round: uint32 (rows, 128), the smallest of what fell into each slot."""
    mixed = _spread(values * _ROUND[number, 0] + _ROUND[number, 1])
    slots = np.repeat(np.arange(len(sizes)) * PERMUTATIONS, sizes) + (mixed >> np.uint64(57)).astype(np.int64)
    thrown = np.full(len(sizes) * PERMUTATIONS, _EMPTY)
    np.minimum.at(thrown, slots, (mixed >> np.uint64(24)).astype(np.uint32))
    return thrown.reshape(-1, PERMUTATIONS)


def _fill_empty(out: np.ndarray, rows: np.ndarray, values: np.ndarray, sizes: np.ndarray) -> None:
    """Give every empty slot the minimum of its own hash over its text's shingles."""
    which, slots = np.nonzero(out[rows] == _EMPTY)
    counts, starts = sizes[which], np.concatenate([[0], np.cumsum(sizes)[:-1]])
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    at = np.arange(counts.sum()) + np.repeat(starts[which] - first, counts)
    factor, summand = (np.repeat(_SLOT[slots, k], counts) for k in (0, 1))
    mixed = _spread(values[at] * factor + summand)
    out[rows[which], slots] = np.minimum.reduceat((mixed >> np.uint64(24)).astype(np.uint32), first)


def _spread(values: np.ndarray) -> np.ndarray:
    values ^= values >> np.uint64(29)
    values *= _SCALE
    return values


def choose_bands(threshold: float) -> tuple[int, int]:
    """Bands and rows per band: the most rows (fewest false candidates) that still find what lies at the threshold.

    A pair of Jaccard index j shares a band with probability 1 - (1 - j**rows)**bands. At 0.8 this gives 25
    bands of 5 rows: 99.995 % of pairs at 0.8 are found, 55 % at 0.5 are looked at and refused.

    Raises:
        DataError: the threshold is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise DataError(f"near-duplicate threshold {threshold}: must be over 0 and at most 1")
    for rows in range(16, 1, -1):
        bands = PERMUTATIONS // rows
        if share_found(threshold, bands, rows) >= MIN_RECALL:
            return bands, rows
    return PERMUTATIONS, 1


def share_found(jaccard: float, bands: int, rows: int) -> float:
    """The part of pairs of that Jaccard index that share a band."""
    return float(1 - (1 - jaccard**rows) ** bands)


def band_keys(signature: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """One hash per band: uint64 (texts, bands)."""
    parts = signature[:, : bands * rows].reshape(-1, bands, rows).astype(np.uint64)
    keys = np.zeros(parts.shape[:2], np.uint64)
    for row in range(rows):
        keys = _spread((keys + parts[:, :, row]) * _ROUND[0, 0] + _ROUND[0, 1])
    return keys


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """The index of two sorted sets without repeats."""
    if len(a) > len(b):
        a, b = b, a
    places = np.searchsorted(b, a)
    places[places == len(b)] = 0
    shared = int(np.count_nonzero(b[places] == a)) if len(b) else 0
    return shared / max(1, len(a) + len(b) - shared)
