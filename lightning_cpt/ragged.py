"""A batch of token-id lists of unequal length, kept flat: no padding until a chunk is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on ``device``, without waiting for the work queued there: only pinned memory is copied so."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@dataclass(frozen=True, slots=True)
class Ragged:
    """``n`` sequences of token ids, one behind the other.

    Args:
        ids: all token ids, int64 ``(total,)``, on any device.
        lengths: tokens per sequence, int64 ``(n,)``, always on the CPU: cutting chunks must not wait for the
            device to finish the chunk before. They sum to ``total``.
    """

    ids: Tensor
    lengths: Tensor

    @classmethod
    def from_lists(cls, sequences: Sequence[Sequence[int]]) -> Ragged:
        """Ragged batch of plain id lists."""
        lengths = np.fromiter((len(s) for s in sequences), np.int64, len(sequences))
        ids = np.fromiter(chain.from_iterable(sequences), np.int64, int(lengths.sum()))
        return cls(torch.from_numpy(ids), torch.from_numpy(lengths))

    @classmethod
    def cat(cls, parts: Sequence[Ragged]) -> Ragged:
        """The sequences of all parts, in order."""
        return cls(torch.cat([p.ids for p in parts]), torch.cat([p.lengths for p in parts]))

    def __len__(self) -> int:
        return self.lengths.numel()

    def __getitem__(self, index: int) -> Tensor:
        """Ids of one sequence, ``(lengths[index],)``."""
        start = int(self.lengths[:index].sum())
        return self.ids[start : start + int(self.lengths[index])]

    @property
    def device(self) -> torch.device:
        return self.ids.device

    def select(self, index: Tensor) -> Ragged:
        """The sequences at ``index`` ``(m,)``, in that order."""
        lengths = self.lengths[index]  # (m,)
        first = (self.lengths.cumsum(0) - self.lengths)[index]  # (m,) where each starts in `ids`
        shift = first - (lengths.cumsum(0) - lengths)  # (m,) old start - new start
        at = torch.arange(int(lengths.sum())) + shift.repeat_interleave(lengths)  # (new total,)
        return Ragged(self.ids[moved(at, self.device)], lengths)

    def split(self, sizes: Sequence[int]) -> list[Ragged]:
        """Parts of ``sizes`` sequences each, in order, sharing memory with this batch."""
        lengths = self.lengths.split(list(sizes))
        totals = [int(part.sum()) for part in lengths]
        return [Ragged(*part) for part in zip(self.ids.split(totals), lengths, strict=True)]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Ragged:
        return Ragged(self.ids.to(device, non_blocking=non_blocking), self.lengths)

    def pin_memory(self) -> Ragged:
        return Ragged(self.ids.pin_memory(), self.lengths)

    def mask(self) -> Tensor:
        """True where :meth:`pad` puts a token, False where it pads: bool ``(n, longest)``."""
        longest = int(self.lengths.max()) if len(self) else 0
        return torch.arange(longest, device=self.device) < moved(self.lengths, self.device)[:, None]

    def pad(self, pad_id: int) -> Tensor:
        """One row per sequence, padded on the right with ``pad_id``: int64 ``(n, longest)``."""
        mask = self.mask()  # (n, longest)
        rows = torch.full(mask.shape, pad_id, dtype=self.ids.dtype, device=self.device)
        return rows.masked_scatter_(mask, self.ids)
