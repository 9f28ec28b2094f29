"""Symmetric InfoNCE over all ranks' pairs, and the learned scale around it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_cpt.errors import ConfigError
from lightning_cpt.gather import all_gather_uneven, check_equal, exchange_counts, rank_and_world_size

MAX_SCALE = 100.0  # CLIP's bound; the paper states neither start nor bound


class Contrast(NamedTuple):
    """What one batch gives, all of this rank's own rows and without any exchange between ranks.

    Args:
        loss: mean over the rows of both directions' cross-entropy, with gradient, ``()``.
        accuracy_x_to_y: share of x whose own y scores highest, ``()``.
        accuracy_y_to_x: share of y whose own x scores highest, ``()``.
        negatives_per_query: wrong answers that each x is compared with.
    """

    loss: Tensor
    accuracy_x_to_y: Tensor
    accuracy_y_to_x: Tensor
    negatives_per_query: int


def info_nce(
    x: Tensor,
    y: Tensor,
    scale: Tensor | float,
    *,
    rank: int,
    world_size: int,
    all_x: Tensor,
    all_y: Tensor,
    all_negatives: Tensor | None = None,
) -> Contrast:
    """Mean of the x -> y and y -> x cross-entropies of this rank's rows against all ranks' columns (paper, 2.2).

    A pure function: nothing is gathered here. Averaged over ranks it is the loss of the whole batch. Computed in
    float32, or in float64 where the vectors are, whatever autocast says.

    Args:
        x: this rank's unit vectors of side x, ``(n, d)``.
        y: their partners, ``(n, d)``.
        scale: factor of the cosines, the inverse of the temperature.
        rank: which rows of the gathered tensors are this rank's: ``rank * n`` to ``rank * n + n``.
        world_size: number of ranks.
        all_x: every rank's x, ``(world_size * n, d)``.
        all_y: every rank's y, ``(world_size * n, d)``.
        all_negatives: hard negatives of any rank's pairs, any number of them, ``(m, d)``: further columns for
            every x. They are wrong answers to an x, so y -> x does not see them.

    Raises:
        ValueError: gathered tensors that are not ``world_size * n`` rows.
    """
    n = len(x)
    if not len(y) == n or not len(all_x) == len(all_y) == world_size * n:
        raise ValueError(
            f"{n} and {len(y)} rows, {len(all_x)} and {len(all_y)} gathered, on {world_size} ranks"
        )
    answers = all_y if all_negatives is None else torch.cat([all_y, all_negatives])  # (world * n + m, d)
    with torch.autocast(x.device.type, enabled=False):
        x_to_y = scale * _wide(x) @ _wide(answers).T  # (n, world * n + m)
        y_to_x = scale * _wide(y) @ _wide(all_x).T  # (n, world * n)
        own = torch.arange(rank * n, rank * n + n, device=x.device)  # (n,) each row's right column
        loss = (F.cross_entropy(x_to_y, own) + F.cross_entropy(y_to_x, own)) / 2
    return Contrast(loss, _accuracy(x_to_y, own), _accuracy(y_to_x, own), len(answers) - 1)


def _wide(vectors: Tensor) -> Tensor:
    return vectors if vectors.dtype == torch.float64 else vectors.float()


def _accuracy(logits: Tensor, own: Tensor) -> Tensor:
    return (logits.detach().argmax(1) == own).float().mean()


class InfoNCE(nn.Module):
    """:func:`info_nce` over the pairs of all ranks, with a scale that is learned.

    Args:
        initial_temperature: the scale starts at its inverse (CLIP's 0.07; the paper does not say).
        learnable: train the scale; false keeps it where it starts.

    Raises:
        ConfigError: a temperature outside 0.01 (the scale's bound of 100) to 100.
    """

    def __init__(self, initial_temperature: float = 0.07, learnable: bool = True) -> None:
        super().__init__()
        if not 1 / MAX_SCALE <= initial_temperature <= MAX_SCALE:
            raise ConfigError(f"initial_temperature: {initial_temperature} is outside 0.01 to 100")
        # One number, but of shape (1,): FSDP2 cannot shard a 0-d parameter.
        start = torch.full((1,), -math.log(initial_temperature), dtype=torch.float32)
        self.log_scale = nn.Parameter(start, requires_grad=learnable)

    @property
    def scale(self) -> Tensor:
        """Factor of the cosines, ``()``."""
        return self.log_scale.exp().squeeze(0)

    @torch.no_grad()
    def clamp_(self) -> None:
        """Hold the scale at 100 or below; to be called after the optimizer's step, so no gradient is lost."""
        self.log_scale.clamp_(max=math.log(MAX_SCALE))

    def forward(self, x: Tensor, y: Tensor, negatives: Tensor | None = None) -> Contrast:
        """Loss of this rank's pairs against those of all ranks.

        Args:
            x: ``(n, d)`` unit vectors, as many on every rank.
            y: ``(n, d)`` their partners.
            negatives: ``(m, d)`` hard negatives of this rank's pairs, m free to differ between ranks.

        Raises:
            ConfigError: on every rank, where the ranks hold different numbers of pairs.
        """
        rank, world_size = rank_and_world_size()
        mine = x[:0] if negatives is None else negatives
        # One exchange of sizes tells every rank which gathers follow: no rank can wait for another in vain.
        counts = exchange_counts([len(x), len(mine)], x.device)
        pairs, hard = [c[0] for c in counts], [c[1] for c in counts]
        check_equal("pairs", pairs)
        return info_nce(
            x,
            y,
            self.scale,
            rank=rank,
            world_size=world_size,
            all_x=all_gather_uneven(x, pairs),
            all_y=all_gather_uneven(y, pairs),
            all_negatives=all_gather_uneven(mine, hard) if any(hard) else None,
        )
