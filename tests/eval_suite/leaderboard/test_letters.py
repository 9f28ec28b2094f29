"""Letters: equal models share one, different ones do not, and how that was found is said."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from eval_suite.leaderboard.letters import OVERLAP, PAIRED, _letters, groups
from eval_suite.paired import Sample


@pytest.mark.parametrize("seed", range(6))
def test_two_share_a_letter_exactly_if_they_do_not_differ(seed: int) -> None:
    rng = np.random.default_rng(seed)
    apart = {pair for pair in combinations(range(7), 2) if rng.random() < 0.5}
    letters = _letters(rng.permutation(7).tolist(), apart)
    for i, j in combinations(range(7), 2):
        assert bool(set(letters[i]) & set(letters[j])) == ((i, j) not in apart)
    assert all(letters)


def test_a_chain_needs_two_letters_for_the_one_between() -> None:
    assert _letters([2, 1, 0], {(0, 2)}) == ["b", "ab", "a"]


def test_paired_tests_part_what_intervals_do_not() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(500)
    samples = [
        Sample("mean", np.clip(hard + shift + rng.normal(0, 0.01, 500), 0, None)) for shift in (0.02, 0)
    ]
    overlapping = [(50.0, 55.0), (48.0, 53.0)]
    found = groups([52.0, 50.0], samples, overlapping)
    assert (found.letters, found.top, found.by) == (["a", "b"], [True, False], PAIRED)
    without = groups([52.0, 50.0], [samples[0], None], overlapping)
    assert (without.letters, without.top, without.by) == (["a", "a"], [True, True], OVERLAP)


def test_nothing_to_say() -> None:
    assert groups([1.0], [None], [None]) is None
    assert groups([1.0, 2.0], [None, None], [(0, 1), None]) is None


def test_other_examples_are_not_paired() -> None:
    samples = [Sample("mean", np.ones(3)), Sample("mean", np.ones(4))]
    assert groups([1.0, 1.0], samples, [(0.0, 1.0), (0.5, 1.0)]).by == OVERLAP


def test_many_models_can_still_be_told_apart() -> None:
    """40 models are 780 pairs: the smallest possible p has to pass Holm's first threshold."""
    rng = np.random.default_rng(1)
    samples = [Sample("mean", rng.normal(i % 2, 0.5, 100)) for i in range(40)]
    found = groups([s.values.mean() for s in samples], samples, [None] * 40)
    assert not set("".join(found.letters[0::2])) & set("".join(found.letters[1::2]))
