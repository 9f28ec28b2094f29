"""The result record: one strict JSON file per encoder and task, that says all it takes to compare it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eval_suite.errors import EvalError

_PACKAGES = ("numpy", "scipy", "scikit-learn")


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _PACKAGES}


@dataclass(frozen=True)
class Result:
    """Scores are in per cent. interval: 95 % bootstrap interval of the test accuracy over examples.

    dim: how many features the classifier saw (twice the encoder's width for pairs).
    side: how the texts were encoded. comparability: two results of a task with different values of it
    do not belong in one ranking. See probe.ProbeScore for chosen_c, n_iter, fold_scores.
    """

    task: str
    score: float
    dev_score: float | None
    f1: float | None
    metric: str
    protocol: str
    encoder: str
    fingerprint: str
    side: str
    dtype: str
    dim: int
    seed: int
    examples: dict[str, int]
    interval: list[float]
    fold_scores: list[float]
    grid: list[float]
    chosen_c: list[float]
    n_iter: list[int]
    grid_edge_hits: int
    data_sha256: str
    classifier: dict[str, Any]
    seconds: dict[str, float]
    versions: dict[str, str] = field(default_factory=_versions)
    comparability: str = ""

    def __post_init__(self) -> None:
        if not self.comparability:
            object.__setattr__(self, "comparability", self._comparability())

    def _comparability(self) -> str:
        """Over everything but the encoder: data, preprocessing and folds (the protocol), metric, classifier, versions.

        Of the versions the first two numbers count. Symmetric tasks differ in the name of the side between
        kinds of encoder ("x", "plain") without being less comparable, so the side is recorded, not hashed.
        """
        short = {name: ".".join(v.split(".")[:2]) for name, v in self.versions.items()}
        facts = [self.task, self.protocol, self.metric, self.seed, self.dtype, self.data_sha256]
        text = json.dumps([facts, self.grid, self.classifier, short], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def path(self, folder: Path) -> Path:
        """Where it lives: results of several encoders can share a folder."""
        return result_path(folder, self.task, self.fingerprint)

    def write(self, folder: Path) -> Path:
        """Write it whole or not at all, and return its path. Raises EvalError where the folder cannot be written."""
        text = json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"
        path = self.path(Path(folder))
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with _writing(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)
        return path


def check_writable(folder: Path) -> None:
    """Make the folder and a file in it, so that hours of encoding do not end in an EvalError of `Result.write`."""
    trial = Path(folder) / f".{os.getpid()}.part"
    with _writing(folder):
        trial.parent.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EvalError(f"out {folder}: cannot be written ({error.strerror}); give another --out") from error


def result_path(folder: Path, task: str, fingerprint: str) -> Path:
    """FOLDER/TASK.FINGERPRINT.json, with the fingerprint's first twelve characters."""
    return Path(folder) / f"{task}.{re.sub(r'[^A-Za-z0-9]', '-', fingerprint)[:12]}.json"


def read_result(path: Path) -> Result:
    """Raises EvalError for a file that is no result of this version."""
    try:
        return Result(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EvalError(
            f"{path}: not a readable result ({error}); delete it and run the task again"
        ) from error


def finished(folder: Path, task: str, fingerprint: str, protocol: str, data_sha256: str) -> Result | None:
    """The stored result of the very same encoder, protocol and data, comparable to a run of today, if there is one."""
    path = result_path(folder, task, fingerprint)
    if not path.exists():
        return None
    result = read_result(path)
    if (result.fingerprint, result.protocol, result.data_sha256) != (fingerprint, protocol, data_sha256):
        return None
    today = replace(result, versions=_versions(), comparability="")  # scikit-learn's defaults change
    return result if result.comparability == today.comparability else None


def table(results: list[Result]) -> str:
    """The results under each other, with the averages of the scores."""
    lines = [f"{'task':<10}{'score':>8}{'dev':>8}{'F1':>8}   {'95 % interval':<16}best C"]
    for r in results:
        interval = f"{r.interval[0]:.2f} - {r.interval[1]:.2f}"
        best = ",".join(dict.fromkeys(f"{c:g}" for c in r.chosen_c))
        lines.append(f"{r.task:<10}{r.score:>8.2f}{_cell(r.dev_score)}{_cell(r.f1)}   {interval:<16}{best}")
    dev = [r.dev_score for r in results if r.dev_score is not None]
    score = sum(r.score for r in results) / len(results)
    lines.append(f"{'average':<10}{score:>8.2f}{_cell(sum(dev) / len(dev) if dev else None)}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return f"{'' if value is None else f'{value:.2f}':>8}"
