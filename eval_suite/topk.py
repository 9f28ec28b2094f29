"""The k best documents of every query, merged block by block and over ranks, exact and with ties accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_NONE = torch.iinfo(torch.int64).min  # the key of an empty place
_LOWEST = torch.finfo(torch.float32).min
_ROW = (
    0xFFFFFFFF  # the lower half of a key: rows count down, so that of equal scores the first document leads
)


@dataclass(frozen=True)
class Hits:
    """keys: int64 (queries, k), falling: score and row of a document in one number, see `scores` and `rows`.

    beyond: int64 (queries,), how many documents outside score exactly as much as the last one inside.
    Equal scores stand in the order of the documents in their corpus, so that one corpus gives one run,
    whatever the blocks, the ranks and their order were.
    """

    keys: Tensor
    beyond: Tensor

    @property
    def scores(self) -> Tensor:
        """float32 (queries, k), falling; -inf where there are fewer than k documents."""
        return _scores(self.keys)

    @property
    def rows(self) -> Tensor:
        """int64 (queries, k): the row of each document in its corpus, -1 where there is none."""
        return torch.where(self.keys == _NONE, -1, _ROW - (self.keys & _ROW))


def no_hits(queries: int, k: int, device: torch.device | str = "cpu") -> Hits:
    """Where every search begins."""
    keys = torch.full((queries, k), _NONE, dtype=torch.int64, device=device)
    return Hits(keys, torch.zeros(queries, dtype=torch.int64, device=device))


def with_block(hits: Hits, scores: Tensor, first_row: int) -> Hits:
    """`hits` after one more block of documents.

    scores: float32 (queries, n), of the documents of rows first_row to first_row + n - 1; -inf takes a document out.
    """
    bound = _scores(hits.keys[:, -1]).clamp(min=_LOWEST)  # (queries,), what a document has to reach
    query, column = (scores >= bound[:, None]).nonzero(as_tuple=True)  # (candidates,) each
    if not len(query):
        return hits
    keys = _keys(scores[query, column], first_row + column)
    count = torch.bincount(query, minlength=len(scores))
    place = torch.arange(len(query), device=query.device) - (count.cumsum(0) - count)[query]
    padded = hits.keys.new_full((len(scores), int(count.max())), _NONE)  # (queries, most candidates)
    padded[query, place] = keys
    return _best(torch.cat([hits.keys, padded], dim=1), hits.keys.shape[1], [hits])


def merged(parts: Sequence[Hits]) -> Hits:
    """The hits of all parts of a corpus, such as those of the ranks, in any order; rows count over the whole corpus."""
    return _best(torch.cat([part.keys for part in parts], dim=1), parts[0].keys.shape[1], parts)


def gathered(hits: Hits, scores: Tensor) -> tuple[Hits, Tensor]:
    """The hits over all ranks of torch.distributed, on every one of them, and the greatest of `scores` entry by entry.

    scores: those of judged documents, -inf for documents of other ranks' blocks. Without a process group
    both come back as they are.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return hits, scores
    keys = [torch.empty_like(hits.keys) for _ in range(dist.get_world_size())]
    beyond = [torch.empty_like(hits.beyond) for _ in keys]
    dist.all_gather(keys, hits.keys.contiguous())
    dist.all_gather(beyond, hits.beyond)
    scores = scores.clone()
    dist.all_reduce(scores, op=dist.ReduceOp.MAX)
    return merged([Hits(*part) for part in zip(keys, beyond, strict=True)]), scores


def _best(keys: Tensor, k: int, parts: Sequence[Hits]) -> Hits:
    """The k highest of `keys` (queries, any number >= k), and who is left out at their bound: of them and of the parts."""
    kept = keys.topk(k, dim=1).values  # falling
    bound = kept[:, -1] >> 32  # (queries,), the upper half: the score
    beyond = ((keys >> 32) == bound[:, None]).sum(1) - ((kept >> 32) == bound[:, None]).sum(1)
    for part in parts:
        beyond += torch.where((part.keys[:, -1] >> 32) == bound, part.beyond, 0)
    return Hits(kept, torch.where(kept[:, -1] == _NONE, 0, beyond))


def _keys(scores: Tensor, rows: Tensor) -> Tensor:
    """Numbers that stand in the order (score falling, row rising) when they fall; -0.0 counts as 0.0."""
    bits = (scores + 0.0).view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # of negative floats the bits run the wrong way
    return (ordered.to(torch.int64) << 32) | (_ROW - rows)


def _scores(keys: Tensor) -> Tensor:
    ordered = (keys >> 32).to(torch.int32)
    bits = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    return torch.where(keys == _NONE, -torch.inf, bits.view(torch.float32))
