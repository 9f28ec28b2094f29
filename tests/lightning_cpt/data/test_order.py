"""The order of records: pure, complete, well mixed, cheap to enter anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_cpt.data.order import PassOrder, local_batch_size, permutation
from lightning_cpt.errors import ConfigError

COUNTS = np.array([5, 5, 5, 3, 5, 1, 5, 5, 2])  # 36 records


def whole(**changes: object) -> list[tuple[int, int]]:
    options = {"fingerprint": "f", "seed": 0, "number": 0, "window_chunks": 3, **changes}
    order = PassOrder(COUNTS, **options)  # type: ignore[arg-type]
    return [tuple(row) for row in order.positions(0, len(order)).tolist()]


def test_a_pass_holds_every_record_once() -> None:
    everything = sorted((chunk, row) for chunk, count in enumerate(COUNTS) for row in range(count))
    for window_chunks in (1, 2, 3, 9, 100):
        assert sorted(whole(window_chunks=window_chunks)) == everything


@pytest.mark.parametrize("window_chunks", [1, 3, 4, 100])
def test_any_part_equals_the_whole_order_there(window_chunks: int) -> None:
    order = whole(window_chunks=window_chunks)
    fresh = PassOrder(COUNTS, "f", 0, 0, window_chunks)
    for start, stop in [(30, 36), (0, 7), (11, 23), (22, 23), (0, 36)]:
        assert fresh.positions(start, stop).tolist() == [list(p) for p in order[start:stop]]


def test_the_order_depends_on_data_seed_and_pass_alone() -> None:
    assert whole() == whole()
    for changed in ({"fingerprint": "g"}, {"seed": 1}, {"number": 1}):
        assert whole(**changed) != whole()


def test_the_order_is_frozen() -> None:
    """Another order would make old checkpoints go on wrongly: change STATE_VERSION if this must change."""
    assert permutation("frozen", 12).tolist() == [11, 3, 1, 10, 5, 2, 6, 8, 7, 0, 4, 9]


def test_records_of_a_window_are_mixed() -> None:
    order = PassOrder(np.full(64, 32), "f", 0, 0, 8)
    first = order.positions(0, 64)  # a batch of 64 out of a window of 256
    assert len(set(first[:, 0].tolist())) == 8
    assert len(np.unique(np.diff(first[:, 1]))) > 10


def test_a_batch_needs_only_the_chunks_of_its_windows() -> None:
    order = PassOrder(np.full(64, 32), "f", 0, 0, 8)
    inside, across = order.positions(512, 576), order.positions(480, 544)
    assert len(set(inside[:, 0].tolist())) <= 8
    assert 8 < len(set(across[:, 0].tolist())) <= 16


def test_chunks_are_found_by_their_place() -> None:
    order = PassOrder(COUNTS, "f", 0, 0, 3)
    chunks = np.arange(len(COUNTS))
    places = order.places(chunks)
    assert sorted(places.tolist()) == chunks.tolist()
    assert [order.chunk_at(place) for place in places.tolist()] == chunks.tolist()
    assert order.chunk_at(-1) == order.chunk_at(len(COUNTS) - 1)
    first = order.positions(0, 1)[0, 0]
    assert order.places(first) < 3  # of the first window


def test_ranks_share_a_batch_evenly() -> None:
    assert local_batch_size(12, 4) == 3
    with pytest.raises(ConfigError, match=r"data\.batch_size: 10 is not divisible by 4 ranks; use 8 or 12"):
        local_batch_size(10, 4)
    with pytest.raises(ConfigError, match="use 4"):
        local_batch_size(3, 4)
