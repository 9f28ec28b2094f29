"""Sums the gradient of the token embedding over all chunks in one table, where autograd makes one for each chunk.

The gradient of a lookup is as large as the vocabulary, whatever the chunk's size: with many small chunks, filling and
adding those tables is a tenth of a step on a CPU. Here each chunk adds only the rows that it looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_cpt.ragged import Ragged


class Lookups:
    """The lookups of one forward pass, and the sum of their gradients, which somebody has to take to the weight.

    Args:
        module: the backbone's token embedding, one that :func:`summable` allows.
    """

    def __init__(self, module: nn.Embedding) -> None:
        self._module = module
        self.weight = module.weight.detach()
        self.leaf = torch.zeros((), requires_grad=True)  # what a backward pass through the rows ends at
        self._sum: Tensor | None = None  # (vocabulary, dim), from the first chunk's backward pass on

    def used(self, encode: Callable[[Ragged], Tensor]) -> Callable[[Ragged], Tensor]:
        """``encode`` with the module's lookups being these, in the forward pass and when it is computed again."""

        def encoded(chunk: Ragged) -> Tensor:
            self._module.forward = self._look_up  # type: ignore[method-assign,assignment]
            try:
                return encode(chunk)
            finally:
                del self._module.forward

        return encoded

    def _look_up(self, ids: Tensor) -> Tensor:
        found: Tensor = _Rows.apply(self.leaf, ids, self)  # (*ids.shape, dim)
        return found

    def add(self, ids: Tensor, grad: Tensor) -> None:
        """Add the gradient of looked-up rows; the padding token's stays 0, as in torch."""
        ids, grad = ids.flatten(), grad.flatten(0, -2)  # (n,), (n, dim)
        if self._module.padding_idx is not None:
            real = (ids != self._module.padding_idx).nonzero().squeeze(1)
            ids, grad = ids[real], grad[real]
        if self._sum is None:
            self._sum = torch.zeros_like(self.weight)
        self._sum.index_add_(0, ids, grad)

    def take(self) -> Tensor | None:
        """The sum; another backward pass begins anew."""
        found, self._sum = self._sum, None
        return found


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, leaf: Tensor, ids: Tensor, lookups: Lookups) -> Tensor:
        ctx.lookups = lookups
        ctx.save_for_backward(ids)
        return F.embedding(ids, lookups.weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:
        (ids,) = ctx.saved_tensors
        ctx.lookups.add(ids, grads[0])
        return None, None, None


def summable(module: Any) -> bool:
    """Whether a token embedding is a plain lookup in float32 or float64 on the CPU, with a dense gradient.

    On CUDA the tables cost next to nothing, and adding rows there is not the same from run to run.
    """
    return (
        type(module) is nn.Embedding
        and "forward" not in vars(module)  # somebody else's
        and type(module.weight) is nn.Parameter
        and module.weight.device.type == "cpu"
        and module.weight.dtype in (torch.float32, torch.float64)
        and module.weight.requires_grad
        and module.max_norm is None
        and not module.scale_grad_by_freq
        and not module.sparse
    )
