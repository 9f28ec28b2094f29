"""What a plan comes to: passes over each source, what is left over, the balance of tokens and of reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lightning_cpt.data.plan import Plan, encoders, readers
from lightning_cpt.data.streams import StreamPairs

_RANKS_SHOWN = 16


def report(
    plan: Plan, world_size: int, workers: int, most: Sequence[int], steps: int | None, sampled: int
) -> Iterator[str]:
    """Lines of text.

    Args:
        world_size: Ranks.
        workers: Of each rank.
        most: Tokens at which x and y are cut.
        steps: Batches of the run; None is one epoch.
        sampled: Batches that the balance is taken from, spread over an epoch.
    """
    mixture = plan.mixture
    steps = steps or mixture.per_epoch
    yield f"{steps:,} steps of {mixture.batch_size:,} pairs, {mixture.per_epoch:,} an epoch"
    yield from _sources(plan, steps)
    numbers = np.unique(np.linspace(0, mixture.per_epoch - 1, min(sampled, mixture.per_epoch)).astype(int))
    yield from _ranks(plan, world_size, most, numbers.tolist())
    yield from _reads(plan, world_size, max(1, workers), numbers.tolist())


def _sources(plan: Plan, steps: int) -> Iterator[str]:
    mixture = plan.mixture
    width = max(6, *(len(name) for name in plan.data.names))
    yield f"{'source':<{width}} {'pairs':>12} {'weight':>7} {'drawn':>14} {'passes':>8}  left over in {'a pass' if mixture.exhausted == 'repeat' else 'an epoch'}"
    drawn = _drawn(plan, steps)
    for name, count, weight, units, left, shards in zip(
        plan.data.names,
        mixture.counts.tolist(),
        mixture.weights.tolist(),
        drawn.tolist(),
        _left(plan).tolist(),
        plan.data.shards,
        strict=True,
    ):
        if isinstance(shards, StreamPairs):
            yield f"{name:<{width}} {'no length':>12} {weight:>7.3f} {units:>14,}"
            continue
        yield f"{name:<{width}} {count:>12,} {weight:>7.3f} {units:>14,} {units / count:>8.2f}  {left:,} pairs"


def _left(plan: Plan) -> np.ndarray:
    """Pairs of each source that one pass, or with ``stop`` and ``drop`` one epoch, does not reach."""
    mixture = plan.mixture
    units = mixture.capacity
    if mixture.exhausted != "repeat":
        units = mixture.before(mixture.per_epoch - 1, further=1)
    return np.asarray(mixture.counts - units * (1 if mixture.mixed else mixture.batch_size))


def _drawn(plan: Plan, steps: int) -> np.ndarray:
    """Pairs of each source in the first ``steps`` batches."""
    mixture = plan.mixture
    epochs, rest = (0, steps) if mixture.exhausted == "repeat" else divmod(steps, mixture.per_epoch)
    units = mixture.before(rest)
    if epochs:
        units = units + epochs * mixture.before(mixture.per_epoch - 1, further=1)
    return np.asarray(units * (1 if mixture.mixed else mixture.batch_size))


def _ranks(plan: Plan, world_size: int, most: Sequence[int], numbers: Sequence[int]) -> Iterator[str]:
    snake, plain = [], []
    for number in numbers:
        weights = plan.data.weigh(plan.places(number), most)  # (batch,) about its tokens
        snake.append(_spread(weights, encoders(weights, world_size), world_size))
        plain.append(_spread(weights, np.arange(len(weights)) // (len(weights) // world_size), world_size))
    yield (
        f"tokens of the fullest rank over the mean, by the index: {np.mean(snake):.3f} (worst {max(snake):.3f}); "
        f"dealt in order they would be {np.mean(plain):.3f} (worst {max(plain):.3f})"
    )


def _spread(weights: np.ndarray, ranks: np.ndarray, world_size: int) -> float:
    loads = np.bincount(ranks, weights, world_size)
    return float(loads.max() / loads.mean())


def _reads(plan: Plan, world_size: int, workers: int, numbers: Sequence[int]) -> Iterator[str]:
    units = world_size * workers
    chunks = sum(
        len(shards.chunk_counts) for shards in plan.data.shards if not isinstance(shards, StreamPairs)
    )
    loads = np.zeros((len(numbers), units))
    for at, number in enumerate(numbers):
        loads[at] = np.bincount(readers(plan.places(number), world_size, workers), minlength=units)
    share = loads.sum(0)
    # Worker w of rank r is unit w * world_size + r.
    by_rank = loads.reshape(len(numbers), workers, world_size).sum((0, 1))  # (world_size,)
    held = by_rank / by_rank.sum()
    yield "pairs read by each rank: " + (
        ", ".join(f"{part:.1%}" for part in held)
        if world_size <= _RANKS_SHOWN
        else f"{held.min():.2%} to {held.max():.2%} of all"
    )
    yield (
        f"{chunks:,} chunks, each read and tokenised by one of {units} workers ({world_size} x {workers}); pairs of the "
        f"busiest over the mean: {share.max() / share.mean():.3f} over the run, {_worst(loads):.2f} in a batch"
    )


def _worst(loads: np.ndarray) -> float:
    return float((loads.max(1) / loads.mean(1)).mean())
