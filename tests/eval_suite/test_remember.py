"""Tasks run together encode each text once, and get what they would have got alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval_suite import run_task
from eval_suite.errors import EvalError
from eval_suite.remember import RememberingEncoder


def test_a_text_is_encoded_once_a_side(hash_encoder) -> None:
    encoder = RememberingEncoder(hash_encoder)
    first = encoder.encode(["a b", "c", "a b"], "x")
    again = encoder.encode(["c", "d", "a b"], "x")
    encoder.encode(["c"], "y")
    assert sorted(hash_encoder.seen) == [("a b", "x"), ("c", "x"), ("c", "y"), ("d", "x")]
    assert np.array_equal(first[[1, 0]], again[[0, 2]])
    assert (encoder.name, encoder.fingerprint) == (hash_encoder.name, hash_encoder.fingerprint)


def test_past_its_limit_it_encodes_and_forgets(hash_encoder) -> None:
    encoder = RememberingEncoder(hash_encoder, most_bytes=2 * 16 * 4)
    encoder.encode(["a", "b"], "x")
    assert np.array_equal(encoder.encode(["c", "a"], "x"), hash_encoder.encode(["c", "a"], "x"))
    hash_encoder.seen.clear()
    encoder.encode(["a", "c"], "x")
    assert hash_encoder.seen == [("c", "x")]


def test_tasks_that_share_texts_share_the_work_and_the_scores(toy_data: Path, hash_encoder) -> None:
    names = ["SST2", "SST2-knn", "SST2-zero-shot"]
    alone = [run_task(hash_encoder, name, toy_data, workers=1).score for name in names]
    hash_encoder.seen.clear()
    encoder = RememberingEncoder(hash_encoder)
    assert [run_task(encoder, name, toy_data, workers=1).score for name in names] == alone
    assert len(hash_encoder.seen) == len(set(hash_encoder.seen))


def test_bad_vectors_are_refused(hash_encoder) -> None:
    hash_encoder.encode = lambda texts, side: np.full((len(texts), 2), np.inf)
    with pytest.raises(EvalError, match="NaN or infinity"):
        RememberingEncoder(hash_encoder).encode(["a"], "x")
