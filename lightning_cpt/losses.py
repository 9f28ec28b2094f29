"""Symmetric InfoNCE over all ranks' pairs, and the learned scale around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_cpt.cross_entropy import FalseNegatives, Rivals, cross_entropy
from lightning_cpt.errors import ConfigError
from lightning_cpt.gather import (
    all_gather_uneven,
    check_equal,
    exchange_counts,
    rank_and_world_size,
    whole,
)

MAX_SCALE = 100.0  # CLIP's bound; the paper states neither start nor bound
TILE_MEGABYTES = 128
_HASHES = ("x", "y", "document")  # what the columns of PairBatch.hashes stand for


class Contrast(NamedTuple):
    """What one batch gives, all of this rank's own rows and without any exchange between ranks.

    Args:
        loss: mean over the rows of both directions' cross-entropy, with gradient, ``()``.
        accuracy_x_to_y: share of x whose own y scores higher than every other answer, ``()``.
        accuracy_y_to_x: share of y whose own x scores higher than every other, ``()``.
        negatives_per_query: wrong answers that each x is compared with, masked ones left out, ``()``.
        masked_per_query: answers of other pairs that were left out as right ones too, ``()``.
    """

    loss: Tensor
    accuracy_x_to_y: Tensor
    accuracy_y_to_x: Tensor
    negatives_per_query: Tensor
    masked_per_query: Tensor


class Keys(NamedTuple):
    """64-bit hashes by which false negatives are known.

    Args:
        pairs: of x, of y and of the document of each pair, int64 ``(n, 3)``.
        negatives: of the texts of the hard negatives, int64 ``(m,)``.
    """

    pairs: Tensor
    negatives: Tensor


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
    false_negatives: FalseNegatives | None = None,
    tile_bytes: int = TILE_MEGABYTES << 20,
) -> Contrast:
    """Mean of the x -> y and y -> x cross-entropies of this rank's rows against all ranks' columns (paper, 2.2).

    A pure function: nothing is gathered here. Averaged over ranks it is the loss of the whole batch. Computed in
    float32, or in float64 where the vectors are, whatever autocast says. The matrix of cosines is never held
    whole: memory grows with (n + columns) x d.

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
        false_negatives: what to leave out of the sums; None leaves nothing out.
        tile_bytes: size of the piece of the matrix of cosines that is worked on at a time.

    Raises:
        ValueError: gathered tensors that are not ``world_size * n`` rows.
    """
    n = len(x)
    if not len(y) == n or not len(all_x) == len(all_y) == world_size * n:
        raise ValueError(
            f"{n} and {len(y)} rows, {len(all_x)} and {len(all_y)} gathered, on {world_size} ranks"
        )
    answers = all_y if all_negatives is None else torch.cat([all_y, all_negatives])  # (world * n + m, d)
    x, y, all_x, answers = (_wide(part) for part in (x, y, all_x, answers))
    rivals = Rivals.of(false_negatives, slice(rank * n, rank * n + n))
    options: dict[str, Any] = {"first": rank * n, "rivals": rivals, "tile_bytes": tile_bytes}
    if world_size == 1:  # both directions share one matrix
        found = cross_entropy(x, answers, scale, both=True, **options)
        loss, back = found.loss, found.column_accuracy
    else:
        found = cross_entropy(x, answers, scale, **options)
        other = cross_entropy(y, all_x, scale, **options)
        loss, back = (found.loss + other.loss) / 2, other.accuracy
    return Contrast(loss, found.accuracy, back, len(answers) - 1 - found.masked, found.masked)


def _wide(vectors: Tensor) -> Tensor:
    return vectors if vectors.dtype == torch.float64 else vectors.float()


class InfoNCE(nn.Module):
    """:func:`info_nce` over the pairs of all ranks, with a scale that is learned.

    Args:
        initial_temperature: the scale starts at its inverse (CLIP's 0.07; the paper does not say).
        learnable: train the scale; false keeps it where it starts.
        mask: pairs of a batch that have the same x, y or document are no negatives of each other; with y, a hard
            negative that is a query's own answer is none either; [] leaves all in.
        tile_megabytes: size of the piece of the matrix of cosines that is worked on at a time.

    Raises:
        ConfigError: a temperature outside 0.01 (the scale's bound of 100) to 100, an unknown mask, no tile.
    """

    def __init__(
        self,
        initial_temperature: float = 0.07,
        learnable: bool = True,
        mask: Sequence[Literal["x", "y", "document"]] = ("x", "y"),
        tile_megabytes: int = TILE_MEGABYTES,
    ) -> None:
        super().__init__()
        if not 1 / MAX_SCALE <= initial_temperature <= MAX_SCALE:
            raise ConfigError(f"initial_temperature: {initial_temperature} is outside 0.01 to 100")
        if unknown := set(mask) - set(_HASHES):
            raise ConfigError(f"mask: no {sorted(unknown)[0]!r} to go by; use {', '.join(_HASHES)}, or []")
        if tile_megabytes < 1:
            raise ConfigError(f"tile_megabytes: {tile_megabytes} is too small; use 1 or more")
        self.mask = [_HASHES.index(name) for name in mask]
        self.tile_bytes = tile_megabytes << 20
        # One number, but of shape (1,): FSDP2 cannot shard a 0-d parameter.
        start = torch.full((1,), -math.log(initial_temperature), dtype=torch.float32)
        self.log_scale = nn.Parameter(start, requires_grad=learnable)

    @property
    def scale(self) -> Tensor:
        """Factor of the cosines, ``()``."""
        return whole(self.log_scale).exp().squeeze(0)

    @torch.no_grad()
    def clamp_(self) -> None:
        """Hold the scale at 100 or below; to be called after the optimizer's step, so no gradient is lost."""
        self.log_scale.clamp_(max=math.log(MAX_SCALE))

    def forward(
        self, x: Tensor, y: Tensor, negatives: Tensor | None = None, keys: Keys | None = None
    ) -> Contrast:
        """Loss of this rank's pairs against those of all ranks.

        Args:
            x: ``(n, d)`` unit vectors, as many on every rank.
            y: ``(n, d)`` their partners.
            negatives: ``(m, d)`` hard negatives of this rank's pairs, m free to differ between ranks.
            keys: hashes to find false negatives by; they are left out only where every rank has them.

        Raises:
            ConfigError: on every rank, where the ranks hold different numbers of pairs.
        """
        rank, world_size = rank_and_world_size()
        hard = x[:0] if negatives is None else negatives
        keyed = self.mask and keys is not None and len(keys.pairs) == len(x)
        # One exchange of sizes tells every rank which gathers follow: no rank can wait for another in vain.
        counts = exchange_counts([len(x), len(hard), int(bool(keyed))], x.device)
        pairs, hards = [c[0] for c in counts], [c[1] for c in counts]
        check_equal("pairs", pairs)
        return info_nce(
            x,
            y,
            self.scale,
            rank=rank,
            world_size=world_size,
            all_x=all_gather_uneven(x, pairs),
            all_y=all_gather_uneven(y, pairs),
            all_negatives=all_gather_uneven(hard, hards) if any(hards) else None,
            false_negatives=self._gather_keys(keys, pairs, hards)
            if keys and all(c[2] for c in counts)
            else None,
            tile_bytes=self.tile_bytes,
        )

    def _gather_keys(self, keys: Keys, pairs: list[int], hards: list[int]) -> FalseNegatives:
        everyones = all_gather_uneven(keys.pairs, pairs)  # (world * n, 3)
        return FalseNegatives(
            everyones[:, self.mask],
            everyones[:, y] if (y := _HASHES.index("y")) in self.mask else None,
            all_gather_uneven(keys.negatives, hards) if any(hards) else keys.negatives,
        )
