"""Takes pairs out that hold evaluation texts; knows no task, works on the texts it is handed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
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
    spill: Path,
    on_batch: Callable[[int], object] = lambda count: None,
) -> Contamination:
    """Mark pairs that hold an evaluation text in x, y or a negative in ``corpus.alive``; count them in ``report``.

    Memory depends on the evaluation texts, not on the corpus, but for a byte a pair.

    Args:
        corpus: All splits; read once.
        texts: (task, text), in any order.
        rules: n-grams and limits.
        report: Gets the reasons.
        spill: An empty folder for the n-grams of the pairs that have some.
        on_batch: Called with the number of pairs after each chunk.
    """
    evaluation = EvaluationTexts(texts, rules)
    search(corpus.batches(on_batch=on_batch), corpus.alive, evaluation, spill / "found")
    return settle(corpus.alive, [spill / "found"], [0], evaluation, report)


def search(
    batches: Iterator[tuple[int, list[dict[str, Any]]]],
    alive: np.ndarray,
    evaluation: EvaluationTexts,
    folder: Path,
) -> None:
    """Write which n-grams the pairs have that are alive, of those that have any.

    Args:
        batches: First number and records.
        alive: bool, by number.
        evaluation: What is looked for.
        folder: Made.
    """
    folder.mkdir(parents=True)
    with open(folder / "found", "wb") as file:
        for first, records in batches:
            for number, grams in sorted(_found(evaluation, records).items()):
                if alive[first + number]:
                    file.write(np.array([first + number, len(grams), *sorted(grams)], "<u4").tobytes())


def settle(
    alive: np.ndarray,
    folders: Sequence[Path],
    begins: Sequence[int],
    evaluation: EvaluationTexts,
    report: Report,
) -> Contamination:
    """Mark the pairs that hold enough of an evaluation text in ``alive``, now that it is known what is boilerplate.

    Args:
        alive: bool, by number.
        folders: As :func:`search` wrote them, in the order of their numbers.
        begins: What is added to the numbers of each folder.
        evaluation: The same texts.
        report: Gets the count.
    """
    frequency = np.zeros(len(evaluation.grams), np.int64)
    for _, grams in _written(folders, begins):
        frequency[grams] += 1
    rules = evaluation.rules
    usable = (frequency <= rules.max_documents) & (evaluation.task_counts <= rules.max_tasks)
    counter = _Search(evaluation, usable, rules)
    for number, grams in _written(folders, begins):
        if counter.drops(set(grams.tolist())):
            alive[number] = False
            report.dropped["holds an evaluation text"] += 1
    return counter.report(frequency)


def _written(folders: Sequence[Path], begins: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    for folder, begin in zip(folders, begins, strict=True):
        with open(folder / "found", "rb") as file:
            while head := file.read(8):
                number, size = np.frombuffer(head, "<u4").tolist()
                yield begin + number, np.frombuffer(file.read(4 * size), "<u4")


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
