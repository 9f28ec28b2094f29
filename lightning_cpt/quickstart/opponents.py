"""What the trained encoder has to beat beside BM25: an untrained bag of random token vectors, weighted by IDF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import xxhash

from lightning_cpt.tokenization import PairTokenizer


class RandomBag:
    """Sum of (1 + log tf) idf times a random vector per token: what words alone give, nothing learned.

    Wide enough that it is close to the exact TF-IDF cosine: random vectors of few dimensions get in each other's way.

    An encoder by eval_suite's protocol.

    Args:
        tokenizer: Our own, with repeats kept: they are the tf.
        documents: Texts that the document frequencies are counted in, all from the training split.
        width: Width of the vectors.
        seed: Seed of the vectors.
    """

    name = "random bag, IDF-weighted"

    def __init__(
        self, tokenizer: PairTokenizer, documents: Iterable[Sequence[str]], width: int = 4096, seed: int = 0
    ) -> None:
        self._tokenizer = tokenizer
        counts, total = np.zeros(len(tokenizer)), 0
        for texts in documents:
            total += len(texts)
            for ids in self._tokens(texts):
                counts[list(set(ids))] += 1
        idf = np.log1p((total - counts + 0.5) / (counts + 0.5))  # (vocabulary,)
        self._vectors = (
            np.random.default_rng(seed).standard_normal((len(tokenizer), width)) * idf[:, None]
        ).astype(np.float32)
        self.fingerprint = xxhash.xxh3_128_hexdigest(self._vectors.tobytes())

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return self._tokenizer.text_ids(texts)

    def encode(self, texts: Sequence[str], side: Literal["x", "y"]) -> np.ndarray:
        """Unit vectors, float32 ``(n, width)``; both sides alike."""
        out = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        for row, ids in enumerate(self._tokens(texts)):
            count = Counter(ids)
            weights = 1 + np.log(np.fromiter(count.values(), np.float32, len(count)))
            out[row] = weights @ self._vectors[list(count)] if count else 0
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
