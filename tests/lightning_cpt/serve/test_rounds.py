"""Parts of requests, and rounds of parts: nothing lost, nothing mixed up, one fault is one client's."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from lightning_cpt.serve.rounds import PART_TEXTS, PART_TOKENS, Part, encode_parts, split


def echo(rows: Sequence[Sequence[int]], side: str) -> np.ndarray:
    """A vector that tells its text: the ids' sum, and their number."""
    return np.array([[sum(row), len(row)] for row in rows], np.float32)


def test_a_request_is_split_in_order() -> None:
    rng = random.Random(0)
    rows = [[rng.randrange(99)] * rng.choice([1, 50, 2000, 9000]) for _ in range(700)]
    parts = split("query", rows)
    assert [row for part in parts for row in part.rows] == rows
    assert all(len(part.rows) <= PART_TEXTS for part in parts)
    assert all(part.tokens <= PART_TOKENS or len(part.rows) == 1 for part in parts)
    assert [Part.unpack(part.pack()) for part in parts] == parts


def test_each_part_gets_its_own_vectors() -> None:
    rng = random.Random(1)
    parts = [
        Part(rng.choice(["query", "document"]), [[rng.randrange(9)] * rng.randint(1, 7) for _ in range(size)])
        for size in (1, 5, 2, 9, 1, 3)
    ]
    seen: list[str] = []

    def encode(rows: Sequence[Sequence[int]], side: str) -> np.ndarray:
        seen.append(side)
        return echo(rows, side)

    for sided, calls in ((False, 1), (True, len({part.side for part in parts}))):
        seen.clear()
        for part, vectors in zip(parts, encode_parts(encode, parts, sided), strict=True):
            np.testing.assert_array_equal(vectors, echo(part.rows, part.side))
        assert len(seen) == calls


def test_a_part_that_breaks_the_model_takes_no_other_with_it() -> None:
    parts = [Part("query", [[at]]) for at in range(4)]

    def encode(rows: Sequence[Sequence[int]], side: str) -> np.ndarray:
        if [2] in rows:
            raise MemoryError("too much")
        return echo(rows, side)

    results = encode_parts(encode, parts, sided=False)
    assert [isinstance(one, MemoryError) for one in results] == [False, False, True, False]
    np.testing.assert_array_equal(results[3], [[3, 1]])


def test_vectors_that_are_no_numbers_are_an_error() -> None:
    def encode(rows: Sequence[Sequence[int]], side: str) -> np.ndarray:
        return np.where(np.array(rows) == 1, np.nan, 0.0).astype(np.float32)

    good, bad = encode_parts(encode, [Part("query", [[0]]), Part("query", [[1]])], sided=False)
    assert isinstance(good, np.ndarray)
    assert isinstance(bad, ValueError)
