"""The figures that explain a score, on vectors whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from eval_suite import diagnostics
from eval_suite.errors import EvalError


def test_effective_rank_of_known_matrices() -> None:
    assert diagnostics.spread(np.eye(8)).effective_rank == pytest.approx(8)
    assert diagnostics.spread(np.eye(8)).mean_cosine == pytest.approx(0)
    two = np.repeat(np.eye(6)[:2], 5, axis=0)
    assert diagnostics.spread(two).effective_rank == pytest.approx(2)
    noise = np.random.default_rng(0).normal(size=(3000, 16))
    assert diagnostics.spread(noise).effective_rank == pytest.approx(16, abs=0.5)
    # Singular values 3 and 1: the entropy of (3/4, 1/4).
    nine = np.repeat(np.eye(2), [9, 1], axis=0)
    assert diagnostics.spread(nine).effective_rank == pytest.approx(
        np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    )


@pytest.mark.parametrize("rows", [np.ones((50, 4)), np.zeros((50, 4)), np.ones((1, 4))])
def test_a_constant_encoder_has_rank_one_and_is_warned_of(rows: np.ndarray) -> None:
    found = diagnostics.spread(rows)
    assert (found.effective_rank, found.mean_cosine) == (pytest.approx(1), pytest.approx(1))
    (line,) = diagnostics.collapse_warnings(found)
    assert "collapsed vectors: effective rank 1.0 of" in line
    assert "\n" not in line


def test_noise_around_one_point_is_collapse_and_a_common_direction_is_not() -> None:
    noise = np.random.default_rng(0).normal(size=(500, 64)) / 8  # rows of about length one
    point = np.eye(64)[0]
    assert diagnostics.collapse_warnings(diagnostics.spread(point + 0.02 * noise))
    assert not diagnostics.collapse_warnings(diagnostics.spread(2 * point + noise))  # mean cosine 0.8
    assert not diagnostics.collapse_warnings(diagnostics.spread(noise))


def test_tie_rate_counts_every_score_of_a_tie() -> None:
    assert diagnostics.tie_rate(np.array([1.0, 2.0, 2.0, 3.0])) == 0.5
    assert diagnostics.tie_rate(np.array([[1.0, 1.0], [1.0, 2.0]])) == 0.5
    assert diagnostics.tie_rate(np.array([3.0, 3.0, 3.0])) == 1.0
    assert diagnostics.tie_rate(np.array([3.0])) == diagnostics.tie_rate(np.array([])) == 0.0
    assert diagnostics.tie_warnings(0.04) == []
    assert "50.0 %" in diagnostics.tie_warnings(0.5)[0]


class Counting:
    name = "counting"
    max_length: int | None = 3

    def token_count(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def test_truncated_share_is_known_only_where_the_encoder_can_tell() -> None:
    texts = ["a b c", "a b c d", "a", "e f g h i"]
    assert diagnostics.truncated_share(Counting(), texts) == 0.5
    assert diagnostics.truncated_share(object(), texts) is None
    unlimited = Counting()
    unlimited.max_length = None
    assert diagnostics.truncated_share(unlimited, texts) == 0.0
    assert diagnostics.truncation_warnings(None, None) == []
    assert (
        "50.0 % of the texts are longer than the encoder's 3 tokens"
        in diagnostics.truncation_warnings(0.5, 3)[0]
    )


class OneSided:
    """Finds a document only where the query stands on the side `good`."""

    name = "one-sided"

    def __init__(self, good: str) -> None:
        self.good = good

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        vectors = np.zeros((len(texts), 32), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            kind, number = text.split()
            right = side == (self.good if kind == "query" else {"x": "y", "y": "x"}[self.good])
            row[int(number) % 32 if right else 0] = 1
        return vectors


def test_swapped_sides_are_found_and_right_ones_are_not() -> None:
    queries, documents = [f"query {i}" for i in range(32)], [f"document {i}" for i in range(32)]
    right = diagnostics.side_swap(OneSided("x"), queries, documents)
    assert (right.right, right.swapped_is_better) == (1.0, False)
    assert diagnostics.swap_warnings(right) == []
    wrong = diagnostics.side_swap(OneSided("y"), queries, documents)
    assert (wrong.swapped, wrong.swapped_is_better) == (1.0, True)
    assert "x and y look swapped" in diagnostics.swap_warnings(wrong)[0]


def test_the_swap_check_refuses_bad_vectors() -> None:
    class Short(OneSided):
        def encode(self, texts: list[str], side: str) -> np.ndarray:
            return super().encode(texts, side)[:-1]

    with pytest.raises(EvalError, match="32 texts gave shape"):
        diagnostics.side_swap(
            Short("x"), [f"query {i}" for i in range(32)], [f"document {i}" for i in range(32)]
        )


def test_a_sample_is_evenly_spaced_and_keeps_the_ends() -> None:
    assert diagnostics.sample(list(range(11)), 3) == [0, 5, 10]
    assert diagnostics.sample([1, 2], 3) == [1, 2]


def test_an_encoder_may_read_more_on_one_side() -> None:
    class Sided:
        max_length = {"x": 3, "y": 9}  # noqa: RUF012

        def token_count(self, texts: list[str]) -> list[int]:
            return [len(text) for text in texts]

    assert diagnostics.truncated_share(Sided(), ["abcd", "ab"]) == 0.5
    assert diagnostics.truncated_share(Sided(), ["abcd", "ab"], "y") == 0.0
    assert (diagnostics.token_limit(Sided()), diagnostics.token_limit(Sided(), "y")) == (3, 9)
