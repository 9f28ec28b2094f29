"""Batches of equal length against sentence-transformers' own methods, and that a text's vector is its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eval_suite.buckets import _batches, encode_in_buckets

WORDS = ["a", "cat", "dog", "runs", "sits", "in", "the", "sun", "find", ":"]


def texts(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[:8], int(rng.integers(1, 14)))) for _ in range(n)]


def test_batches_hold_one_length_in_one_shape() -> None:
    lengths = np.array([3, 5, 3, 3, 5] * 300)
    seen: list[int] = []
    shapes: dict[int, set[int]] = {}
    for rows, wanted in _batches(lengths):
        (length,) = set(lengths[rows].tolist())
        shapes.setdefault(length, set()).add(len(rows))
        seen += rows[:wanted].tolist()
    assert sorted(seen) == list(range(1500))
    assert all(len(sizes) == 1 for sizes in shapes.values())


@pytest.mark.slow  # the library alone takes seconds to import
@pytest.mark.parametrize("side", ["plain", "x", "y"])
def test_the_vectors_are_the_models_own(tiny_transformer: Any, side: str) -> None:
    own = {
        "plain": tiny_transformer.encode,
        "x": tiny_transformer.encode_query,
        "y": tiny_transformer.encode_document,
    }[side]
    some = texts(200)
    found = encode_in_buckets(tiny_transformer, some, side)
    assert found.dtype == np.float32
    assert np.abs(found - own(some)).max() < 1e-5
    assert (
        np.abs(
            encode_in_buckets(tiny_transformer, some, "x")
            - encode_in_buckets(tiny_transformer, some, "plain")
        ).max()
        > 1e-3
    )


@pytest.mark.slow
def test_a_texts_vector_does_not_depend_on_its_company(tiny_transformer: Any) -> None:
    some = texts(60)
    together = encode_in_buckets(tiny_transformer, [*texts(500, seed=1), *some], "plain")[-60:]
    assert np.array_equal(encode_in_buckets(tiny_transformer, some, "plain"), together)
    assert np.array_equal(encode_in_buckets(tiny_transformer, some[:1], "plain")[0], together[0])


@pytest.mark.slow
def test_left_padding_goes_through_the_models_own_method(tiny_transformer: Any) -> None:
    tiny_transformer.tokenizer.padding_side = "left"
    try:
        some = texts(30)
        assert (
            np.abs(encode_in_buckets(tiny_transformer, some, "plain") - tiny_transformer.encode(some)).max()
            < 1e-5
        )
    finally:
        tiny_transformer.tokenizer.padding_side = "right"


@pytest.mark.slow
def test_the_adapter_counts_tokens_before_anything_is_cut(tiny_transformer: Any) -> None:
    from eval_suite.adapters import SentenceTransformerEncoder
    from eval_suite.diagnostics import truncated_share

    encoder = SentenceTransformerEncoder(tiny_transformer, "st-fast:tiny_transformer", fast=True)
    slow = SentenceTransformerEncoder(tiny_transformer, "st:tiny_transformer")
    assert encoder.fingerprint != slow.fingerprint
    assert np.abs(encoder.encode(texts(50), "plain") - slow.encode(texts(50), "plain")).max() < 1e-5
    some = ["a cat", "a cat runs in the sun the sun the sun"]
    assert encoder.token_count(some) == [4, 12]
    assert truncated_share(encoder, some) == 0.5
    assert encoder.facts["pooling"] == "mean"
    assert encoder.facts["max_length"] == encoder.max_length == 10
