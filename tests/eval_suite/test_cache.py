"""Vectors come back bit for bit, and never another encoder's."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from eval_suite.bm25 import BM25Encoder, by_words
from eval_suite.cache import CachedEncoder
from eval_suite.encoder import facts, symmetric_side
from eval_suite.errors import EvalError

TEXTS = ["the good film", "a bad plot", "", "é, a letter of two bytes"]


def test_what_was_encoded_is_not_encoded_again(hash_encoder, tmp_path: Path) -> None:
    cached = CachedEncoder(hash_encoder, tmp_path / "new")
    first = cached.encode([*TEXTS, TEXTS[0]], "x")
    assert hash_encoder.seen == [(text, "x") for text in TEXTS]
    again = CachedEncoder(hash_encoder, tmp_path / "new").encode([TEXTS[2], TEXTS[0], "one more"], "x")
    assert hash_encoder.seen[len(TEXTS) :] == [("one more", "x")]
    assert first.dtype == again.dtype == np.float32
    assert np.array_equal(again[:2], first[[2, 0]])


def test_sides_and_fingerprints_have_vectors_of_their_own(hash_encoder, tmp_path: Path) -> None:
    CachedEncoder(hash_encoder, tmp_path).encode(TEXTS, "x")
    CachedEncoder(hash_encoder, tmp_path).encode(TEXTS, "y")
    assert hash_encoder.seen[len(TEXTS) :] == [(text, "y") for text in TEXTS]
    hash_encoder.fingerprint = "other weights"
    before = len(hash_encoder.seen)
    CachedEncoder(hash_encoder, tmp_path).encode(TEXTS, "x")
    assert len(hash_encoder.seen) == before + len(TEXTS)


def test_fingerprints_that_share_a_file_name_do_not_share_vectors(hash_encoder, tmp_path: Path) -> None:
    hash_encoder.fingerprint = "a/b"
    CachedEncoder(hash_encoder, tmp_path).encode(TEXTS, "x")
    hash_encoder.fingerprint = "a-b"
    with pytest.raises(EvalError, match="another encoder's vectors"):
        CachedEncoder(hash_encoder, tmp_path).encode(TEXTS, "x")


def test_it_keeps_the_encoders_own_attributes(hash_encoder, tmp_path: Path) -> None:
    hash_encoder.symmetric_side = "plain"
    cached = CachedEncoder(hash_encoder, tmp_path)
    assert symmetric_side(cached) == "plain"
    assert (cached.name, cached.dim) == ("hash", 16)


def test_bad_vectors_are_refused_and_not_kept(hash_encoder, tmp_path: Path) -> None:
    hash_encoder.encode = lambda texts, side: np.full((len(texts), 2), np.nan)
    with pytest.raises(EvalError, match="NaN"):
        CachedEncoder(hash_encoder, tmp_path).encode(TEXTS, "x")
    (path,) = tmp_path.iterdir()
    with sqlite3.connect(path) as database:
        assert database.execute("select count(*) from vectors").fetchone() == (0,)


def test_a_damaged_or_blocked_cache_is_named(hash_encoder, tmp_path: Path) -> None:
    CachedEncoder(hash_encoder, tmp_path).encode(TEXTS, "x")
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"not a database" * 400)
    with pytest.raises(EvalError, match=r"\.sqlite: cannot be used .*--no-cache"):
        CachedEncoder(hash_encoder, tmp_path).encode(TEXTS, "x")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EvalError, match="cannot be used"):
        CachedEncoder(hash_encoder, tmp_path / "file").encode(TEXTS, "x")


def test_an_error_of_the_encoder_is_not_called_one_of_the_cache(hash_encoder, tmp_path: Path) -> None:
    def failing(texts: list[str], side: str) -> np.ndarray:
        raise OSError("the model's server is gone")

    hash_encoder.encode = failing
    with pytest.raises(OSError, match="server is gone"):
        CachedEncoder(hash_encoder, tmp_path).encode(TEXTS, "x")


def test_bm25_stays_bm25_behind_the_cache(tmp_path: Path) -> None:
    cached = CachedEncoder(BM25Encoder(), tmp_path / "vectors")
    assert by_words(cached)
    assert facts(cached)["parameters"] == 0
    assert symmetric_side(cached) == "x"
