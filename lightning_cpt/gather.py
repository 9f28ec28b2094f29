"""The one all-gather that keeps gradients: every rank sees all rows, and each row gets all ranks' gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from lightning_cpt.errors import ConfigError


def rank_and_world_size(group: dist.ProcessGroup | None = None) -> tuple[int, int]:
    """This process's rank and the number of processes: (0, 1) where no process group runs."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(group), dist.get_world_size(group)


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or all ranks' pieces of it together; every rank has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def all_gather_with_grad(local: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The ranks' rows, one rank's behind the other's; the backward pass sums their gradients over the ranks.

    With a loss over local rows x gathered columns, and DDP's mean over ranks, that sum is exactly the gradient
    of the one-process loss: no factor of the world size belongs anywhere.

    Args:
        local: ``(n, ...)``, as many rows on every rank.

    Returns:
        ``(world_size * n, ...)``, contiguous; ``local`` itself where there is one process.

    Raises:
        ConfigError: on every rank, where the ranks hold different numbers of rows.
    """
    counts = [rows for (rows,) in exchange_counts([len(local)], local.device, group)]
    check_equal("rows", counts)
    return all_gather_uneven(local, counts, group)


def all_gather_uneven(local: Tensor, counts: list[int], group: dist.ProcessGroup | None = None) -> Tensor:
    """:func:`all_gather_with_grad` where every rank knows already how many rows each has, equal or not.

    Args:
        local: this rank's rows, ``(counts[rank], ...)``.
        counts: every rank's number of rows, the same list on every rank.

    Returns:
        ``(sum(counts), ...)``.
    """
    if len(counts) == 1:
        return local
    most = max(counts)
    if min(counts) == most:
        return _AllGather.apply(local, group)
    padded = torch.cat([local, local.new_zeros(most - len(local), *local.shape[1:])])  # (most, ...)
    rows = _AllGather.apply(padded, group).split(most)
    return torch.cat([part[:count] for part, count in zip(rows, counts, strict=True)])


def exchange_counts(
    local: list[int], device: torch.device, group: dist.ProcessGroup | None = None
) -> list[list[int]]:
    """Every rank's list of small numbers, in the order of the ranks."""
    _, world_size = rank_and_world_size(group)
    if world_size == 1:
        return [local]
    mine = torch.tensor(local, device=device)
    theirs = [torch.empty_like(mine) for _ in range(world_size)]
    dist.all_gather(theirs, mine, group=group)
    return torch.stack(theirs).tolist()


def check_equal(what: str, counts: list[int]) -> None:
    """Every rank sees the same counts, so that all of them stop here, or none.

    Raises:
        ConfigError: the counts differ.
    """
    if len(set(counts)) > 1:
        raise ConfigError(
            f"batch_size: the ranks hold different numbers of {what} ({', '.join(map(str, counts))}); "
            "every rank needs the same number: drop the last, short batch"
        )


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group, ctx.rows = group, len(local)
        rank, world_size = rank_and_world_size(group)
        ctx.rank = rank
        rows = local.new_empty(world_size * len(local), *local.shape[1:])
        dist.all_gather(list(rows.chunk(world_size)), local.contiguous(), group=group)
        return rows

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].contiguous()  # (world * n, ...)
        if dist.get_backend(ctx.group) == "gloo":  # whose reduce-scatter has no promise behind it
            grad = grad.clone()
            dist.all_reduce(grad, group=ctx.group)
            return grad[ctx.rank * ctx.rows : (ctx.rank + 1) * ctx.rows], None
        mine = grad.new_empty(ctx.rows, *grad.shape[1:])
        dist.reduce_scatter(mine, list(grad.split(ctx.rows)), group=ctx.group)
        return mine, None
