"""Which examples of the evaluations the training pairs hold, and what the scores are without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm import tqdm

from data_prep.corpus import Corpus
from data_prep.decontaminate import Contamination, decontaminate
from data_prep.evaluation import NgramRules, normalised
from data_prep.report import Report
from eval_suite.results import Result
from eval_suite.subset import subset_score

Example = tuple[str, ...]  # the texts of one example: one, two of a pair, or a query


@dataclass(frozen=True)
class Rescored:
    """One result with and without the examples that are in the training pairs.

    task, encoder: of the result. touched, examples: how many of them. score: over all examples, without: over
    those that are not touched, both means over examples (SentEval's own score is a mean over folds, which can
    differ in the second decimal). interval: 95 % of `without`.
    """

    task: str
    encoder: str
    touched: int
    examples: int
    score: float
    without: float | None
    interval: list[float]


def overlap(shards: Path, examples: Mapping[str, Sequence[Example]], rules: NgramRules) -> Contamination:
    """Look for the examples' texts in the training split of a folder of shards, in one pass over it.

    Raises:
        DataError: no training shards there, or no text long enough to look for.
    """
    corpus = Corpus(shards, splits=("train",))
    texts = ((task, text) for task, rows in examples.items() for row in rows for text in row)
    with (
        TemporaryDirectory() as spill,
        tqdm(total=corpus.count, unit=" pairs", desc="searching") as bar,
    ):
        return decontaminate(corpus, texts, rules, Report(), Path(spill), bar.update)


def touched(found: Contamination, task: str, examples: Sequence[Example]) -> np.ndarray:
    """Bool (n,): whether a training pair holds one of the example's texts."""
    held = found.held.get(task, set())
    return np.array([any(normalised(text) in held for text in row) for row in examples], bool)


def rescore(result: Result, marks: np.ndarray) -> Rescored | None:
    """The result with and without the marked examples; None where it keeps no numbers of single examples.

    Raises:
        EvalError: a result of other examples than were looked for.
    """
    if not result.per_example:
        return None
    score, _ = subset_score(result, np.ones(len(marks), bool))
    without: float | None = None
    interval: list[float] = []
    if not marks.all():
        without, interval = subset_score(result, ~marks)
    return Rescored(result.task, result.encoder, int(marks.sum()), len(marks), score, without, interval)


def to_json(
    found: Contamination, marks: Mapping[str, np.ndarray], rescored: Sequence[Rescored]
) -> dict[str, Any]:
    """All of it as plain numbers; the places of the touched examples are in the tasks' own order."""
    return {
        "tasks": {
            task: {"examples": len(one), "touched": np.flatnonzero(one).tolist()}
            for task, one in marks.items()
        },
        "ngrams": found.to_dict(),
        "scores": [vars(one) for one in rescored],
    }


def table(marks: Mapping[str, np.ndarray], rescored: Sequence[Rescored]) -> str:
    """Two tables: the touched examples by task, and the scores with and without them."""
    lines = [f"{'task':<16}{'examples':>10}{'touched':>10}{'share':>9}"]
    for task, one in marks.items():
        share = one.mean() if len(one) else 0.0
        lines.append(f"{task:<16}{len(one):>10,}{int(one.sum()):>10,}{share:>9.2%}")
    if rescored:
        lines += ["", f"{'task':<16}{'all':>8}{'without':>9}   {'95 % interval':<17}encoder"]
    for row in rescored:
        without = "" if row.without is None else f"{row.without:.2f}"
        interval = f"{row.interval[0]:.2f} - {row.interval[1]:.2f}" if row.interval else ""
        lines.append(f"{row.task:<16}{row.score:>8.2f}{without:>9}   {interval:<17}{row.encoder}")
    return "\n".join(lines)
