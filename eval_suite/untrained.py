"""The untrained encoder (`random:DIM`): what a table's other rows have to beat, the same on every machine."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

import numpy as np

from eval_suite.errors import EvalError

_WORD = re.compile(r"\w+|[^\w\s]")
_MOST = 65_536


class RandomProjection:
    """A bag of lower-cased words under a fixed random projection: a text is the mean of its words' normal vectors.

    A word's vector is drawn from a generator seeded by the word's hash, so there is no vocabulary and nothing to
    train; cosines come near those of the word counts as dim grows (Johnson and Lindenstrauss 1984).
    A text without words has a vector of its own. Both sides are encoded alike.
    """

    def __init__(self, dim: int) -> None:
        self.dim, self.name = dim, f"random:{dim}"
        self.fingerprint = hashlib.sha256(f"random projection of words, 1, {dim}".encode()).hexdigest()
        self.facts = {"parameters": 0, "pooling": "mean", "trained": False}
        self._vector = lru_cache(maxsize=100_000)(self._draw)

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        """float32 (len(texts), dim)."""
        vectors = np.empty((len(texts), self.dim), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            row[:] = np.mean([self._vector(w) for w in _WORD.findall(text.lower()) or [""]], axis=0)
        return vectors

    def _draw(self, word: str) -> np.ndarray:
        key = int.from_bytes(
            hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=16).digest(), "little"
        )
        return np.random.Generator(np.random.Philox(key=key)).standard_normal(self.dim, dtype=np.float32)


def load_random(rest: str) -> RandomProjection:
    """`random:` encoders; raises EvalError for a dimension that is no number from 1 to 65,536."""
    if not rest.isascii() or not rest.isdigit() or not 1 <= int(rest) <= _MOST:
        raise EvalError(f"encoder 'random:{rest}': write a dimension from 1 to {_MOST}, such as random:384")
    return RandomProjection(int(rest))
