"""The batch that a worker hands to the model: ragged token ids of both sides, and where the pairs come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor

from lightning_cpt.losses import Keys
from lightning_cpt.ragged import Ragged
from lightning_cpt.tokenization import PairTokenizer, Side


class PairBatch:
    """``n`` pairs as token ids. (No dataclass: Lightning would walk into it, and copy it, every step.)

    Args:
        x: Token ids of the x sides, ``n`` sequences; none where only y is encoded.
        y: Token ids of the y sides, ``n`` sequences; none where only x is encoded.
        negatives: Token ids of the pairs' hard negatives, any number of sequences; None without any.
        ids: The pairs' ids.
        rows: Place of each pair among all sources' pairs, int64 ``(n,)``.
        hashes: xxh64 of x, y and document, read as int64, ``(n, 3)``; ``(0, 3)`` where there is no index.
        negative_hashes: xxh64 of the hard negatives' texts, read as int64, ``(m,)``.
        sources: Name of the corpus of each pair; none where the records do not say.
        cut: Whether x and y lost tokens to truncation, bool ``(n, 2)``, always on the CPU; ``(0, 2)`` where that is
            not known.
        negative_counts: Hard negatives of each pair, int64 ``(n,)``, always on the CPU; ``(0,)`` where that is not known.
    """

    __slots__ = (
        "cut",
        "hashes",
        "ids",
        "negative_counts",
        "negative_hashes",
        "negatives",
        "rows",
        "sources",
        "x",
        "y",
    )

    def __init__(
        self,
        x: Ragged,
        y: Ragged,
        negatives: Ragged | None,
        ids: list[str],
        rows: Tensor,
        hashes: Tensor,
        negative_hashes: Tensor | None = None,
        sources: Sequence[str] = (),
        cut: Tensor | None = None,
        negative_counts: Tensor | None = None,
    ) -> None:
        self.x = x
        self.y = y
        self.negatives = negatives
        self.ids = ids
        self.rows = rows
        self.hashes = hashes
        none = torch.empty(0, dtype=torch.int64)
        self.negative_hashes = none if negative_hashes is None else negative_hashes
        self.sources = list(sources)
        self.cut = torch.empty((0, 2), dtype=torch.bool) if cut is None else cut
        self.negative_counts = none if negative_counts is None else negative_counts

    def __len__(self) -> int:
        return len(self.ids)

    def parts(self) -> list[Ragged]:
        """x, y and, where there are any, the negatives."""
        return [self.x, self.y] if self.negatives is None else [self.x, self.y, self.negatives]

    def keys(self) -> Keys | None:
        """What false negatives are known by, where the data have an index."""
        return Keys(self.hashes, self.negative_hashes) if len(self.hashes) == len(self) else None

    def to(self, device: torch.device | str, non_blocking: bool = True) -> PairBatch:
        negatives = None if self.negatives is None else self.negatives.to(device, non_blocking)
        return PairBatch(
            self.x.to(device, non_blocking),
            self.y.to(device, non_blocking),
            negatives,
            self.ids,
            self.rows,
            self.hashes.to(device, non_blocking=non_blocking),
            self.negative_hashes.to(device, non_blocking=non_blocking),
            self.sources,
            self.cut,
            self.negative_counts,
        )

    def pin_memory(self) -> PairBatch:
        negatives = None if self.negatives is None else self.negatives.pin_memory()
        return PairBatch(
            self.x.pin_memory(),
            self.y.pin_memory(),
            negatives,
            self.ids,
            self.rows,
            self.hashes.pin_memory(),
            self.negative_hashes.pin_memory(),
            self.sources,
            self.cut,
            self.negative_counts,
        )


def make_batch(
    records: Sequence[dict[str, Any]],
    tokenizer: PairTokenizer,
    *,
    rows: Tensor,
    hashes: Tensor | None = None,
    hard_negatives: int = 0,
) -> PairBatch:
    """Tokenise ``records``: dicts with id and x, y, or both; of their negatives at most ``hard_negatives`` each.

    Pre-tokenised ones have ids in the place of texts, and the hashes of their negatives' texts.
    """
    given = [record.get("negatives", [])[:hard_negatives] for record in records]
    negatives = [text for texts in given for text in texts]
    hashes_of_negatives = [value for record in records for value in _hashes(record, hard_negatives)]
    (x, cut_x), (y, cut_y) = _side(records, tokenizer, "x"), _side(records, tokenizer, "y")
    return PairBatch(
        x,
        y,
        tokenizer(negatives, "y") if negatives else None,
        [record["id"] for record in records],
        rows,
        torch.empty((0, 3), dtype=torch.int64) if hashes is None else hashes,
        as_int64(hashes_of_negatives),
        [str(record["source"]) for record in records if "source" in record],
        torch.stack([cut_x, cut_y], dim=1) if len(cut_x) == len(cut_y) else None,
        torch.tensor([len(texts) for texts in given], dtype=torch.int64),
    )


def as_int64(hashes: Sequence[int] | np.ndarray) -> Tensor:
    """Unsigned 64-bit hashes as a tensor can hold them, bit by bit."""
    return torch.from_numpy(np.array(hashes, np.uint64).view(np.int64))


def _hashes(record: dict[str, Any], most: int) -> Sequence[int]:
    """xxh64 of the texts of a record's first negatives."""
    if "negative_hashes" in record:
        found: Sequence[int] = record["negative_hashes"][:most]
        return found
    return [xxhash.xxh64_intdigest(text.encode()) for text in record.get("negatives", [])[:most]]


def _side(records: Sequence[dict[str, Any]], tokenizer: PairTokenizer, side: Side) -> tuple[Ragged, Tensor]:
    return tokenizer.encode([record[side] for record in records if side in record], side)
