"""An encoder that keeps its vectors, so that tasks run together encode each text once."""

from __future__ import annotations

from typing import Any

import numpy as np

from eval_suite.encoder import Encoder
from eval_suite.vectors import checked

MOST_BYTES = 4 * 2**30
FAMILIES = ("probe", "similarity", "zero-shot", "knn")  # a search's documents are many, and met once


class RememberingEncoder:
    """The same encoder to a task, with the same name and fingerprint; what it encoded stays in memory.

    Vectors are kept per side up to `most_bytes`; from then on new texts are encoded and not kept. An encoder whose
    vectors depend in their last bits on the other texts of a batch (`st:` ones do not) can so move a probe's second
    decimal between tasks run together and alone.
    """

    def __init__(self, encoder: Encoder, most_bytes: int = MOST_BYTES) -> None:
        self._encoder, self._most = encoder, most_bytes
        self._known: dict[Any, dict[str, np.ndarray]] = {}
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        """Everything else is the encoder's: name, fingerprint, facts, symmetric_side, max_length, token_count."""
        return getattr(self._encoder, name)

    def encode(self, texts: list[str], side: Any) -> np.ndarray:
        """float32 (len(texts), d). Raises EvalError for vectors that are not right."""
        known = self._known.setdefault(side, {})
        new = [text for text in dict.fromkeys(texts) if text not in known]
        fresh: dict[str, np.ndarray] = {}
        if new:
            vectors = checked(self._encoder.name, self._encoder.encode(new, side), new)
            fresh = dict(zip(new, vectors, strict=True))
            if self._bytes + vectors.nbytes <= self._most:
                known |= fresh
                self._bytes += vectors.nbytes
        return np.stack([fresh[text] if text in fresh else known[text] for text in texts])
