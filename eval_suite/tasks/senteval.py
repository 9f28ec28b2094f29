"""Reads SentEval's classification tasks from SentEval's own folder layout, in SentEval's own order.

Order is part of the protocol: examples are sorted by (number of tokens, label) before they are put
into folds, and the sort is stable, so the order of the files counts as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval_suite.errors import EvalError, did_you_mean
from eval_suite.tasks.files import data_bytes, data_lines, downstream

Tokens = list[str]
_TREC_LABELS = {"ABBR": 0, "DESC": 1, "ENTY": 2, "HUM": 3, "LOC": 4, "NUM": 5}


class Example(NamedTuple):
    """One or two token lists, and a label."""

    texts: tuple[Tokens, ...]
    label: int


@dataclass(frozen=True)
class Examples:
    """columns: one list of texts, or two of equal length for a task on pairs. labels: int64 (n,)."""

    columns: tuple[list[str], ...]
    labels: np.ndarray


@dataclass(frozen=True)
class SentEvalTask:
    """files: per part, its files under `downstream` and the label each file stands for, if it stands for one."""

    name: str
    scheme: str  # nested | kfold | split
    parts: dict[str, tuple[tuple[str, int | None], ...]]
    parse: Callable[[str, int | None], Example | None]
    encoding: str = "latin-1"
    variant: str = ""

    @property
    def files(self) -> list[str]:
        """Paths under `downstream`, in a fixed order."""
        return [path for part in self.parts.values() for path, _ in part]

    def protocol(self, kfold: int, solver: str = "logreg", features: str = "raw") -> str:
        """The id of what is measured: equal ids and equal data give comparable scores."""
        folds = "" if self.scheme == "split" else str(kfold)
        return "/".join(filter(None, ["senteval", f"{self.scheme}{folds}", solver, features, self.variant]))

    def read(self, data: Path) -> dict[str, Examples]:
        """Part -> its examples, sorted as SentEval sorts them. Raises EvalError for a missing file or a bad line."""
        root = downstream(data)
        return {part: _sorted(self._examples(root, files)) for part, files in self.parts.items()}

    def _examples(self, root: Path, files: tuple[tuple[str, int | None], ...]) -> list[Example]:
        examples = []
        for path, label in files:
            for number, line in enumerate(data_lines(root / path, self.encoding), 1):
                try:
                    example = self.parse(line, label)
                except (ValueError, IndexError, KeyError) as error:
                    raise EvalError(
                        f"{root / path}: line {number} does not fit task {self.name}: {line[:60]!r}"
                    ) from error
                if example:
                    examples.append(example)
        if not examples:
            raise EvalError(
                f"{root / files[0][0]}: no examples; fetch it again: cpt eval fetch senteval --to DIR"
            )
        return examples

    def sha256(self, data: Path) -> str:
        """One hash over the bytes of the task's files. Raises EvalError for a missing file."""
        root, digest = downstream(data), hashlib.sha256()
        for path in self.files:
            digest.update(f"{path} {hashlib.sha256(data_bytes(root / path)).hexdigest()}\n".encode())
        return digest.hexdigest()


def find_task(name: str) -> SentEvalTask:
    """The task of that name; raises EvalError with the nearest name."""
    if name not in TASKS:
        raise EvalError(f"unknown task {name!r}; {did_you_mean(name, TASKS)}")
    return TASKS[name]


def _sorted(examples: list[Example]) -> Examples:
    examples = sorted(examples, key=lambda e: (*map(len, e.texts), e.label))
    columns = tuple([_text(e.texts[i]) for e in examples] for i in range(len(examples[0].texts)))
    return Examples(columns, np.array([e.label for e in examples]))


def _text(tokens: Tokens) -> str:
    """The tokens with one space between; an empty example becomes a full stop, as SentEval's examples do."""
    return " ".join(tokens) or "."


def _sentence(line: str, label: int | None) -> Example:
    assert label is not None
    return Example((line.split(),), label)


def _phrase(line: str, _: int | None) -> Example:
    text, label = line.strip().split("\t")
    return Example((text.split(),), int(label))


def _graded_sentence(line: str, _: int | None) -> Example | None:
    """One of five grades before a whole sentence: the middle one is left out, two on either side are one label."""
    grade, text = line.split(" ", 1)
    if grade not in ("0", "1", "2", "3", "4"):
        raise ValueError(grade)
    return None if grade == "2" else Example((text.split(),), int(grade > "2"))


def _question(line: str, _: int | None) -> Example:
    kind, rest = line.strip().split(":", 1)
    return Example((rest.split(" ", 1)[1].split(),), _TREC_LABELS[kind])


def _paraphrase(line: str, _: int | None) -> Example | None:
    columns = line.strip().split("\t")
    if columns[0].endswith("Quality"):  # the header, behind a byte-order mark
        return None
    return Example((columns[3].split(), columns[4].split()), int(columns[0]))


def _two_files(name: str, positive: str, negative: str) -> SentEvalTask:
    return SentEvalTask(
        name, "nested", {"all": ((f"{name}/{positive}", 1), (f"{name}/{negative}", 0))}, _sentence
    )


SEVEN = ("MR", "CR", "SUBJ", "MPQA", "SST2", "TREC", "MRPC")  # the paper's Table 2
TASKS: dict[str, SentEvalTask] = {
    task.name: task
    for task in (
        _two_files("MR", "rt-polarity.pos", "rt-polarity.neg"),
        _two_files("CR", "custrev.pos", "custrev.neg"),
        _two_files("SUBJ", "subj.objective", "subj.subjective"),
        _two_files("MPQA", "mpqa.pos", "mpqa.neg"),
        SentEvalTask(
            "SST2",
            "split",
            {part: ((f"SST/binary/sentiment-{part}", None),) for part in ("train", "dev", "test")},
            _phrase,
            "utf-8",
            variant="phrases67k",
        ),
        # The 6,920 whole sentences that many papers train on, with their 872 and 1,821 for dev and test: the sentences
        # of the five-grade files without the neutral ones. They write brackets as -lrb-, unlike the phrases.
        SentEvalTask(
            "SST2-sentences",
            "split",
            {part: ((f"SST/fine/sentiment-{part}", None),) for part in ("train", "dev", "test")},
            _graded_sentence,
            "utf-8",
            variant="sentences6920",
        ),
        SentEvalTask(
            "TREC",
            "kfold",
            {"train": (("TREC/train_5500.label", None),), "test": (("TREC/TREC_10.label", None),)},
            _question,
        ),
        SentEvalTask(
            "MRPC",
            "kfold",
            {
                "train": (("MRPC/msr_paraphrase_train.txt", None),),
                "test": (("MRPC/msr_paraphrase_test.txt", None),),
            },
            _paraphrase,
            "utf-8",
        ),
    )
}
