"""Takes pairs out that hold evaluation texts; knows no task, works on the texts it is handed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from data_prep.corpus import Corpus
from data_prep.evaluation import EvaluationTexts, NgramRules
from data_prep.report import Report

_SHOWN = 5


@dataclass(slots=True)
class TaskReport:
    """What was found of one task.

    Args:
        texts: Different texts that were looked for.
        too_short: Texts that were not.
        too_common: Texts all of whose n-grams are boilerplate of the corpus: they cannot be told.
        found: Texts that are in the corpus.
        touched: Pairs that share an n-gram with the task.
        dropped: Pairs that hold enough of one of its texts.
        ngrams: The n-grams that most of the dropped pairs have, and how many have them.
    """

    texts: int = 0
    too_short: int = 0
    too_common: int = 0
    found: int = 0
    touched: int = 0
    dropped: int = 0
    ngrams: list[tuple[str, int]] = field(default_factory=list)


@dataclass(slots=True)
class Contamination:
    """The report of a run: by task, and the n-grams that did not count because too many pairs have them.

    held: Task -> its texts, as :func:`data_prep.evaluation.normalised` writes them, of which a pair holds enough.
    """

    tasks: dict[str, TaskReport]
    ignored: list[tuple[str, int]]
    ignored_count: int
    held: dict[str, set[str]]

    def to_dict(self) -> dict[str, Any]:
        names = TaskReport.__slots__
        tasks = {task: {name: getattr(one, name) for name in names} for task, one in self.tasks.items()}
        return {"tasks": tasks, "ignored": self.ignored, "ignored_count": self.ignored_count}


def decontaminate(
    corpus: Corpus,
    texts: Iterable[tuple[str, str]],
    rules: NgramRules,
    report: Report,
    on_batch: Callable[[int], object] = lambda count: None,
) -> Contamination:
    """Mark pairs that hold an evaluation text in x, y or a negative in ``corpus.alive``; count them in ``report``.

    The corpus is read twice: first for the number of pairs that have each n-gram, then for those that have one.
    Memory depends on the evaluation texts, not on the corpus, but for a byte a pair.

    Args:
        corpus: All splits.
        texts: (task, text), in any order.
        rules: n-grams and limits.
        report: Gets the reasons.
        on_batch: Called with the number of pairs after each chunk of either pass.
    """
    evaluation = EvaluationTexts(texts, rules)
    frequency = np.zeros(len(evaluation.grams), np.int64)
    touched = np.zeros(corpus.count, bool)
    for first, records in corpus.batches(on_batch=on_batch):
        for number, grams in _found(evaluation, records).items():
            frequency[list(grams)] += 1
            touched[first + number] = True
    usable = (frequency <= rules.max_documents) & (evaluation.task_counts <= rules.max_tasks)
    search = _Search(evaluation, usable, rules)
    for first, records in corpus.batches(touched, on_batch):
        for number, grams in _found(evaluation, records).items():
            if search.drops(grams):
                corpus.alive[first + number] = False
                report.dropped["holds an evaluation text"] += 1
    return search.report(frequency)


def _found(evaluation: EvaluationTexts, records: list[dict[str, Any]]) -> dict[int, set[int]]:
    """Record's place in the batch -> the n-grams that its texts have."""
    texts = [
        (place, text) for place, one in enumerate(records) for text in (one["x"], one["y"], *one["negatives"])
    ]
    owners = [place for place, _ in texts]
    found: dict[int, set[int]] = defaultdict(set)
    for rows, grams in evaluation.find([text for _, text in texts]):
        for row, gram in zip(rows.tolist(), grams.tolist(), strict=True):
            found[owners[row]].add(gram)
    return found


class _Search:
    """Decides pair by pair, and keeps count by task."""

    def __init__(self, evaluation: EvaluationTexts, usable: np.ndarray, rules: NgramRules) -> None:
        self._evaluation, self._usable = evaluation, usable
        counts = evaluation.counts(usable)
        self._counts = counts
        self._needed = np.ceil(rules.min_ratio * np.minimum(counts, ceil(rules.enough / rules.min_ratio)))
        self._texts: set[int] = set()
        self._touched: Counter[int] = Counter()
        self._dropped: Counter[int] = Counter()
        self._grams: dict[int, Counter[int]] = defaultdict(Counter)

    def drops(self, grams: set[int]) -> bool:
        """Whether a pair that has these n-grams goes."""
        shared: Counter[int] = Counter()
        for gram in grams:
            if self._usable[gram]:
                shared.update(self._evaluation.holders(gram).tolist())
        task_of = self._evaluation.task_of
        held = {text for text, count in shared.items() if count >= self._needed[text]}
        self._texts |= held
        self._touched.update({int(task_of[text]) for text in shared})
        self._dropped.update({int(task_of[text]) for text in held})
        for gram in grams:
            if held and self._usable[gram]:
                for task in {
                    int(task_of[text]) for text in self._evaluation.holders(gram).tolist() if text in held
                }:
                    self._grams[task][gram] += 1
        return bool(held)

    def report(self, frequency: np.ndarray) -> Contamination:
        evaluation, tasks = self._evaluation, {}
        looked, common = (
            np.bincount(evaluation.task_of[chosen], minlength=len(evaluation.tasks)).tolist()
            for chosen in (np.arange(len(evaluation.texts)), np.flatnonzero(self._counts == 0))
        )
        found = Counter(int(evaluation.task_of[text]) for text in self._texts)
        for place, task in enumerate(evaluation.tasks):
            most = sorted(self._grams[place].items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
            tasks[task] = TaskReport(
                texts=looked[place],
                too_short=evaluation.too_short.get(task, 0),
                too_common=common[place],
                found=found[place],
                touched=self._touched[place],
                dropped=self._dropped[place],
                ngrams=[(evaluation.words(gram), count) for gram, count in most],
            )
        ignored = np.flatnonzero(~self._usable & (frequency > 0))
        order = ignored[np.argsort(-frequency[ignored], kind="stable")]
        shown = [(evaluation.words(gram), int(frequency[gram])) for gram in order[:_SHOWN].tolist()]
        held: dict[str, set[str]] = {task: set() for task in evaluation.tasks}
        for text in self._texts:
            held[evaluation.tasks[int(evaluation.task_of[text])]].add(evaluation.texts[text])
        return Contamination(tasks, shown, len(ignored), held)


def table(found: dict[str, Any]) -> str:
    """A contamination report as lines of text."""
    header = ("task", "texts", "too short", "too common", "found", "touched pairs", "dropped pairs")
    names = ("texts", "too_short", "too_common", "found", "touched", "dropped")
    rows = [header, *((task, *(f"{one[name]:,}" for name in names)) for task, one in found["tasks"].items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    for task, one in found["tasks"].items():
        lines += [f"  {task}: {count:,} x {words!r}" for words, count in one["ngrams"][:2]]
    if found["ignored_count"]:
        lines.append(f"{found['ignored_count']:,} n-grams do not count, as boilerplate; most often:")
        lines += [f"  {count:,} pairs: {words!r}" for words, count in found["ignored"]]
    return "\n".join(lines)
