"""Groups of models that do not differ: a compact letter display, from paired tests or from overlapping intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from eval_suite.errors import EvalError
from eval_suite.paired import Sample, all_pairs
from eval_suite.significance import holm

ALPHA = 0.05
PAIRED, OVERLAP = "paired tests", "overlap of intervals"


@dataclass(frozen=True)
class Groups:
    """letters: one string a model; two models that share a letter do not differ. top: equal to the best one.

    by: how that was found out.
    """

    letters: list[str]
    top: list[bool]
    by: str


def groups(
    scores: Sequence[float],
    samples: Sequence[Sample | None],
    intervals: Sequence[tuple[float, float] | None],
) -> Groups | None:
    """Of m models on one task. Paired tests with Holm's correction where all have samples, else whether intervals overlap.

    None for fewer than two models, or where neither is possible.
    """
    if len(scores) < 2:
        return None
    apart = _by_tests(samples)
    by = PAIRED
    if apart is None:
        apart, by = _by_overlap(intervals), OVERLAP
    if apart is None:
        return None
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    top = [i == order[0] or (min(i, order[0]), max(i, order[0])) not in apart for i in range(len(scores))]
    return Groups(_letters(order, apart), top, by)


Pairs = set[tuple[int, int]]


def _by_tests(samples: Sequence[Sample | None]) -> Pairs | None:
    known = [sample for sample in samples if sample is not None]
    if len(known) < len(samples):
        return None
    try:
        p = all_pairs(known, alpha=ALPHA)
    except EvalError:  # not the same examples after all: nothing to pair
        return None
    corrected = holm(list(p.values()))
    return {pair for pair, value in zip(p, corrected, strict=True) if value < ALPHA}


def _by_overlap(intervals: Sequence[tuple[float, float] | None]) -> Pairs | None:
    known = [interval for interval in intervals if interval is not None]
    if len(known) < len(intervals):
        return None
    return {
        (i, j)
        for i, j in combinations(range(len(known)), 2)
        if known[i][1] < known[j][0] or known[j][1] < known[i][0]
    }


def _letters(order: Sequence[int], apart: Pairs) -> list[str]:
    """Insert and absorb (Piepho 2004): start with one group of all, split it at each pair that differs."""
    found: list[frozenset[int]] = [frozenset(order)]
    for i, j in sorted(apart):
        split = [part for g in found for part in ((g - {i}, g - {j}) if {i, j} <= g else (g,))]
        unique = list(dict.fromkeys(split))
        found = [g for g in unique if not any(g < other for other in unique)]
    place = {model: n for n, model in enumerate(order)}
    found.sort(key=lambda g: sorted(place[i] for i in g))
    return ["".join(_letter(n) for n, g in enumerate(found) if i in g) for i in range(len(order))]


def _letter(n: int) -> str:
    return chr(ord("a") + n) if n < 26 else f"({n + 1})"
