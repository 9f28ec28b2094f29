"""Sentence similarity: STS12 to STS16, the STS Benchmark and SICK relatedness, scored without any training."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval_suite import diagnostics
from eval_suite.correlation import KINDS, correlation
from eval_suite.encoder import Encoder, encode_texts, facts, symmetric_side
from eval_suite.errors import EvalError
from eval_suite.results import Result
from eval_suite.rng import rng_kept
from eval_suite.similarity import correlations, intervals, pair_cosines, pool
from eval_suite.task import Options, Task
from eval_suite.tasks.files import DOWNSTREAM, data_bytes, data_lines, edition_warnings, find_folder

FAMILY = "similarity"


class Pair(NamedTuple):
    """Two texts and how alike people found them."""

    first: str
    second: str
    gold: float


@dataclass(frozen=True)
class Subset:
    """name: of the subset. files: patterns of its files below the task's folder. read: pairs from their lines."""

    name: str
    files: tuple[str, ...]
    read: Callable[..., list[Pair]]


@dataclass(frozen=True)
class StsTask:
    """Cosines against judgements. The score is Spearman's correlation of all pairs pooled, times 100.

    variant: which edition of the texts, part of the protocol. folders: where below --data they may lie.
    Both texts are encoded alike, on the encoder's symmetric side.
    """

    name: str
    variant: str
    subsets: tuple[Subset, ...]
    folders: tuple[str, ...] = DOWNSTREAM
    family: str = FAMILY

    def protocol(self, options: Options) -> str:
        return f"sts/cosine/pooled-spearman/{self.variant}"

    def paths(self, data: Path) -> list[list[Path]]:
        """The files of each subset. Raises EvalError for a missing one."""
        root = find_folder(data, self.folders, self.subsets[0].files[0], self.name)
        return [[_only(root, pattern, self.name) for pattern in subset.files] for subset in self.subsets]

    def sha256(self, data: Path) -> str:
        digest = hashlib.sha256()
        for subset, paths in zip(self.subsets, self.paths(data), strict=True):
            for pattern, path in zip(subset.files, paths, strict=True):
                digest.update(f"{pattern} {hashlib.sha256(data_bytes(path)).hexdigest()}\n".encode())
        return digest.hexdigest()

    def read(self, data: Path) -> dict[str, list[Pair]]:
        """Subset -> its judged pairs. Raises EvalError for files that do not fit."""
        return {
            subset.name: subset.read(*paths)
            for subset, paths in zip(self.subsets, self.paths(data), strict=True)
        }

    def examples(self, data: Path) -> list[tuple[str, ...]]:
        """The texts of every pair, in the order of `per_example`."""
        return [(pair.first, pair.second) for pairs in self.read(data).values() for pair in pairs]

    def _edition(self, data: Path) -> list[str]:
        if self.folders is not DOWNSTREAM:
            return []
        root = find_folder(data, self.folders, self.subsets[0].files[0], self.name)
        return edition_warnings(root, [path for subset in self.subsets for path in subset.files])

    def run(self, encoder: Encoder, data: Path, options: Options) -> Result:
        start = time.perf_counter()
        with rng_kept():
            subsets = self.read(data)
            pairs = [pair for each in subsets.values() for pair in each]
            texts = [pair.first for pair in pairs] + [pair.second for pair in pairs]
            vectors = encode_texts(encoder, texts, symmetric_side(encoder), options.progress)  # (2 n, d)
            cut = diagnostics.truncated_share(encoder, texts)
        encoded = time.perf_counter()
        cosines = pair_cosines(vectors[: len(pairs)], vectors[len(pairs) :])  # (n,)
        scored = _by_subset(subsets, cosines)
        return self._record(encoder, data, options, vectors, scored, cut, (encoded - start, encoded))

    def _record(
        self,
        encoder: Encoder,
        data: Path,
        options: Options,
        vectors: np.ndarray,
        scored: dict[str, tuple[np.ndarray, np.ndarray]],
        cut: float | None,
        times: tuple[float, float],
    ) -> Result:
        cosines, gold = pool(scored)
        scores = {name: round(100 * value, 2) for name, value in correlations(scored).items()}
        around = {
            name: [round(100 * low, 2), round(100 * high, 2)]
            for name, (low, high) in intervals(scored, options.seed).items()
        }
        spread, ties = diagnostics.spread(vectors), diagnostics.tie_rate(cosines)
        return Result(
            task=self.name,
            family=FAMILY,
            score=scores["spearman"],
            metric="spearman",
            scores=scores,
            interval=around["spearman"],
            protocol=self.protocol(options),
            encoder=encoder.name,
            fingerprint=encoder.fingerprint,
            side=symmetric_side(encoder),
            dtype="float32",
            dim=vectors.shape[1],
            seed=options.seed,
            examples={"pairs": len(cosines)},
            data_sha256=self.sha256(data),
            settings={"similarity": "cosine", "aggregation": "all pairs pooled", "ties": "mean rank"},
            details={
                "intervals": around,
                "subsets": {name: _subset_scores(*pair) for name, pair in scored.items()},
                "tie_rate": round(ties, 4),
                "effective_rank": round(spread.effective_rank, 2),
                "mean_cosine": round(spread.mean_cosine, 4),
                "truncated_share": cut,
            },
            warnings=[
                *self._edition(data),
                *_no_correlation(cosines, gold),
                *diagnostics.collapse_warnings(spread),
                *diagnostics.truncation_warnings(cut, diagnostics.token_limit(encoder)),
            ],
            per_example={"cosine": cosines.tolist(), "gold": gold.tolist()},
            model=facts(encoder),
            seconds={"encode": round(times[0], 2), "score": round(time.perf_counter() - times[1], 2)},
        )


def _by_subset(
    subsets: dict[str, list[Pair]], cosines: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    scored, start = {}, 0
    for name, pairs in subsets.items():
        gold = np.array([pair.gold for pair in pairs])
        scored[name] = (cosines[start : start + len(pairs)], gold)
        start += len(pairs)
    return scored


def _subset_scores(cosines: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    return {
        "pairs": len(gold),
        **{kind: round(100 * correlation(cosines, gold, kind), 2) for kind in KINDS},
    }


def _no_correlation(cosines: np.ndarray, gold: np.ndarray) -> list[str]:
    if len(gold) < 2:
        return ["one pair has no correlation; it is scored 0"]
    same = "cosine" if np.ptp(cosines) == 0 else "judgement" if np.ptp(gold) == 0 else None
    return [f"all pairs have the same {same}: no correlation exists, it is scored 0"] if same else []


def _only(root: Path, pattern: str, task: str) -> Path:
    """The one file of that pattern; the first in the order of their names if there are more."""
    found = sorted(root.glob(pattern))
    if not found:
        raise EvalError(
            f"data {root}: task {task} lacks its file {pattern}; fetch it: cpt eval fetch sts --to DIR"
        )
    return found[0]


def _judged(inputs: Path, gold: Path) -> list[Pair]:
    """A SemEval subset: a tab between the texts, a judgement in the other file; pairs without one are left out."""
    texts, scores = data_lines(inputs), data_lines(gold)
    if len(texts) != len(scores):
        raise EvalError(f"{inputs}: {len(texts)} lines, but {len(scores)} in {gold.name}; fetch both again")
    return [
        _pair(inputs, number, text.split("\t")[:2], score)
        for number, (text, score) in enumerate(zip(texts, scores, strict=True), 1)
        if score.strip()
    ]


def benchmark_pairs(path: Path) -> list[Pair]:
    """STS-B: columns 6 and 7 are the texts, 5 the judgement; quotation marks mean nothing."""
    rows = (line.split("\t") for line in data_lines(path))
    return [
        _pair(path, number, row[5:7], row[4] if len(row) > 4 else "") for number, row in enumerate(rows, 1)
    ]


def sick_pairs(*paths: Path) -> list[Pair]:
    """SICK's tables, one after another, each behind a header: texts in columns 2 and 3, relatedness in 4."""
    return [
        _pair(path, number, row[1:3], row[3] if len(row) > 3 else "")
        for path in paths
        for number, row in enumerate((line.split("\t") for line in data_lines(path)), 1)
        if number > 1
    ]


def _pair(path: Path, number: int, texts: Sequence[str], gold: str) -> Pair:
    try:
        first, second = (" ".join(text.split()) or "." for text in texts)
        pair = Pair(first, second, float(gold))
    except ValueError as error:
        raise EvalError(f"{path}: line {number} is no pair of texts with a judgement ({error})") from error
    if not np.isfinite(pair.gold):
        raise EvalError(f"{path}: line {number} has the judgement {gold!r}")
    return pair


YEARS = {
    "12": ("MSRpar", "MSRvid", "SMTeuroparl", "surprise.OnWN", "surprise.SMTnews"),
    "13": ("FNWN", "headlines", "OnWN"),  # SMT is licensed and not given out
    "14": ("deft-forum", "deft-news", "headlines", "images", "OnWN", "tweet-news"),
    "15": ("answers-forums", "answers-students", "belief", "headlines", "images"),
    "16": ("answer-answer", "headlines", "plagiarism", "postediting", "question-question"),
}


def year_task(year: str, suffix: str, pattern: str, variant: str, folders: tuple[str, ...]) -> StsTask:
    """A SemEval year. pattern: of a subset's files, with {year}, {kind} ("input" or "gs") and {name} to fill in."""
    subsets = tuple(
        Subset(
            name, tuple(pattern.format(year=year, kind=kind, name=name) for kind in ("input", "gs")), _judged
        )
        for name in YEARS[year]
    )
    return StsTask(f"STS{year}{suffix}", variant, subsets, folders)


def one_file_task(
    name: str, variant: str, files: tuple[str, ...], read: Callable[..., list[Pair]], folders: tuple[str, ...]
) -> StsTask:
    return StsTask(name, variant, (Subset("all", files, read),), folders)


_EDITION = "senteval-tokenised-lowercased"
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *(
            year_task(year, "", "STS/STS{year}-en-test/STS.{kind}.{name}.txt", _EDITION, DOWNSTREAM)
            for year in YEARS
        ),
        one_file_task("STSB", _EDITION, ("STS/STSBenchmark/sts-test.csv",), benchmark_pairs, DOWNSTREAM),
        one_file_task(
            "SICK-R", "senteval-tokenised", ("SICK/SICK_test_annotated.txt",), sick_pairs, DOWNSTREAM
        ),
    )
}
