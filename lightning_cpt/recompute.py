"""Chunks that keep no graph for the backward pass, on the CPU: what is needed to run them again, and nothing else.

`torch.utils.checkpoint` keeps each chunk's graph, emptied of its tensors: hundreds of small blocks a chunk, which lie
between the large ones that the next chunk needs and keep the heap from using those again (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_cpt.embedding import Lookups
from lightning_cpt.ragged import Ragged


class Recompute:
    """The chunks of one forward pass that run again in its backward pass, and the sum of their gradients.

    A chunk runs again on stand-ins of the weights, which add up their gradients layer by layer; the weights
    themselves get the sums once, behind the last chunk, as they do from an ordinary graph: what hangs on them (DDP,
    hooks) sees one gradient a backward pass. What a chunk is encoded with must be the module's own weights, read
    anew for each chunk: nothing computed from them may be made outside, or outlive the chunk.

    Args:
        module: holds the weights that chunks are encoded with.
        lookups: of the same forward pass.
    """

    def __init__(self, module: nn.Module, lookups: Lookups | None = None) -> None:
        self._module, self._lookups = module, lookups

    def __call__(self, forward: Callable[[Ragged], Tensor], chunk: Ragged) -> Tensor:
        """``forward(chunk)``, ``(m, d)``; dropout repeats when it runs again, under the autocast of now."""
        run = _Run(forward, chunk, self._weights, self._lookups)
        encoded: Tensor = _Again.apply(self._anchor, run, None)
        return encoded

    def kept(
        self, encode: Callable[[], Tensor], forward: Callable[[Ragged], Tensor], chunk: Ragged
    ) -> Tensor:
        """``encode()``, which is ``forward(chunk)``, with its activations kept for the first backward pass.

        Its gradient is the first that the stand-ins get: sums are of one order however many chunks are kept, so that
        a resumed run, which may keep another number, has the same bits.
        """
        run = _Run(forward, chunk, self._weights, self._lookups)
        encoded: Tensor = _Again.apply(self._anchor, run, encode)
        return encoded

    @cached_property
    def _weights(self) -> _StandIns:
        return _StandIns(self._module)

    @cached_property
    def _anchor(self) -> Tensor:
        """All chunks hang on this number, so autograd reaches the weights once, behind the last of them."""
        table = self._lookups.table if self._lookups else None
        # It takes the table, too: a backward pass to other weights alone would fill it and never come to its own anchor.
        anchor: Tensor = _Anchor.apply(self._weights, table, *self._weights.originals)
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

    def __init__(
        self,
        forward: Callable[[Ragged], Tensor],
        chunk: Ragged,
        weights: _StandIns,
        lookups: Lookups | None,
    ) -> None:
        self._forward, self._chunk, self._weights, self._lookups = forward, chunk, weights, lookups
        self._random = torch.get_rng_state()
        self._kept: Tensor | None = None  # with its graph
        self._cast: dict[str, Any] = {
            "device_type": "cpu",
            "dtype": torch.get_autocast_dtype("cpu"),
            "enabled": torch.is_autocast_enabled("cpu"),
            "cache_enabled": torch.is_autocast_cache_enabled(),
        }

    def first(self, encode: Callable[[], Tensor] | None) -> Tensor:
        if encode is None:
            return self._forward(self._chunk)
        with self._weights.in_place(), self._apart(), torch.enable_grad():
            self._kept = encode()
        return self._kept.detach()

    def _apart(self) -> Any:
        return self._lookups.apart() if self._lookups else nullcontext()

    def again(self, gradient: Tensor) -> None:
        """Add the chunk's gradients to those of the stand-ins and the lookups."""
        encoded, self._kept = self._kept, None
        with torch.random.fork_rng(devices=[]), self._weights.in_place(), self._apart(), torch.enable_grad():
            if encoded is None:
                torch.set_rng_state(self._random)
                with torch.autocast(**self._cast):
                    encoded = self._forward(self._chunk)
            if encoded.requires_grad:  # not where all that it read is frozen
                encoded.backward(gradient)


class _Anchor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: _StandIns, table: Any, *originals: Tensor) -> Tensor:
        ctx.weights, ctx.table = weights, table
        ctx.row = next((i for i, one in enumerate(originals) if table and table.of(one)), None)
        return torch.zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        sums = ctx.weights.take()
        if ctx.row is not None and (looked_up := ctx.table.take()) is not None:
            other = sums[ctx.row]  # of another use than as a table
            sums[ctx.row] = looked_up if other is None else other + looked_up
        return None, None, *sums


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, run: _Run, encode: Callable[[], Tensor] | None) -> Tensor:
        ctx.run = run
        return run.first(encode)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        ctx.run.again(grads[0])
        return torch.zeros(()), None, None
