"""Chunks with backward passes of their own, on the CPU: activations kept or computed again, gradients summed in one order.

`torch.utils.checkpoint` keeps each chunk's graph, emptied of its tensors: hundreds of small blocks a chunk, which lie
between the large ones that the next chunk needs and keep the heap from using those again (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_cpt.embedding import Lookups
from lightning_cpt.ragged import Ragged


class Recompute:
    """The chunks of one forward pass, and the sum of their gradients.

    A chunk's backward pass runs on stand-ins of the weights, which add up their gradients layer by layer; the weights
    themselves get the sums once, behind the last chunk, as they do from an ordinary graph: what hangs on them (DDP,
    hooks) sees one gradient a backward pass. The order of the sums is that of the chunks, however many of them keep
    their activations, so a resumed run, which may keep another number, has the same bits.

    What a chunk is encoded with must be the module's own weights, read anew for each chunk: nothing computed from
    them may be made outside, or outlive the chunk.

    Args:
        module: holds the weights that chunks are encoded with.
        lookups: of the same forward pass.
    """

    def __init__(self, module: nn.Module, lookups: Lookups | None = None) -> None:
        self._module, self._lookups = module, lookups

    def __call__(
        self, forward: Callable[[Ragged], Tensor], chunk: Ragged, keep: Callable[[], Tensor] | None = None
    ) -> Tensor:
        """``forward(chunk)``, ``(m, d)``.

        Args:
            forward: runs again in the backward pass, with the same dropout, under the autocast of now.
            chunk: m sequences.
            keep: runs in the place of ``forward`` now, and its activations are kept for the first backward pass.
        """
        encoded: Tensor = _Chunk.apply(self._anchor, _Run(forward, chunk, self._weights), keep)
        return encoded

    @cached_property
    def _weights(self) -> _StandIns:
        return _StandIns(self._module)

    @cached_property
    def _anchor(self) -> Tensor:
        """All chunks hang on this number, so autograd reaches the weights once, behind the last of them."""
        anchor: Tensor = _Anchor.apply(self._weights, self._lookups, *self._weights.originals)
        return anchor


class _StandIns:
    """Leaves that share the trainable weights' memory, to stand in their places. (Know nothing of the graph.)"""

    def __init__(self, module: nn.Module) -> None:
        leaves: dict[Tensor, nn.Parameter] = {}  # a weight in two places has one
        self._places: list[tuple[nn.Module, str, nn.Parameter]] = []
        for part in module.modules():
            for name, weight in part._parameters.items():
                if weight is not None and weight.requires_grad:
                    leaf = leaves.setdefault(weight, nn.Parameter(weight.detach()))
                    self._places.append((part, name, leaf))
        self.originals, self._leaves = list(leaves), list(leaves.values())

    @contextmanager
    def in_place(self) -> Iterator[None]:
        found = [part._parameters[name] for part, name, _ in self._places]
        try:
            for part, name, leaf in self._places:
                part._parameters[name] = leaf
            yield
        finally:
            for (part, name, _), weight in zip(self._places, found, strict=True):
                part._parameters[name] = weight

    def take(self) -> list[Tensor | None]:
        """The sum of each weight's gradients, None where there was none; another backward pass begins anew."""
        sums = [leaf.grad for leaf in self._leaves]
        for leaf in self._leaves:
            leaf.grad = None
        return sums


class _Run:
    """A chunk's forward pass, to be had again as it was: the same random state and autocast."""

    def __init__(self, forward: Callable[[Ragged], Tensor], chunk: Ragged, weights: _StandIns) -> None:
        self._forward, self._chunk, self._weights = forward, chunk, weights
        self._kept: Tensor | None = None  # with its graph
        self._random = torch.get_rng_state()
        self._cast: dict[str, Any] = {
            "device_type": "cpu",
            "dtype": torch.get_autocast_dtype("cpu"),
            "enabled": torch.is_autocast_enabled("cpu"),
            "cache_enabled": torch.is_autocast_cache_enabled(),
        }

    def first(self, keep: Callable[[], Tensor] | None) -> Tensor:
        if keep is None:
            return self._forward(self._chunk)
        with self._weights.in_place(), torch.enable_grad():
            self._kept = keep()
        return self._kept.detach()

    def backward(self, gradient: Tensor) -> None:
        """Add the chunk's gradients to those of the stand-ins."""
        encoded, self._kept = self._kept, None
        with self._weights.in_place(), torch.enable_grad():
            if encoded is None:
                encoded = self._again()
            if encoded.requires_grad:  # not where all that it read is frozen
                encoded.backward(gradient)

    def _again(self) -> Tensor:
        with torch.random.fork_rng(devices=[]), torch.autocast(**self._cast):
            torch.set_rng_state(self._random)
            return self._forward(self._chunk)


class _Anchor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: _StandIns, lookups: Lookups | None, *originals: Tensor) -> Tensor:
        ctx.weights, ctx.lookups = weights, lookups
        if lookups:
            at = lookups.weight.data_ptr()
            ctx.row = next(i for i, one in enumerate(originals) if one.data_ptr() == at)
        return torch.zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        sums = ctx.weights.take()
        if ctx.lookups and (looked_up := ctx.lookups.take()) is not None:
            other = sums[ctx.row]  # of another use than as a table
            sums[ctx.row] = looked_up if other is None else other + looked_up
        return None, None, *sums


class _Chunk(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, run: _Run, keep: Callable[[], Tensor] | None) -> Tensor:
        ctx.run = run
        return run.first(keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        ctx.run.backward(grads[0])
        return torch.zeros(()), None, None
