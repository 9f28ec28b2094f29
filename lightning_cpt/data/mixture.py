"""From which source each batch of a run takes its pairs: exact shares, a pure function of sizes, weights and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lightning_cpt.data.order import permutation
from lightning_cpt.errors import ConfigError

BLOCK = 64  # batches in which every source has its share
Mixing = Literal["single_source", "mixed"]
Exhausted = Literal["repeat", "stop", "drop"]


@dataclass(frozen=True, slots=True)
class Draw:
    """A run of one source's pairs: places ``start`` to ``stop`` of its order in one pass.

    Args:
        source: Number of the source.
        number: Of the pass over it, from 0.
        start, stop: Places in the order of that pass.
    """

    source: int
    number: int
    start: int
    stop: int


def apportion(weights: Sequence[float] | np.ndarray, seats: int, rounds: int) -> np.ndarray:
    """Whole seats by weight: every round fills its seats, and sums of first rounds stay about one from the exact ones.

    Over all rounds each source has its exact number, rounded (largest remainder), and one seat at the least.

    Returns:
        int64 ``(rounds, sources)``.
    """
    shares = np.asarray(weights, np.float64) / np.sum(weights)
    totals = _whole(shares * seats * rounds, seats * rounds, least=1)  # (sources,)
    given = np.zeros_like(totals)
    rows = []
    for done in range(1, rounds + 1):
        rows.append(_whole(totals * done / rounds - given, seats, least=0))
        given += rows[-1]
    return np.stack(rows)


def _whole(wanted: np.ndarray, total: int, least: int) -> np.ndarray:
    """Whole numbers near ``wanted`` that sum to ``total``, none below ``least``."""
    found = np.maximum(np.floor(wanted + 1e-9), least).astype(np.int64)
    while missing := total - int(found.sum()):
        lack = wanted - found
        if missing < 0:
            lack[found <= least] = np.inf  # none to take from these
        found[np.argmax(lack) if missing > 0 else np.argmin(lack)] += np.sign(missing)
    return found


class _Phase:
    """A stretch of batches in which the same sources take part.

    Args:
        weights: One per source; 0 for those that take no part.
        batch_size: Pairs of a batch.
        mixed: Every batch has pairs of all sources; else of one.
        name: Of the order of the sources in a block.
    """

    def __init__(self, weights: np.ndarray, batch_size: int, mixed: bool, name: str) -> None:
        self._mixed, self._name = mixed, name
        self._active = np.flatnonzero(weights)
        seats = batch_size if mixed else BLOCK
        self.rows = np.zeros((BLOCK, len(weights)), np.int64)  # units in each of BLOCK rounds
        self.rows[:, self._active] = apportion(weights[self._active], seats, BLOCK)
        self._ends = np.concatenate(
            [np.zeros_like(self.rows[:1]), self.rows.cumsum(0)]
        )  # (BLOCK + 1, sources)
        self._block: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def before(self, step: int) -> np.ndarray:
        """Units of each source in the phase's first ``step`` batches, ``(sources,)``."""
        if self._mixed:
            return self._rounds(step)
        block, place = divmod(step, BLOCK)
        return self._rounds(block) + np.bincount(self._order(block)[:place], minlength=self.rows.shape[1])

    def _rounds(self, number: int) -> np.ndarray:
        periods, rest = divmod(number, BLOCK)
        found: np.ndarray = periods * self._ends[-1] + self._ends[rest]
        return found

    def _order(self, block: int) -> np.ndarray:
        """Source of each batch of a block, ``(BLOCK,)``."""
        if self._block[0] != block:
            counts = self.rows[block % BLOCK]
            sources = np.repeat(np.arange(len(counts)), counts)
            self._block = block, sources[permutation(f"{self._name}/block/{block}", BLOCK)]
        return self._block[1]

    def last(self, capacity: np.ndarray) -> int:
        """Most batches that need no more than ``capacity`` units of any source."""
        low, high = 0, 1
        while (self.before(high) <= capacity).all():
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if (self.before(middle) <= capacity).all() else (low, middle)
        return low


class Mixture:
    """The schedule of all batches of a run, by their number from the run's first.

    A batch of one source is a unit of that source's pass, which has as many whole ones as it can; the pairs left
    over wait for the next pass's other order. In mixed batches a unit is a pair: with ``repeat`` none is left over,
    and a batch in which one pass ends and the next begins may hold a pair twice (which the loss masks by its x).
    With ``drop`` a source leaves when it has fewer pairs than its share of one batch.

    Args:
        names: Of the sources, for messages.
        counts: Pairs of each.
        weights: Share of each in the batches, any positive numbers; None is by its pairs.
        batch_size: Pairs of a batch.
        mixing: each batch from a ``single_source``, or every batch ``mixed``.
        exhausted: What happens when a source has been passed through: ``repeat`` begins its next pass, ``stop``
            ends the epoch for all, ``drop`` goes on with the others to the end of the last.
        steps_per_epoch: Batches of an epoch; None is as many as all pairs make. Only with ``repeat``.
        name: Of the order of sources: fingerprint and seed.

    Raises:
        ConfigError: a weight that is none, a source that is too small, or no whole batch in an epoch.
    """

    def __init__(
        self,
        names: Sequence[str],
        counts: Sequence[int],
        weights: Sequence[float | None],
        batch_size: int,
        *,
        mixing: Mixing = "single_source",
        exhausted: Exhausted = "repeat",
        steps_per_epoch: int | None = None,
        name: str = "",
    ) -> None:
        self.batch_size, self.exhausted = batch_size, exhausted
        self.mixed = mixing == "mixed" and len(names) > 1
        self.counts = np.asarray(counts, np.int64)
        self.weights = shares(names, counts, weights)
        self.capacity = self.counts if self.mixed else self.counts // batch_size  # units of one pass
        self._name = name
        first = _Phase(self.weights, batch_size, self.mixed, f"{name}/0")
        self._check(names, first)
        self._phases = [(0, np.zeros(len(names), np.int64), first)]  # first batch, units drawn before it
        self.per_epoch = self._length(steps_per_epoch)

    def _check(self, names: Sequence[str], first: _Phase) -> None:
        need = first.rows.max(0) if self.mixed else np.full(len(names), self.batch_size)
        for source, count, most in zip(names, self.counts.tolist(), need.tolist(), strict=True):
            if count < most:
                of = f" of source {source}" if len(names) > 1 else ""
                raise ConfigError(
                    f"data.batch_size: {most} pairs a batch, but only {count} to train on{of}; use at most {count}"
                    + (", or another weight" if self.mixed else "")
                )

    def _length(self, steps: int | None) -> int:
        if self.exhausted == "repeat":
            if steps is not None and steps < 1:
                raise ConfigError(f"data.steps_per_epoch: {steps} is too small; use 1 or more")
            return steps or int(self.capacity.sum()) // (self.batch_size if self.mixed else 1)
        if steps is not None:
            raise ConfigError(
                "data.steps_per_epoch: only with exhausted: repeat; else the sources' pairs decide"
            )
        return self._end_of_phases()

    def _end_of_phases(self) -> int:
        """Add the phases behind the first, each without the sources that have run out; the last one's end."""
        weights = self.weights.copy()
        while True:
            start, drawn, phase = self._phases[-1]
            steps = phase.last(self.capacity - drawn)
            out = phase.before(steps + 1) > self.capacity - drawn
            weights[out] = 0
            if self.exhausted == "stop" or not weights.any():
                if start + steps == 0:
                    raise ConfigError(
                        "data.batch_size: no whole batch before a source runs out; use a smaller one"
                    )
                return start + steps
            name = f"{self._name}/{len(self._phases)}"
            new = _Phase(weights, self.batch_size, self.mixed, name)
            self._phases.append((start + steps, drawn + phase.before(steps), new))

    def draws(self, number: int) -> list[Draw]:
        """What batch ``number`` holds, in the order of the sources."""
        begin, end = self.before(number), self.before(number, further=1)
        epoch = 0 if self.exhausted == "repeat" else number // self.per_epoch
        found = []
        for source in np.flatnonzero(end - begin).tolist():
            found += self._in_passes(source, epoch, int(begin[source]), int(end[source]))
        return found

    def before(self, number: int, further: int = 0) -> np.ndarray:
        """Units of each source in the batches before ``number + further``, since the run or the epoch began.

        Args:
            further: 0, or 1 for those of the batch itself too.
        """
        if self.exhausted != "repeat":
            number %= self.per_epoch
        start, drawn, phase = next(part for part in reversed(self._phases) if part[0] <= number)
        return np.asarray(drawn + phase.before(number + further - start))

    def _in_passes(self, source: int, epoch: int, begin: int, end: int) -> list[Draw]:
        """Units ``begin`` to ``end`` of a source as draws, one for each pass that they lie in."""
        size = 1 if self.mixed else self.batch_size  # pairs of a unit
        length = int(self.capacity[source])
        found = []
        while begin < end:
            number, first = divmod(begin, length)
            stop = min(first + end - begin, length)
            found.append(Draw(source, epoch + number, first * size, stop * size))
            begin += stop - first
        return found


def shares(names: Sequence[str], counts: Sequence[int], weights: Sequence[float | None]) -> np.ndarray:
    """The weights as shares of 1, ``(sources,)``.

    Raises:
        ConfigError: some have a weight and some have none, or one is not above 0.
    """
    if all(weight is None for weight in weights):
        return np.asarray(counts, np.float64) / max(1, sum(counts))
    for name, weight in zip(names, weights, strict=True):
        if weight is None:
            raise ConfigError(f"data.sources.{name}.weight: missing; give every source one, or none")
        if not 0 < weight < float("inf"):
            raise ConfigError(
                f"data.sources.{name}.weight: {weight} is not above 0; leave the source out instead"
            )
    found = np.asarray([float(weight or 0) for weight in weights])
    return found / found.sum()
