"""A part of a global batch: some of its records, tokenised by their reader, on the way to the ranks that encode them."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_cpt.data.batch import PairBatch, as_int64, make_batch
from lightning_cpt.data.plan import TrainingSet
from lightning_cpt.ragged import Ragged
from lightning_cpt.tokenization import PairTokenizer


@dataclass(slots=True)
class Part:
    """``m`` records of a global batch.

    Args:
        places: Their places in the batch, int64 ``(m,)``.
        ranks: The ranks that encode them, int64 ``(m,)``.
        rows: Their rows in the training set, int64 ``(m,)``.
        hashes: xxh64 of x, y and document, read as int64, ``(m, 3)``.
        x, y: Token ids, ``m`` sequences each.
        negatives: Token ids of all their hard negatives.
        counts: Hard negatives of each record, int64 ``(m,)``.
        negative_hashes: xxh64 of the hard negatives' texts, read as int64.
        ids: The records' ids.
        cut: Whether x and y lost tokens to truncation, bool ``(m, 2)``.
        replaced: What is wrong with the damaged chunks whose places others fill.
        state: Of streams, behind the batch, as JSON; one reader of all hands it over.
    """

    places: Tensor
    ranks: Tensor
    rows: Tensor
    hashes: Tensor
    x: Ragged
    y: Ragged
    negatives: Ragged
    counts: Tensor
    negative_hashes: Tensor
    ids: list[str]
    cut: Tensor
    replaced: list[str]
    state: str = ""

    @classmethod
    def of(
        cls,
        records: Sequence[dict[str, Any]],
        tokenizer: PairTokenizer,
        *,
        places: np.ndarray,
        ranks: np.ndarray,
        rows: np.ndarray,
        hashes: np.ndarray,
        hard_negatives: int,
        replaced: list[str],
        state: str = "",
    ) -> Part:
        """Tokenise records."""
        batch = make_batch(records, tokenizer, rows=torch.from_numpy(rows), hard_negatives=hard_negatives)
        return cls(
            torch.from_numpy(places),
            torch.from_numpy(ranks),
            batch.rows,
            as_int64(hashes),
            batch.x,
            batch.y,
            batch.negatives or Ragged.from_lists([]),
            batch.negative_counts,
            batch.negative_hashes,
            batch.ids,
            batch.cut,
            replaced,
            state,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def cat(cls, parts: Sequence[Part]) -> Part:
        """All records of the parts, in the batch's order."""
        if len(parts) == 1 and bool((parts[0].places.diff() > 0).all()):
            return parts[0]
        together = cls(
            torch.cat([part.places for part in parts]),
            torch.cat([part.ranks for part in parts]),
            torch.cat([part.rows for part in parts]),
            torch.cat([part.hashes for part in parts]),
            Ragged.cat([part.x for part in parts]),
            Ragged.cat([part.y for part in parts]),
            Ragged.cat([part.negatives for part in parts]),
            torch.cat([part.counts for part in parts]),
            torch.cat([part.negative_hashes for part in parts]),
            [name for part in parts for name in part.ids],
            torch.cat([part.cut for part in parts]),
            sorted({name for part in parts for name in part.replaced}),
            next((part.state for part in parts if part.state), ""),
        )
        return together.select(together.places.argsort())

    def select(self, index: Tensor) -> Part:
        """The records at ``index``, in that order."""
        ends = self.counts.cumsum(0)
        counts = self.counts[index]
        firsts = (ends - self.counts)[index] - (counts.cumsum(0) - counts)
        negatives = torch.arange(int(counts.sum())) + firsts.repeat_interleave(counts)
        return Part(
            self.places[index],
            self.ranks[index],
            self.rows[index],
            self.hashes[index],
            self.x.select(index),
            self.y.select(index),
            self.negatives.select(negatives),
            counts,
            self.negative_hashes[negatives],
            [self.ids[at] for at in index.tolist()],
            self.cut[index],
            self.replaced,
        )

    def to_bytes(self) -> bytes:
        """For another rank: token ids in 32 bits."""
        sides = [
            (side.ids.int().numpy(), side.lengths.int().numpy()) for side in (self.x, self.y, self.negatives)
        ]
        columns = (
            self.places,
            self.ranks,
            self.rows,
            self.hashes,
            self.counts,
            self.negative_hashes,
            self.cut,
        )
        numbers = [column.numpy() for column in columns]
        return pickle.dumps((sides, numbers, self.ids, self.replaced, self.state), protocol=5)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Part:
        """Inverse of :meth:`to_bytes`."""
        sides, numbers, ids, replaced, state = pickle.loads(data)
        x, y, negatives = (Ragged(*(torch.from_numpy(a).long() for a in side)) for side in sides)
        places, ranks, rows, hashes, counts, wrong, cut = (torch.from_numpy(a) for a in numbers)
        return cls(places, ranks, rows, hashes, x, y, negatives, counts, wrong, ids, cut, replaced, state)

    def batch(self, data: TrainingSet) -> PairBatch:
        """The records as the batch that the model takes."""
        source = np.searchsorted(data.offsets, self.rows.numpy(), side="right") - 1
        return PairBatch(
            self.x,
            self.y,
            self.negatives if len(self.negatives) else None,
            self.ids,
            self.rows,
            self.hashes,
            self.negative_hashes,
            [data.names[at] for at in source.tolist()],
            self.cut,
            self.counts,
        )
