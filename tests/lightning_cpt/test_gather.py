"""The gather on real processes: order, gradient, unequal ranks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist

from lightning_cpt.errors import ConfigError
from lightning_cpt.gather import all_gather_uneven, all_gather_with_grad, exchange_counts, rank_and_world_size
from lightning_cpt.losses import InfoNCE


def rows_and_gradient(transposed: bool) -> tuple[list[Any], list[Any]]:
    """Gather 2 x 3 numbers and weigh every gathered row by (its row + 1) * (this rank + 1)."""
    rank, world_size = rank_and_world_size()
    local = torch.arange(6.0, dtype=torch.float64) + 10 * rank
    local = (local.view(3, 2).T if transposed else local.view(2, 3)).requires_grad_()
    rows = all_gather_with_grad(local)
    weights = (torch.arange(2.0 * world_size, dtype=torch.float64) + 1) * (rank + 1)
    (rows * weights[:, None]).sum().backward()
    assert rows.is_contiguous() or world_size == 1
    return rows.tolist(), local.grad.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_rows_in_rank_order_and_gradients_summed(gloo_pool: Any, world_size: int, transposed: bool) -> None:
    results = gloo_pool.run(world_size, rows_and_gradient, transposed)
    everyone = sum(range(1, world_size + 1))
    for rank, (rows, gradient) in enumerate(results):
        assert rows == results[0][0]
        assert rows[2 * rank][0] == 10 * rank
        assert gradient == [[(2 * rank + i + 1) * everyone] * 3 for i in range(2)]


def uneven(counts: list[int]) -> tuple[list[float], list[float]]:
    rank, _ = rank_and_world_size()
    local = torch.full((counts[rank], 1), float(rank), requires_grad=True)
    rows = all_gather_uneven(local, [c[0] for c in exchange_counts([len(local)], local.device)])
    (rows * torch.arange(1.0, len(rows) + 1)[:, None]).sum().backward()
    assert local.grad is not None
    return rows.flatten().tolist(), local.grad.flatten().tolist()


def test_another_number_of_rows_per_rank(gloo_pool: Any) -> None:
    results = gloo_pool.run(4, uneven, [2, 0, 3, 1])
    assert [rows for rows, _ in results] == [[0, 0, 2, 2, 2, 3]] * 4
    assert [gradient for _, gradient in results] == [[4, 8], [], [12, 16, 20], [24]]


def message_of_unequal_ranks() -> tuple[str, str]:
    rank, _ = rank_and_world_size()
    rows = torch.ones(3 + rank % 2, 2)
    messages = []
    for call in (lambda: all_gather_with_grad(rows), lambda: InfoNCE()(rows, rows)):
        try:
            call()
            messages.append("no error")
        except ConfigError as error:
            messages.append(str(error))
    dist.barrier()  # the group still works: no rank is left waiting inside a gather
    return messages[0], messages[1]


@pytest.mark.parametrize("world_size", [2, 4])
def test_unequal_ranks_are_one_error_everywhere(gloo_pool: Any, world_size: int) -> None:
    for rows, pairs in gloo_pool.run(world_size, message_of_unequal_ranks):
        sizes = ", ".join(["3", "4"] * (world_size // 2))
        assert f"different numbers of rows ({sizes})" in rows
        assert f"different numbers of pairs ({sizes})" in pairs


def test_without_a_process_group_it_is_the_identity() -> None:
    local = torch.ones(2, 3)
    assert all_gather_with_grad(local) is local
    assert all_gather_uneven(local, [2]) is local
    assert rank_and_world_size() == (0, 1)
