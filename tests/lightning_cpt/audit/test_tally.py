"""The counts of a batch: by hand, against the naive comparison of all with all, and against the loss's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lightning_cpt.audit.tally import HASHES, Share, Tally, false_negatives, padding, repeats, row, tally
from lightning_cpt.losses import InfoNCE, Keys


def share(sources: str, hashes: list[list[int]], **changes: Any) -> Share:
    """Pairs of the sources a, b, ... with 4 tokens of x and 6 of y, of which the first pair's y is cut."""
    n = len(sources)
    facts: dict[str, Any] = {
        "sources": list(sources),
        "hashes": np.array(hashes, np.int64).reshape(-1, 3),
        "negative_hashes": np.array([], np.int64),
        "cut": np.array([[False, at == 0] for at in range(n)]),
        "lengths": np.array([[4, 6]] * n),
        "tokens": 10 * n,
        "padded": 20 * n,
    }
    return Share(**{**facts, **changes})


def test_a_batch_of_two_ranks_counted_by_hand() -> None:
    first = share("aa", [[1, 11, 21], [2, 12, 22]])
    # The third has the first one's x and document, the fourth the second one's y; the hard negative is its y too.
    second = share("ab", [[1, 13, 21], [4, 12, 24]], negative_hashes=np.array([12, 99]))
    found = tally([first, second], mask=[0, 1, 2])
    assert found["a"] == Tally(
        pairs=3,
        tokens_x=12,
        tokens_y=18,
        known_cut=3,
        cut_y=2,
        hashed=3,
        duplicate_x=1,
        duplicate_document=1,
        masked=4,  # first with third and third with first, second with fourth, second with the hard negative
        compared=3 * 5 - 4,
    )
    assert (found["b"].duplicate_y, found["b"].masked, found["b"].compared) == (1, 2, 3)
    assert padding([first, second]) == (40, 80)


def test_padding_goes_to_a_source_only_where_the_batch_is_of_it_alone() -> None:
    hashes = [[at, at, at] for at in range(2)]
    assert tally([share("aa", hashes)], None)["a"].padded == 40
    assert all(part.padded == 0 for part in tally([share("ab", hashes)], None).values())
    assert tally([share("aa", hashes), share("aa", hashes, padded=0)], None)["a"].padded == 0
    assert padding([share("aa", hashes), share("aa", hashes, padded=0)]) == (0, 0)


def test_what_is_not_known_is_null() -> None:
    unknown = share("aa", [], cut=np.empty((0, 2), bool), padded=0)
    (counts,) = tally([unknown], mask=[0]).values()
    found = row("a", counts, {"a": 2}, {})
    known = {key: value for key, value in found.items() if value is not None}
    assert known == {"pairs": 2, "share_had": 1, "audited_pairs": 2, "tokens_x": 4, "tokens_y": 6}


def test_a_loss_that_does_not_say_what_it_masks_has_its_duplicates_counted() -> None:
    (counts,) = tally([share("aa", [[1, 2, 3], [1, 5, 6]])], mask=None).values()
    found = row("a", counts, {"a": 2}, {"a": 1.0})
    assert found["duplicate_x"] == 1
    assert found["masked_per_query"] is found["negatives_per_query"] is None


def test_the_shares_are_of_the_pairs_of_all_steps() -> None:
    seen = {"a": 30, "b": 10}
    assert row("b", Tally(pairs=5), seen, {"b": 0.3})["share_had"] == 0.25
    assert row("b", Tally(pairs=5), seen, {"b": 0.3})["share_wanted"] == 0.3
    assert row("", Tally(pairs=5), seen, {"b": 0.3})["pairs"] == 40


def test_repeats() -> None:
    assert repeats(np.array([3, 1, 3, 3, 2, 1])).tolist() == [False, False, True, True, False, True]


@pytest.mark.parametrize("mask", [[], [0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]])
def test_false_negatives_are_those_of_comparing_all_with_all(mask: list[int]) -> None:
    rng = np.random.default_rng(len(mask))
    hashes, negatives = rng.integers(0, 12, (60, 3)), rng.integers(0, 12, 25)
    alike = np.zeros((60, 60), bool)
    for column in mask:
        alike |= hashes[:, None, column] == hashes[None, :, column]
    np.fill_diagonal(alike, False)
    wanted = alike.sum(1)
    if 1 in mask:
        wanted += (hashes[:, 1, None] == negatives).sum(1)
    assert false_negatives(hashes, negatives, mask).tolist() == wanted.tolist()
    assert not mask or wanted.any()


@pytest.mark.parametrize("mask", [["x", "y", "document"], ["document"], []])
def test_they_are_the_losss_own(mask: Any) -> None:
    rng = np.random.default_rng(0)
    hashes, negatives = rng.integers(0, 20, (40, 3)), rng.integers(0, 20, 30)
    vectors = torch.nn.functional.normalize(torch.randn(110, 8), dim=1).split([40, 40, 30])
    contrast = InfoNCE(mask=mask)(*vectors, Keys(torch.from_numpy(hashes), torch.from_numpy(negatives)))
    parts = tally(
        [share("a" * 40, hashes.tolist(), negative_hashes=negatives)], [HASHES.index(name) for name in mask]
    )
    found = row("a", parts["a"], {"a": 40}, {})
    assert found["masked_per_query"] == pytest.approx(float(contrast.masked_per_query), rel=1e-6)
    assert found["negatives_per_query"] == pytest.approx(float(contrast.negatives_per_query), rel=1e-6)
