"""MinHash signatures of many texts at once, and the number of bands that a threshold asks for."""

from __future__ import annotations

from itertools import chain

import numpy as np

from data_prep.errors import DataError
from data_prep.shingles import Hashed

PERMUTATIONS = 128
MIN_RECALL = 0.999
_SEED = 1
_SCALE = np.uint64(0xBF58476D1CE4E5B9)
_FACTOR = np.uint64(0x5851F42D4C957F2D)


def signatures(hashed: Hashed) -> np.ndarray:
    """The signatures of texts that have one shingle each at least: uint32 (texts, 128).

    Two texts agree in a slot with the probability of their Jaccard index. rensa's R-MinHash makes them of the
    hashes that are there, at 30 times the speed of datasketch.

    Raises:
        DataError: rensa is not installed.
    """
    try:
        from rensa import RMinHash
    except ImportError:
        raise DataError("near-duplicates need rensa: pip install 'lightning-cpt[prep]'") from None
    ends = hashed.ends.astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashed.values, ends, PERMUTATIONS, _SEED)
    flat = chain.from_iterable(matrix.to_rows())
    return np.fromiter(flat, np.uint32, (len(ends) - 1) * PERMUTATIONS).reshape(-1, PERMUTATIONS)


def _mixed(values: np.ndarray) -> np.ndarray:
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
        keys = _mixed((keys + parts[:, :, row]) * _FACTOR + _SCALE)
    return keys


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """The index of two sorted sets without repeats."""
    if len(a) > len(b):
        a, b = b, a
    places = np.searchsorted(b, a)
    places[places == len(b)] = 0
    shared = int(np.count_nonzero(b[places] == a)) if len(b) else 0
    return shared / max(1, len(a) + len(b) - shared)
