"""Encodes a ragged batch in length-sorted chunks of bounded padded size, with the gradient of one big batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lightning_cpt.ragged import Ragged


def plan_chunks(lengths: Tensor, token_budget: int) -> list[Tensor]:
    """Positions of the sequences of each chunk, shortest sequences first.

    Args:
        lengths: tokens per sequence, ``(n,)``.
        token_budget: most tokens of a chunk with its padding (rows x longest); a single sequence that is
            longer makes a chunk of its own.

    Returns:
        Index tensors that together hold every position once.
    """
    order = torch.argsort(lengths, stable=True)  # (n,)
    cuts, start = [], 0
    for at, length in enumerate(lengths[order].tolist()):
        if at > start and (at + 1 - start) * length > token_budget:
            cuts.append(at - start)
            start = at
    return list(order.split([*cuts, len(order) - start]))


def encode_in_chunks(
    forward: Callable[[Ragged], Tensor], batch: Ragged, *, token_budget: int, recompute: bool
) -> Tensor:
    """``forward`` over ``batch``, chunk by chunk, rows in the batch's own order.

    The result stays in the graph of autograd: one ordinary ``backward`` of a loss over it gives the gradient
    of the undivided batch, under DDP, accumulation, clipping and mixed precision as they are.

    Args:
        forward: a chunk ``Ragged`` of m sequences -> ``(m, d)``.
        batch: n sequences.
        token_budget: most padded tokens per chunk.
        recompute: keep only the chunks' results and run each again in the backward pass, with the same
            dropout: the memory of one chunk instead of all, for a second forward pass.

    Returns:
        ``(n, d)``.
    """
    plan = plan_chunks(batch.lengths, token_budget)
    order = torch.cat(plan)  # (n,) the batch's positions, chunk behind chunk
    # A single chunk has to be held whole in the backward pass anyway.
    again = recompute and len(plan) > 1 and torch.is_grad_enabled()
    encoded = []
    for chunk in batch.select(order).split([len(index) for index in plan]):
        encoded.append(checkpoint(forward, chunk, use_reentrant=False) if again else forward(chunk))
    return torch.cat(encoded)[order.argsort().to(batch.device)]
