"""The untrained encoder: fixed for ever, and near the cosines of word counts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from eval_suite.encoder import load_encoder
from eval_suite.errors import EvalError


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_its_vectors_never_change() -> None:
    vectors = load_encoder("random:4").encode(["A film", "a  FILM", ""], "x")
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_allclose(vectors[0], [0.589736, -1.391539, -0.882748, -1.140355], atol=1e-5)
    assert np.linalg.norm(vectors[2]) > 0


def test_cosines_are_those_of_the_word_counts() -> None:
    texts = ["the cat sat on the mat", "the dog sat on the log", "stocks fell sharply today"]
    vectors = load_encoder("random:20000").encode(texts, "x")
    words = sorted({w for t in texts for w in t.split()})
    counts = np.array([[Counter(t.split())[w] for w in words] for t in texts], dtype=float)
    for i, j in ((0, 1), (0, 2)):
        assert cosine(vectors[i], vectors[j]) == pytest.approx(cosine(counts[i], counts[j]), abs=0.03)


def test_names_and_mistakes() -> None:
    small, large = load_encoder("random:4"), load_encoder("random:8")
    assert (small.name, small.facts["parameters"]) == ("random:4", 0)
    assert small.fingerprint != large.fingerprint
    for bad in ("0", "-3", "many", "²", "99999"):
        with pytest.raises(EvalError, match="a dimension from 1"):
            load_encoder(f"random:{bad}")
