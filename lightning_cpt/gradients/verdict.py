"""The law as numbers: which rows hold it, and what the numbers of those that do not say about the cause."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_cpt.gradients.measure import SAME, Distance, distances

LIMITS = {"float64": 1e-10, "float32": 1e-5}
NOISE = {"float64": 1e-14, "float32": 1e-6, "bf16-mixed": 1e-6}  # of the whole gradient: rounding
CHUNKS_FACTOR = 1.25  # how much further from float32 many chunks may be than one
BF16_ROUNDING = 2.0**-8  # of one number; an error below it is luck, and so is its growth


@dataclass(frozen=True)
class Row:
    """One group of parameters in one case, on the rank that is furthest off.

    Args:
        world_size: Number of ranks.
        case: Its name.
        dtype: float64, float32 or bf16-mixed.
        group: Name of the group of parameters.
        distance: From the reference.
        limit: What the relative error has to stay below.
    """

    world_size: int
    case: str
    dtype: str
    group: str
    distance: Distance
    limit: float

    @property
    def ok(self) -> bool:
        return self.distance.relative_error < self.limit  # no number is not below


def rows_of(
    world_size: int,
    case: str,
    dtype: str,
    found: Sequence[Mapping[str, np.ndarray]],
    reference: Mapping[str, np.ndarray],
) -> list[Row]:
    """A row for each group, of the rank that is furthest off."""
    ranks = [distances(gradients, reference, NOISE[dtype]) for gradients in found]
    return [
        Row(world_size, case, dtype, group, _worst(rank[group] for rank in ranks), LIMITS[dtype])
        for group in reference
    ]


def _worst(found: Iterable[Distance]) -> Distance:
    return max(
        found, key=lambda d: math.inf if math.isnan(d.relative_error) else d.relative_error, default=SAME
    )


def mixed_rows(
    one: Mapping[str, np.ndarray],
    many: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    names: tuple[str, str],
) -> list[Row]:
    """Rows of bf16-mixed with one chunk, which bound those with many chunks."""
    few = distances(one, reference, NOISE["bf16-mixed"])
    split = distances(many, reference, NOISE["bf16-mixed"])
    rows = [Row(1, names[0], "bf16-mixed", group, found, math.inf) for group, found in few.items()]
    for group, found in split.items():
        # A single number, such as the scale, is right by luck now and then.
        luck = BF16_ROUNDING if reference[group].size == 1 else 0.0
        limit = max(CHUNKS_FACTOR * few[group].relative_error, luck) or math.nextafter(0, 1)
        rows.append(Row(1, names[1], "bf16-mixed", group, found, limit))
    return rows


def diagnose(rows: Sequence[Row]) -> list[str]:
    """One line for each cause that the broken rows point to; none where the law holds."""
    causes: dict[str, list[str]] = {}
    for group in dict.fromkeys(row.group for row in rows):
        for cause in _causes([row for row in rows if row.group == group]):
            causes.setdefault(cause, []).append(group)
    return [f"{', '.join(groups)}: {cause}" for cause, groups in causes.items()]


def _causes(rows: Sequence[Row]) -> list[str]:
    """What may be wrong with one group."""
    causes = []
    if broken := [row for row in rows if row.dtype == "float64" and not row.ok]:
        alone = {row.case for row in broken if row.world_size == 1}
        causes += [_alone(sorted(alone))] if alone else []
        # What one rank gets wrong as well says nothing about ranks.
        several = [row for row in broken if row.world_size > 1 and row.case not in alone]
        causes += [_between_ranks(several)] if several else []
    elif broken := [row for row in rows if row.dtype == "float32" and not row.ok]:
        worst = max(row.distance.relative_error for row in broken)
        causes.append(
            f"float64 is exact, float32 is {worst:.0e} off: rounding; something computes in less than float32, or "
            "takes the difference of large numbers"
        )
    if any(row.dtype == "bf16-mixed" and not row.ok for row in rows):
        causes.append(
            "bf16-mixed drifts from float32 with the number of chunks: weights or sums over chunks are held in "
            "16 bits; keep parameters and their gradients in float32, and autocast's cache off"
        )
    return causes


def _alone(cases: Sequence[str]) -> str:
    return (
        f"off on one rank already ({', '.join(cases)}): not a matter of ranks; the result depends on how the batch "
        "is cut, or on something random, or a gradient taken by hand is not that of its value"
    )


def _between_ranks(rows: Sequence[Row]) -> str:
    if any(not math.isfinite(row.distance.ratio + row.distance.cosine) for row in rows):
        return "not a number, or a gradient where the full batch has none"
    if all(row.distance.relative_error < 1e-4 for row in rows):
        return "right but for rounding: something computes in less precision than it is given"
    if any(row.distance.cosine < 1 - 1e-6 for row in rows):
        lowest = min(row.distance.cosine for row in rows)
        return (
            f"wrong direction on several ranks (cosine down to {lowest:.3f}): part of the gradient is lost on its way "
            "between the ranks, as when columns are gathered without gradient; gather with all_gather_with_grad"
        )
    if _all_near(rows, lambda world_size: 1 / world_size):
        return (
            "1/W of the gradient on W ranks: gathered without gradient and the own slice put back, then averaged by "
            "DDP; compare local rows with columns from all_gather_with_grad"
        )
    if _all_near(rows, float):
        return (
            "W times the gradient on W ranks: a factor of the world size; leave it out, the gather's sum over ranks "
            "and DDP's mean cancel"
        )
    ratios = ", ".join(f"{row.distance.ratio:.3g} on {row.world_size}" for row in _one_each(rows))
    return f"right direction, wrong length on several ranks (ratio {ratios} ranks): a constant factor in the loss"


def _all_near(rows: Sequence[Row], wanted: Callable[[int], float]) -> bool:
    return all(abs(row.distance.ratio / wanted(row.world_size) - 1) < 1e-3 for row in rows)


def _one_each(rows: Sequence[Row]) -> list[Row]:
    return list({row.world_size: row for row in reversed(rows)}.values())[::-1]
