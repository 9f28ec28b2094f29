"""The n-grams of evaluation texts, to be found in a corpus; which task and text each belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.errors import DataError
from data_prep.shingles import Hashed, batches, word_hashes

_FACTOR = np.uint64(0x5851F42D4C957F2D)
_TABLE_BITS = 25
# Evaluation sets are often stored as a treebank's tokens: "do n't", "it 's".
_SPLIT_OFF = re.compile(r"\s+(?=n['’]t\b|['’](?:s|m|d|re|ve|ll)\b)", re.IGNORECASE)
_TOKEN = re.compile(
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff])\w)+"
)


@dataclass(frozen=True, slots=True)
class NgramRules:
    """How evaluation texts are recognised.

    Args:
        ngram: Words of an n-gram. A shorter text is looked for as a whole.
        min_words: Texts of fewer words ("a good film") are in every corpus; they are counted and not looked for.
        whole_words: A text of fewer words has to begin or to end where a sentence does; else it is a turn of phrase.
        max_documents: An n-gram that more pairs of the corpus have is boilerplate and does not count.
        max_tasks: The same for one that more tasks have.
        min_ratio: Part of an evaluation text's n-grams that a pair has to hold.
        enough: So many n-grams are enough, however long the text: 8 are 20 running words.
    """

    ngram: int = 13
    min_words: int = 5
    whole_words: int = 8
    max_documents: int = 20
    max_tasks: int = 5
    min_ratio: float = 0.5
    enough: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.min_words <= self.ngram:
            raise DataError(
                f"--ngram {self.ngram}: must be {self.min_words} or more, the fewest words of a text"
            )
        for name in ("max_documents", "max_tasks", "enough"):
            if getattr(self, name) < 1:  # with 0 no n-gram counts, and nothing is ever found
                raise DataError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be 1 or more")
        if not 0 < self.min_ratio <= 1:
            raise DataError(f"--min-ratio {self.min_ratio}: must be over 0 and at most 1")


def normalised(text: str) -> str:
    """Lower case without apostrophes: "Don't" and "do n't" are one word."""
    return _SPLIT_OFF.sub("", text).lower().replace("'", "").replace("’", "")


def word_count(text: str) -> int:
    """Words as the rules count them: signs that stand alone are none."""
    return len(_TOKEN.findall(normalised(text)))


class EvaluationTexts:
    """Different texts of each task, by their n-grams.

    Attributes:
        tasks: Names.
        texts: Normalised.
        task_of: int32 (texts,).
        too_short: Task -> texts under the fewest words.
        grams: uint64 (grams,), sorted hashes.
        task_counts: int64 (grams,): how many tasks have it.
    """

    def __init__(self, texts: Iterable[tuple[str, str]], rules: NgramRules) -> None:
        self.rules = rules
        self.tasks: list[str] = []
        self.texts: list[str] = []
        self.too_short: dict[str, int] = {}
        owners = self._gather(texts)
        if not self.texts:
            raise DataError("no evaluation texts long enough to look for were handed over")
        self.task_of = np.array(owners, np.int32)
        hashes, holders = self._grams()
        self.grams, which = np.unique(hashes, return_inverse=True)
        pairs = np.unique(which.astype(np.uint64) << np.uint64(32) | holders.astype(np.uint64))
        self._holders = (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)
        self._starts = np.searchsorted(
            pairs >> np.uint64(32), np.arange(len(self.grams) + 1, dtype=np.uint64)
        )
        of_task = np.unique(
            (pairs >> np.uint64(32)) * np.uint64(len(self.tasks))
            + self.task_of[self._holders].astype(np.uint64)
        )
        self.task_counts = np.bincount(
            (of_task // np.uint64(len(self.tasks))).astype(np.int64), minlength=len(self.grams)
        )
        self._sizes = sorted({min(rules.ngram, n) for n in self._lengths.tolist()})
        self._table = np.zeros(1 << _TABLE_BITS, bool)
        self._table[self._slots(self.grams)] = True

    def _gather(self, texts: Iterable[tuple[str, str]]) -> list[int]:
        owners: list[int] = []
        seen: set[tuple[int, str]] = set()
        places: dict[str, int] = {}
        lengths: list[int] = []
        for task, raw in texts:
            place = places.setdefault(task, len(places))
            text = normalised(raw)
            words = len(_TOKEN.findall(text))
            if (place, text) in seen:
                continue
            seen.add((place, text))
            if words < self.rules.min_words:
                self.too_short[task] = self.too_short.get(task, 0) + 1
                continue
            self.texts.append(text)
            owners.append(place)
            lengths.append(words)
        self.tasks, self._lengths = list(places), np.array(lengths)
        return owners

    def _grams(self) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of all n-grams, and the text of each."""
        hashes, holders = [], []
        for part in batches(self.texts):
            hashed, _ = word_hashes(self.texts[part])
            counts = np.diff(hashed.ends)
            for size, values, rows in _runs(hashed, range(self.rules.min_words, self.rules.ngram + 1)):
                own = (counts[rows] == size) | (size == self.rules.ngram)
                hashes.append(values[own])
                holders.append(rows[own] + part.start)
        return np.concatenate(hashes), np.concatenate(holders)

    def holders(self, gram: int) -> np.ndarray:
        """Numbers of the texts that have an n-gram."""
        return self._holders[self._starts[gram] : self._starts[gram + 1]]

    def counts(self, usable: np.ndarray) -> np.ndarray:
        """int64 (texts,): the n-grams of each text that are among the usable ones, bool (grams,)."""
        of = np.repeat(usable, np.diff(self._starts))
        return np.bincount(self._holders[of], minlength=len(self.texts))

    def find(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (text, n-gram) numbers of what occurs in ``texts``, which need not be normalised."""
        ready = [normalised(text) for text in texts]
        for part in batches(ready):
            hashed, begin = word_hashes(ready[part])
            # A run as long as the n-grams is a part of a longer text, which sits anywhere.
            whole = min(self.rules.whole_words, self.rules.ngram)
            for _, values, rows in _runs(hashed, self._sizes, begin, whole):
                maybe = np.flatnonzero(self._table[self._slots(values)])
                places = np.searchsorted(self.grams, values[maybe])
                places[places == len(self.grams)] = 0
                sure = self.grams[places] == values[maybe]
                if sure.any():
                    yield rows[maybe[sure]] + part.start, places[sure]

    def words(self, gram: int) -> str:
        """The n-gram as text, for a report."""
        text = self.texts[int(self.holders(gram)[0])]
        hashed, _ = word_hashes([text])
        for size, values, _ in _runs(hashed, self._sizes):
            if len(found := np.flatnonzero(values == self.grams[gram])):
                return " ".join(_TOKEN.findall(text)[found[0] : found[0] + size])
        return text

    def _slots(self, values: np.ndarray) -> np.ndarray:
        return (values >> np.uint64(64 - _TABLE_BITS)).astype(np.int64)


def _runs(
    tokens: Hashed, sizes: Iterable[int], begin: np.ndarray | None = None, whole: int = 0
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For each size, ascending, the hashes of the runs of so many tokens, and the text of each.

    With ``begin``, which tokens begin a sentence, a run under ``whole`` tokens begins or ends a sentence.
    """
    wanted, rows = set(sizes), tokens.rows()
    left = np.repeat(tokens.ends[1:], np.diff(tokens.ends)) - np.arange(len(rows))
    runs = np.zeros(len(rows), np.uint64)
    for size in range(1, max(wanted, default=0) + 1):
        if len(rows) < size:
            return
        runs = runs[: len(rows) - size + 1] * _FACTOR + tokens.values[size - 1 :]
        if size in wanted:
            inside = left[: len(runs)] >= size
            if begin is not None and size < whole:
                inside &= begin[: len(runs)] | np.append(begin, True)[size:]
            places = np.flatnonzero(inside)
            yield size, runs[places], rows[places]
