"""The check itself: build the twin, run all cases on the ranks, compare, say what was found."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_cpt.errors import ConfigError
from lightning_cpt.gradients.cases import CASES, Case, pairs_for
from lightning_cpt.gradients.measure import Job, Step
from lightning_cpt.gradients.ranks import Ranks
from lightning_cpt.gradients.verdict import LIMITS, Row, mixed_rows, rows_of

SEQUENCES = 1024  # of the batch in bf16-mixed


@dataclass
class Found:
    """What a check found.

    Args:
        law: Rows of float64 and float32, in the order of the table.
        mixed: Rows of bf16-mixed.
    """

    law: list[Row] = field(default_factory=list)
    mixed: list[Row] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return all(row.ok for row in [*self.law, *self.mixed])


def build_twin(arguments: Sequence[str]) -> tuple[Step, str]:
    """Encoder and loss of the recipe's twin; the recipe's strategy.

    Raises:
        ConfigError: a mistake in the recipe.
    """
    from lightning_cpt.gradients.recipe import build_model
    from lightning_cpt.gradients.twin import fixed_seed, without_dropout

    with fixed_seed():
        model, strategy = build_model(arguments)
    step = Step(model.encoder, model.loss)
    without_dropout(step)
    return step, strategy


def finds_unused(strategy: str) -> bool:
    """Whether DDP looks for parameters without a gradient."""
    return "find_unused_parameters_true" in strategy


def pickled(step: Step) -> bytes:
    """The step as it is sent to the ranks.

    Raises:
        ConfigError: a plug-in that holds what cannot be sent.
    """
    try:
        return pickle.dumps(step)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"model: cannot be sent to the ranks ({error}); keep lambdas, open files and the like out of a "
            "plug-in's attributes"
        ) from error


def check(
    ranks: Ranks,
    world_sizes: Sequence[int],
    *,
    unused: bool = False,
    cases: Sequence[Case] = CASES,
    sequences: int = SEQUENCES,
    tick: Callable[[], Any] = lambda: None,
) -> Found:
    """Run all cases.

    Args:
        ranks: The processes.
        world_sizes: Numbers of ranks.
        unused: Whether DDP looks for parameters without a gradient.
        cases: What to run on each number of ranks.
        sequences: Of the batch in bf16-mixed; with many chunks each is one.
        tick: Called behind each of the :func:`steps` of the work.
    """
    mixed = mixed_jobs(sequences)
    ranks.send([ranks.beside], mixed[-1])  # the longest job, beside the others
    rows = _law_rows(ranks, world_sizes, cases, unused, tick)
    many = ranks.receive([ranks.beside], mixed[-1])
    rest = []
    for job in mixed[:-1]:
        rest += ranks.run(1, job)
        tick()
    names = mixed[1].case.name, mixed[2].case.name
    return Found(rows, mixed_rows(rest[1], many[0], rest[0], names))


def steps(world_sizes: Sequence[int], cases: Sequence[Case] = CASES) -> int:
    """How often :func:`check` ticks."""
    return len(world_sizes) * len(cases) * len(LIMITS) + 2


def mixed_jobs(sequences: int) -> tuple[Job, Job, Job]:
    """The same batch in float32, in bf16-mixed in one chunk, and in bf16-mixed in a chunk for each sequence.

    The chunks are kept: those computed again enter autocast one by one, and could not share a cache of weights.
    """
    one = Case("one chunk", longest=6)
    many = Case(f"{sequences:,} chunks", longest=6, chunk_tokens=1)
    pairs = sequences // 2
    return Job(one, "float32", pairs), Job(one, "bf16-mixed", pairs), Job(many, "bf16-mixed", pairs)


def _law_rows(
    ranks: Ranks, world_sizes: Sequence[int], cases: Sequence[Case], unused: bool, tick: Callable[[], Any]
) -> list[Row]:
    """The rows of float64 and float32, in the order of the table."""
    references = {
        (case.data, pairs): ranks.run(1, _reference(case, pairs))[0]
        for case in {case.data: case for case in cases}.values()
        for pairs in {pairs_for(size) for size in world_sizes}
    }
    found: dict[tuple[str, int], list[Row]] = {}
    for size in world_sizes:
        for case in cases:
            pairs, rows = pairs_for(size), found.setdefault((case.name, size), [])
            for dtype in LIMITS:
                measured = ranks.run(size, Job(case, dtype, pairs, unused))
                rows += rows_of(size, case.name, dtype, measured, references[case.data, pairs])
                tick()
    return [row for case in cases for size in world_sizes for row in found[case.name, size]]


def _reference(case: Case, pairs: int) -> Job:
    """The same batches, each undivided in one process, in float64, and our own loss as plain as can be."""
    plain = Case("the full batch", case.negatives, case.micro, case.masked, longest=case.longest)
    return Job(plain, "float64", pairs, plain=True)
