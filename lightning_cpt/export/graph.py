"""What goes into an ONNX graph: token ids of a side to its unit vectors, repeats dropped inside where that is set."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_cpt.tokenization import PairTokenizer


class Graph(nn.Module):
    """``input_ids, attention_mask -> sentence_embedding``, one row a text, padded on the right.

    Args:
        backbone: of the encoder.
        once: drops repeats and truncates; None where the tokenizer truncates and repeats stay.
    """

    def __init__(self, backbone: nn.Module, once: EachOnce | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.once = once

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Unit vectors ``(n, dim)`` of ids between their delimiters, int64 ``(n, longest)`` as the mask is."""
        if self.once is not None:
            input_ids, attention_mask = self.once(input_ids, attention_mask)
        states: Any = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        ends = attention_mask.sum(1) - 1  # (n,)
        at = ends[:, None, None].expand(-1, 1, states.shape[-1])  # (n, 1, dim)
        return F.normalize(states.gather(1, at).squeeze(1), dim=-1, eps=1e-6)


class EachOnce(nn.Module):
    """Keeps each token between the delimiters once, at its first place, and truncates behind it.

    Which side a row is of, and so how long it may be, its delimiters say.

    Args:
        tokenization: of an encoder with ``drop_repeats``.
        ids: start and end token of x, then of y.
    """

    def __init__(self, tokenization: PairTokenizer, ids: dict[str, tuple[int, int]]) -> None:
        super().__init__()
        self.ids = ids
        self.rooms = {side: tokenization.max_length[side] - 2 for side in ("x", "y")}
        self.longest = max(tokenization.max_length.values())
        self.pad_id = tokenization.pad_id
        self.vocabulary = len(tokenization)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and mask ``(n, min(tokens, longest))`` of untruncated ids ``(n, tokens)``."""
        n, tokens = ids.shape
        lengths = mask.sum(1, keepdim=True)  # (n, 1)
        place = torch.arange(tokens, device=ids.device)[None].expand(n, tokens)  # (n, tokens)
        text = (place >= 1) & (place < lengths - 1)
        spare = torch.full_like(ids, self.vocabulary)  # a column for what is no text
        at = torch.where(text, ids, spare)
        table = torch.full((n, self.vocabulary + 1), 1 << 30, dtype=torch.int64, device=ids.device)
        first = table.scatter_reduce(1, at, place, "amin").gather(1, at)  # (n, tokens) where each id is first
        kept = text & (first == place)
        rank = kept.long().cumsum(1)  # (n, tokens) 1 for the first kept one
        ends = ids.gather(1, lengths - 1)  # (n, 1)
        is_x = (ids[:, :1] == self.ids["x"][0]) & (ends == self.ids["x"][1])
        room = torch.where(is_x, self.rooms["x"], self.rooms["y"])  # (n, 1)
        kept = kept & (rank <= room)
        counts = kept.long().sum(1, keepdim=True)  # (n, 1)
        width = torch.sym_min(tokens, self.longest)
        # What is not kept goes to a column behind the last, which is cut off.
        to = torch.where(kept, rank, torch.full_like(rank, 0) + width)
        row = torch.full((n, width + 1), self.pad_id, dtype=torch.int64, device=ids.device)
        row = row.scatter(1, to, ids)
        row = torch.cat([ids[:, :1], row[:, 1:width]], 1)
        row = row.scatter(1, counts + 1, ends)
        found = torch.arange(width, device=ids.device)[None] <= counts + 1  # (n, width)
        return torch.where(found, row, torch.full_like(row, self.pad_id)), found.long()
