"""Runs the feed-forward of a backbone's last layer only at the tokens that are read: the ends of the sequences.

Behind the last attention no token looks at another any more, and of all last states only the end tokens' are used.
The feed-forward is two thirds of a layer and more, so one of four layers shrinks to a third; values and gradients
stay those of the whole layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cpt.backbone import blocks

_NAME = "mlp"  # what transformers calls it in nearly all of its models
_TOLERANCE = 1e-4


class Tail:
    """The feed-forward of the last layer, where there is one and it works token by token.

    Args:
        model: a backbone of transformers; gets two hooks, which do nothing outside of :meth:`only`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.part = feed_forward(model)
        self._rows: Tensor | None = None
        self._shape = torch.Size()
        if self.part is None:
            return
        handles = (
            self.part.register_forward_pre_hook(self._take),
            self.part.register_forward_hook(self._put),
        )
        if not self._works(model):
            self.part = None
            for handle in handles:
                handle.remove()

    @contextmanager
    def only(self, rows: Tensor) -> Iterator[None]:
        """Compute only these tokens meanwhile, and zeros for the others.

        Args:
            rows: places among all tokens, padding included, ``(m,)``.
        """
        self._rows = rows
        try:
            yield
        finally:
            self._rows = None

    def _take(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor] | None:
        if self._rows is None:
            return None
        (states,) = args  # (batch, length, dim)
        self._shape = states.shape
        return (states.flatten(0, 1)[self._rows][None],)  # (1, m, dim)

    def _put(self, module: nn.Module, args: tuple[Any, ...], states: Tensor) -> Tensor | None:
        if self._rows is None:
            return None
        batch, length, _ = self._shape
        everywhere = states.new_zeros(batch * length, states.shape[-1])
        return everywhere.index_copy(0, self._rows, states[0]).view(batch, length, -1)

    @torch.no_grad()
    def _works(self, model: nn.Module) -> bool:
        """Compare the last states of two short sequences; a layer that runs twice, or mixes tokens, shows here."""
        device, training = next(model.parameters()).device, model.training
        tokens = torch.arange(1, 7, device=device).view(2, 3)
        rows = torch.tensor([2, 5], device=device)
        try:
            model.eval()
            plain = model(input_ids=tokens).last_hidden_state.flatten(0, 1)[rows]
            with self.only(rows):
                found = model(input_ids=tokens).last_hidden_state.flatten(0, 1)[rows]
        except (TypeError, ValueError, IndexError, RuntimeError, AttributeError):
            return False
        finally:
            model.train(training)
        return float((found - plain).norm()) <= _TOLERANCE * float(plain.norm())


def feed_forward(model: nn.Module) -> nn.Module | None:
    """The feed-forward of the last layer, where it goes by its usual name."""
    layers = blocks(model)
    part = getattr(layers[-1], _NAME, None) if layers else None
    return part if isinstance(part, nn.Module) else None
