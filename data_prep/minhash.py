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
    sizes = np.diff(hashed.ends)
    out = np.full((len(sizes), PERMUTATIONS), _EMPTY)
    values, begins = hashed.values, np.repeat(np.arange(len(sizes)) * PERMUTATIONS, sizes)
    for number in range(_ROUNDS):
        mixed = _spread(values * _ROUND[number, 0] + _ROUND[number, 1])
        slots = begins + (mixed >> np.uint64(57)).astype(np.int64)
        np.minimum.at(out.reshape(-1), slots, _values(mixed, number))
        still = out.max(axis=1) == _EMPTY
        mine = still[begins // PERMUTATIONS]
        values, begins = values[mine], begins[mine]
        if not len(values):
            return out
    _fill_empty(out, np.flatnonzero(still), values, sizes[still])
    return out


def _values(mixed: np.ndarray, number: int) -> np.ndarray:
    """uint32: 29 bits of the hash under the round's number, so that no later round goes below an earlier one."""
    return ((mixed >> np.uint64(24)).astype(np.uint32) & np.uint32(2**29 - 1)) | np.uint32(number << 29)


def _fill_empty(out: np.ndarray, rows: np.ndarray, values: np.ndarray, sizes: np.ndarray) -> None:
    """Give every empty slot the minimum of its own hash over its text's shingles."""
    which, slots = np.nonzero(out[rows] == _EMPTY)
    counts, starts = sizes[which], np.concatenate([[0], np.cumsum(sizes)[:-1]])
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    at = np.arange(counts.sum()) + np.repeat(starts[which] - first, counts)
    factor, summand = (np.repeat(_SLOT[slots, k], counts) for k in (0, 1))
    mixed = _spread(values[at] * factor + summand)
    out[rows[which], slots] = np.minimum.reduceat(_values(mixed, _ROUNDS), first)


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
