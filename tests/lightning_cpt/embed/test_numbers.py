"""What float16 and int8 keep of a vector, and what the ranking loses."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_cpt.embed.numbers import ranking_loss, restore, sampled, store
from lightning_cpt.errors import ConfigError


@pytest.fixture
def vectors() -> np.ndarray:
    found = np.random.default_rng(0).standard_normal((400, 32)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_int8_is_off_by_half_a_step_at_most(vectors: np.ndarray) -> None:
    stored, scales = store(vectors, "int8")
    assert stored.dtype == np.int8
    assert scales is not None
    assert np.abs(stored).max(axis=1).tolist() == [127] * len(vectors)
    assert (np.abs(restore(stored, scales) - vectors) <= scales[:, None] * 0.5001).all()


def test_a_row_does_not_depend_on_the_others_and_zeros_stay(vectors: np.ndarray) -> None:
    vectors[3] = 0
    stored, scales = store(vectors, "int8")
    alone, scale = store(vectors[5:6], "int8")
    assert scales is not None
    assert scale is not None
    assert np.array_equal(alone[0], stored[5])
    assert scale[0] == scales[5]
    assert not restore(stored, scales)[3].any()


def test_ranking_loss_grows_with_the_error(vectors: np.ndarray) -> None:
    same = ranking_loss(vectors, vectors)
    assert same is not None
    assert same.recall == 1
    assert same.correlation == pytest.approx(1)
    eight = ranking_loss(vectors, restore(*store(vectors, "int8")))
    coarse = ranking_loss(vectors, np.rint(vectors * 4) / 4)
    assert eight is not None
    assert coarse is not None
    assert coarse.recall < 0.9 < eight.recall < 1
    assert coarse.correlation < eight.correlation < 1


def test_recall_by_hand() -> None:
    exact = np.eye(21, dtype=np.float32)
    exact[0, 1:] = np.linspace(1, 0.1, 20)  # row 0 ranks 1, 2, 3, ...
    stored = exact.copy()
    stored[0, 1:] = stored[0, :0:-1]  # turned round: the top 10 are the other 10
    found = ranking_loss(exact, stored)
    assert found is not None
    recalls_of_others = 20  # each other row's only score that is not 0 is row 0's: ties are kept in order
    assert found.recall <= recalls_of_others / 21
    assert ranking_loss(exact[:19], exact[:19]) is None


def test_the_sample_is_a_function_of_places() -> None:
    whole = sampled(0, 10_000, 10_000)
    parts = np.concatenate([first + sampled(first, 1000, 10_000) for first in range(0, 10_000, 1000)])
    assert np.array_equal(whole, parts)
    assert len(whole) == 2000
    assert len(sampled(0, 50, 50)) == 50


def test_numbers_that_float16_does_not_hold_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"numbers up to 1e\+06, float16 holds 65504"):
        store(np.array([[1.0, -1e6]], np.float32), "float16")
