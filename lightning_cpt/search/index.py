"""An index that is there: opens it with the encoder that made it, and finds texts by a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval_suite.encoder import Encoder, encode_texts, load_encoder
from eval_suite.vectors import unit_rows
from lightning_cpt.errors import ConfigError
from lightning_cpt.search import ann
from lightning_cpt.search.folder import ItemReader, read_manifest
from lightning_cpt.search.texts import Item

QUERY_SIDE, ITEM_SIDE = "x", "y"


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that was found.

    Args:
        rank: From 1.
        score: Cosine to the query.
        item: Its id, text and what goes with it.
    """

    rank: int
    score: float
    item: Item


class SearchIndex:
    """A folder of ``cpt search index``, its vectors mapped into memory, not read.

    Attributes:
        manifest: What index.json says: encoder, kind, count, recall.
        kind: exact, ivf or hnsw.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], encoder: Encoder) -> None:
        self.folder, self.manifest, self.encoder = folder, manifest, encoder
        self.kind: ann.Kind = manifest["kind"]
        parts = manifest["parts"]
        self.items = ItemReader(folder / parts["items"], folder / parts["offsets"])
        self._index = ann.load(folder / parts["vectors"])
        if not self._index.ntotal == len(self.items) == manifest["count"]:
            raise ConfigError(f"{folder}: vectors and texts do not fit; build the index again")

    @classmethod
    def open(cls, folder: str | Path, encoder: Encoder | str | None = None) -> SearchIndex:
        """The index of a folder.

        Args:
            folder: Where ``cpt search index`` put it.
            encoder: An encoder, or how one is named (``ckpt:FILE``); by default the one that made the index.

        Raises:
            ConfigError: no whole index there, or the encoder is another one than that which made it.
            EvalError: the encoder cannot be loaded.
        """
        folder = Path(folder).expanduser()
        ann.faiss()
        manifest = read_manifest(folder)
        found = encoder or manifest["encoder"]
        if not found:
            raise ConfigError(
                f"{folder}: does not say where its encoder {manifest['encoder_name']} lies; give --encoder"
            )
        found = load_encoder(found) if isinstance(found, str) else found
        refuse_other(folder, manifest, found)
        return cls(folder, manifest, found)

    def __len__(self) -> int:
        return len(self.items)

    def query(
        self, questions: str | Sequence[str], k: int = 10, effort: int | None = None
    ) -> list[list[Hit]]:
        """The ``k`` nearest texts of each question, the nearest first.

        Args:
            questions: A question, or several.
            k: How many to find of each; all, where there are fewer.
            effort: Lists that IVF looks at, candidates that HNSW keeps; by default what the recall was measured at.

        Raises:
            ConfigError: no question, an empty one, or ``k`` below 1.
        """
        questions = [questions] if isinstance(questions, str) else list(questions)
        if not questions or not all(isinstance(one, str) and one.strip() for one in questions):
            raise ConfigError("query: an empty question finds nothing; give a sentence")
        if k < 1:
            raise ConfigError(f"-k {k}: must be 1 or more")
        vectors = unit_rows(encode_texts(self.encoder, questions, QUERY_SIDE), np.float32)  # (q, d)
        return self.nearest(vectors, k, effort)

    def nearest(self, vectors: np.ndarray, k: int, effort: int | None = None) -> list[list[Hit]]:
        """As :meth:`query`, of unit vectors, float32 ``(q, d)``."""
        ann.set_effort(self._index, self.kind, effort)
        scores, rows = self._index.search(vectors, min(k, len(self)))  # (q, k) each
        return [
            self._hits(row[row >= 0], score[row >= 0]) for score, row in zip(scores, rows, strict=True)
        ]  # -1: IVF looked at lists that hold fewer

    def _hits(self, rows: np.ndarray, scores: np.ndarray) -> list[Hit]:
        items = self.items.at(rows.tolist())
        return [
            Hit(rank, score, item)
            for rank, (score, item) in enumerate(zip(scores.tolist(), items, strict=True), 1)
        ]

    def vectors(self, start: int, count: int) -> np.ndarray:
        """Rows of an exact index, float32 ``(count, d)``."""
        return ann.vectors_of(self._index, start, count)


def refuse_other(folder: Path, manifest: dict[str, Any], encoder: Encoder) -> None:
    """Raise a ConfigError where an index was made by another encoder."""
    made, given = manifest["fingerprint"], encoder.fingerprint
    if made != given:
        raise ConfigError(
            f"{folder}: was made by {manifest['encoder_name']} (fingerprint {made[:12]}), not by {encoder.name} "
            f"({given[:12]}); name that encoder with --encoder, or build the index again"
        )
