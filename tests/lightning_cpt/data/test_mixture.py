"""Mixtures: exact shares in every block, no pair lost or doubled in a pass, any batch found at once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lightning_cpt.data.mixture import BLOCK, Draw, Mixture, apportion
from lightning_cpt.errors import ConfigError


def mixture(counts: list[int], weights: list[float | None], batch_size: int = 10, **options: Any) -> Mixture:
    names = ["text", "code", "web", "books"][: len(counts)]
    return Mixture(names, counts, weights, batch_size, name="f/0", **options)


@pytest.mark.parametrize("seed", range(40))
def test_seats_by_weight_are_exact_at_every_round(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(rng.integers(1, 7), 0.5)) + 1e-9
    seats, rounds = int(rng.integers(8, 200)), int(rng.integers(8, 70))
    rows = apportion(weights, seats, rounds)
    assert (rows.sum(1) == seats).all()
    assert (rows >= 0).all()
    assert (rows.sum(0) >= 1).all()  # no source is forgotten
    totals = rows.sum(0)
    assert (np.abs(totals - weights / weights.sum() * seats * rounds)[totals > 1] <= len(weights)).all()
    exact = totals * np.arange(1, rounds + 1)[:, None] / rounds
    assert (np.abs(rows.cumsum(0) - exact) < 1 + 1e-9).all()


def test_a_block_holds_each_sources_share_in_an_order_of_its_own() -> None:
    found = mixture([10_000, 10_000], [0.75, 0.25])
    blocks = [[found.draws(64 * block + at)[0].source for at in range(BLOCK)] for block in range(4)]
    assert [Counter(block) for block in blocks] == [{0: 48, 1: 16}] * 4
    assert blocks[0] != blocks[1]
    assert blocks[0] != sorted(blocks[0])


def test_a_share_that_is_no_whole_number_of_batches_comes_out_exact_over_blocks() -> None:
    found = mixture([1_000_000, 1_000_000, 1_000_000], [0.7, 0.297, 0.003])
    assert found.before(4096).tolist() == [2867, 1217, 12]
    in_blocks = np.diff([found.before(64 * block) for block in range(65)], axis=0)
    assert in_blocks[:, 0].min() >= 44
    assert in_blocks[:, 0].max() <= 46


@pytest.mark.parametrize("batches", ["single_source", "mixed"])
@pytest.mark.parametrize("exhausted", ["repeat", "drop", "stop"])
def test_each_sources_places_are_taken_in_turn_without_gaps(batches: Any, exhausted: Any) -> None:
    found = mixture([431, 250, 90], [0.5, 0.3, 0.2], mixing=batches, exhausted=exhausted)
    taken: dict[tuple[int, int], list[int]] = {}
    for number in range(found.per_epoch):
        draws = found.draws(number)
        assert sum(draw.stop - draw.start for draw in draws) == 10
        assert len(draws) == 1 or batches == "mixed"
        for draw in draws:
            taken.setdefault((draw.source, draw.number), []).extend(range(draw.start, draw.stop))
    for places in taken.values():
        assert places == list(range(len(places)))


def test_one_source_is_passed_through_epoch_by_epoch() -> None:
    found = mixture([45], [None])
    assert found.per_epoch == 4
    assert [found.draws(number) for number in (0, 3, 4, 9)] == [
        [Draw(0, 0, 0, 10)],
        [Draw(0, 0, 30, 40)],
        [Draw(0, 1, 0, 10)],
        [Draw(0, 2, 10, 20)],
    ]


def test_repeat_begins_another_pass_and_goes_on_over_epochs() -> None:
    found = mixture([100, 20], [0.5, 0.5])
    assert found.per_epoch == 12
    code = [draw for number in range(24) for draw in found.draws(number) if draw.source == 1]
    assert [draw.number for draw in code] == [at // 2 for at in range(len(code))]


def test_mixed_batches_lose_no_pair_between_passes() -> None:
    found = mixture([1000, 7], [0.9, 0.1], mixing="mixed")
    places = [
        (draw.number, place)
        for number in range(70)
        for draw in found.draws(number)
        if draw.source == 1
        for place in range(draw.start, draw.stop)
    ]
    assert places == [divmod(at, 7) for at in range(len(places))]
    assert len(places) == 70


def test_stop_ends_the_epoch_before_any_source_is_seen_twice() -> None:
    found = mixture([200, 30], [0.5, 0.5], exhausted="stop")
    for epoch in range(3):
        draws = [found.draws(epoch * found.per_epoch + at)[0] for at in range(found.per_epoch)]
        assert {draw.number for draw in draws} == {epoch}
        assert Counter(draw.source for draw in draws)[1] == 3
    assert found.per_epoch < 20  # the larger source is not passed through


def test_drop_goes_on_with_the_others_to_the_last_pair() -> None:
    found = mixture([200, 30, 60], [0.2, 0.4, 0.4], exhausted="drop")
    assert found.per_epoch == 20 + 3 + 6
    draws = [found.draws(at)[0] for at in range(2 * found.per_epoch)]
    for epoch in (0, 1):
        part = draws[epoch * found.per_epoch : (epoch + 1) * found.per_epoch]
        assert {draw.number for draw in part} == {epoch}
        assert Counter(draw.source for draw in part) == {0: 20, 1: 3, 2: 6}
        assert [draw.source for draw in part[-8:]] == [0] * 8


def test_what_was_drawn_before_a_batch_is_what_the_batches_before_it_drew() -> None:
    for options in ({}, {"mixing": "mixed"}, {"exhausted": "drop"}, {"mixing": "mixed", "exhausted": "drop"}):
        found = mixture([300, 170, 45], [0.4, 0.4, 0.2], **options)
        for number in range(found.per_epoch - 1):
            step = found.before(number, further=1) - found.before(number)
            assert (step >= 0).all()
            assert step.sum() == (10 if found.mixed else 1)
    whole = mixture([10**9, 10**9], [0.3, 0.7])
    assert int(whole.before(10**8).sum()) == 10**8  # at once, however far


def test_weights_are_the_pairs_where_none_is_given() -> None:
    found = mixture([3000, 1000], [None, None])
    assert found.weights.tolist() == [0.75, 0.25]
    assert found.per_epoch == 400


@pytest.mark.parametrize(
    ("counts", "weights", "options", "message"),
    [
        ([100, 100], [0.5, None], {}, r"^data\.sources\.code\.weight: missing; give every source one, or none$"),
        ([100, 100], [0.5, 0], {}, r"^data\.sources\.code\.weight: 0 is not above 0"),
        ([100, 100], [0.5, float("nan")], {}, r"^data\.sources\.code\.weight: nan"),
        ([100, 9], [1, 1], {}, r"^data\.batch_size: 10 pairs a batch, but only 9 to train on of source code"),
        ([9], [None], {}, r"^data\.batch_size: 10 pairs a batch, but only 9 to train on; use at most 9$"),
        ([100, 3], [1, 1], {"mixing": "mixed"}, r"5 pairs a batch, but only 3 .* of source code; .* another weight$"),
        ([100], [None], {"steps_per_epoch": 0}, r"^data\.steps_per_epoch: 0 is too small"),
        ([100], [None], {"steps_per_epoch": 5, "exhausted": "drop"}, r"^data\.steps_per_epoch: only with exhausted"),
    ],
)
def test_mistakes(counts: Any, weights: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mixture(counts, weights, **options)


def test_the_schedule_is_frozen() -> None:
    """Another schedule would make old checkpoints go on wrongly: change STATE_VERSION if this must change."""
    found = mixture([1000, 1000], [0.6, 0.4])
    assert "".join(str(found.draws(at)[0].source) for at in range(24)) == FROZEN
    assert all(a != b for a, b in pairwise(found.draws(at) for at in range(24)))


FROZEN = "111001000000011000010011"
