"""The k best over blocks and ranks: the same as sorting everything, ties included."""

from __future__ import annotations

import pytest
import torch

from eval_suite.topk import Hits, gathered, merged, no_hits, with_block


def coarse(seed: int, queries: int = 7, n: int = 90, levels: int = 6) -> torch.Tensor:
    """Scores with many ties, negative ones and both zeros among them."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-levels, levels + 1, (queries, n), generator=generator) / 4
    scores[:, ::7] *= -0.0 if seed % 2 else 1
    return scores.float()


def by_sorting(scores: torch.Tensor, k: int) -> tuple[list[list[int]], list[int]]:
    """Rows of the k best, of equal ones the first; and how many outside equal the last inside."""
    rows, beyond = [], []
    for line in scores.tolist():
        order = sorted(range(len(line)), key=lambda at: (-line[at], at))
        rows.append(order[:k])
        beyond.append(sum(line[at] == line[order[k - 1]] for at in order[k:]))
    return rows, beyond


def in_blocks(scores: torch.Tensor, k: int, sizes: list[int]) -> Hits:
    hits, start = no_hits(len(scores), k), 0
    for size in sizes:
        hits = with_block(hits, scores[:, start : start + size], start)
        start += size
    return hits


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [[90], [1, 2, 3, 84], [30, 30, 30], [1] * 90])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_equals_sorting_all_scores(seed: int, sizes: list[int], k: int) -> None:
    scores = coarse(seed)
    hits, (rows, beyond) = in_blocks(scores, k, sizes), by_sorting(scores, k)
    assert hits.rows.tolist() == rows
    assert hits.beyond.tolist() == beyond
    assert torch.equal(hits.scores, scores.gather(1, hits.rows))


def test_parts_merge_in_any_order() -> None:
    scores = coarse(2)
    whole = in_blocks(scores, 10, [90])
    parts = [with_block(no_hits(7, 10), scores[:, at : at + 30], at) for at in (60, 0, 30)]
    together = merged(parts)
    assert torch.equal(together.keys, whole.keys)
    assert torch.equal(together.beyond, whole.beyond)


def test_fewer_documents_than_places() -> None:
    scores = coarse(1, n=4)
    hits = in_blocks(scores, 6, [3, 1])
    assert hits.rows[:, 4:].tolist() == [[-1, -1]] * 7
    assert torch.isinf(hits.scores[:, 4:]).all()
    assert hits.beyond.tolist() == [0] * 7


def test_a_document_taken_out_is_no_hit() -> None:
    scores = torch.tensor([[1.0, -torch.inf, 3.0]])
    assert in_blocks(scores, 3, [3]).rows.tolist() == [[2, 0, -1]]


def test_a_constant_scorer_keeps_the_first_and_counts_the_rest() -> None:
    hits = in_blocks(torch.full((2, 50), 0.25), 5, [20, 30])
    assert hits.rows.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert hits.beyond.tolist() == [45, 45]


def _on_a_rank() -> tuple[list[list[int]], list[int], list[float]]:
    import torch.distributed as dist

    scores, rank = coarse(3), dist.get_rank()
    hits = with_block(no_hits(7, 10), scores[:, rank * 45 : rank * 45 + 45], rank * 45)
    own = torch.tensor([-torch.inf, 0.5] if rank else [1.5, -torch.inf])
    hits, own = gathered(hits, own)
    return hits.rows.tolist(), hits.beyond.tolist(), own.tolist()


def test_two_ranks_find_what_one_finds(gloo_pool) -> None:  # type: ignore[no-untyped-def]
    rows, beyond = by_sorting(coarse(3), 10)
    assert gloo_pool.run(2, _on_a_rank) == [(rows, beyond, [1.5, 0.5])] * 2
