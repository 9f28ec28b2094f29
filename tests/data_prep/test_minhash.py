"""Signatures estimate the Jaccard index without bias, also of short texts; bands find what lies at the threshold."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.errors import DataError
from data_prep.minhash import PERMUTATIONS, band_keys, choose_bands, jaccard, share_found, signatures
from data_prep.shingles import Hashed


def pair_of_sets(size: int, shared: int, seed: int) -> Hashed:
    drawn = np.random.default_rng(seed).integers(0, 2**63, 2 * size - shared, dtype=np.uint64)
    return Hashed(np.concatenate([drawn[:size], drawn[size - shared :]]), np.array([0, size, 2 * size]))


@pytest.mark.parametrize(("size", "shared"), [(4, 2), (20, 16), (100, 90), (400, 300)])
def test_slots_agree_with_the_probability_of_the_jaccard_index(size: int, shared: int) -> None:
    both = [signatures(pair_of_sets(size, shared, seed)) for seed in range(200)]
    agreed = np.mean([(one == other).mean() for one, other in both])
    true = shared / (2 * size - shared)
    # Six standard errors of slots that were independent; these are less spread than that.
    assert abs(agreed - true) < 6 * (true * (1 - true) / PERMUTATIONS / 200) ** 0.5


def test_repeats_order_and_company_do_not_matter() -> None:
    values = np.random.default_rng(0).integers(0, 2**63, 30, dtype=np.uint64)
    other = np.random.default_rng(1).integers(0, 2**63, 300, dtype=np.uint64)
    alone = signatures(Hashed(values, np.array([0, 30])))[0]
    again = np.concatenate([other, values[::-1], values[:5]])
    np.testing.assert_array_equal(signatures(Hashed(again, np.array([0, 300, 335])))[1], alone)


def test_no_slot_stays_empty() -> None:
    signature = signatures(Hashed(np.array([7], np.uint64), np.array([0, 1])))
    assert (signature != 2**32 - 1).all()
    assert len(set(signature[0].tolist())) > PERMUTATIONS // 2


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_find_what_lies_at_the_threshold(threshold: float) -> None:
    bands, rows = choose_bands(threshold)
    assert bands * rows <= PERMUTATIONS
    assert share_found(threshold, bands, rows) >= 0.99


def test_bands_at_the_default() -> None:
    assert choose_bands(0.8) == (25, 5)


@pytest.mark.parametrize("threshold", [-0.1, 0.0, 1.5])
def test_bad_threshold(threshold: float) -> None:
    with pytest.raises(DataError, match="near-duplicate threshold"):
        choose_bands(threshold)


def test_equal_rows_have_equal_keys_and_others_do_not() -> None:
    signature = np.arange(2 * PERMUTATIONS, dtype=np.uint32).reshape(2, -1)
    signature[1, :5] = signature[0, :5]
    keys = band_keys(signature, 25, 5)
    assert (keys[0] == keys[1]).tolist() == [True] + [False] * 24


def test_jaccard_of_sets() -> None:
    one, other = np.array([1, 2, 3, 9], np.uint32), np.array([2, 3, 4], np.uint32)
    assert jaccard(one, other) == jaccard(other, one) == 2 / 5
    assert jaccard(one, one) == 1
    assert jaccard(one, one[:0]) == 0
