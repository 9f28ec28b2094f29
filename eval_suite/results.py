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
    """What one encoder reached in one task. Scores are in per cent: accuracies, and correlations, nDCG, MRR times 100.

    score, metric: the main number and its name. scores: all numbers by their names, the main one included.
    interval: 95 % bootstrap interval of `score`. side: "x", "plain", or "x/y" for queries and documents.
    dim: the width of what was scored; for a probe the features that the classifier saw.
    settings: what else has to agree before two scores stand in one ranking: grid, classifier, tie rule, k.
    details: what explains the score; warnings: one line each. per_example: numbers of every example in the
    data's fixed order, for intervals and paired tests. model: facts such as parameters, step, max_length.
    comparability: two results of a task with different values of it do not belong in one ranking.
    """

    task: str
    family: str
    score: float
    metric: str
    scores: dict[str, float]
    interval: list[float]
    protocol: str
    encoder: str
    fingerprint: str
    side: str
    dtype: str
    dim: int
    seed: int
    examples: dict[str, int]
    data_sha256: str
    settings: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    per_example: dict[str, list[float]] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=_versions)
    comparability: str = ""

    def __post_init__(self) -> None:
        if not self.comparability:
            object.__setattr__(self, "comparability", self._comparability())

    def must_agree(self) -> dict[str, Any]:
        """All that has to be equal for two scores of a task to be comparable: everything but the encoder.

        Of the versions the first two numbers count. Symmetric tasks differ in the name of the side between
        kinds of encoder ("x", "plain") without being less comparable, so the side is recorded, not among these.
        """
        return {
            "task": self.task,
            "protocol": self.protocol,
            "metric": self.metric,
            "seed": self.seed,
            "dtype": self.dtype,
            "data_sha256": self.data_sha256,
            "settings": self.settings,
            "versions": {name: ".".join(v.split(".")[:2]) for name, v in self.versions.items()},
        }

    def _comparability(self) -> str:
        text = json.dumps(self.must_agree(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def path(self, folder: Path) -> Path:
        """Where it lives: results of several encoders can share a folder."""
        return result_path(folder, self.task, self.fingerprint, self.protocol, self.data_sha256)

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


def result_path(folder: Path, task: str, fingerprint: str, protocol: str, data_sha256: str) -> Path:
    """FOLDER/TASK.WEIGHTS.WHAT.json: twelve characters of the fingerprint, six of a hash over protocol and data."""
    weights = re.sub(r"[^A-Za-z0-9]", "-", fingerprint)[:12]
    what = hashlib.sha256(f"{protocol} {data_sha256}".encode()).hexdigest()[:6]
    return Path(folder) / f"{task}.{weights}.{what}.json"


def read_result(path: Path) -> Result:
    """Raises EvalError for a file that is no result of this version."""
    try:
        return Result(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise EvalError(
            f"{path}: not a readable result ({error}); delete it and run the task again"
        ) from error


def finished(folder: Path, task: str, fingerprint: str, protocol: str, data_sha256: str) -> Result | None:
    """The stored result of the very same encoder, protocol and data, comparable to a run of today, if there is one."""
    path = result_path(folder, task, fingerprint, protocol, data_sha256)
    if not path.exists():
        return None
    result = read_result(path)
    if (result.fingerprint, result.protocol, result.data_sha256) != (fingerprint, protocol, data_sha256):
        return None
    today = replace(result, versions=_versions(), comparability="")  # scikit-learn's defaults change
    return result if result.comparability == today.comparability else None


def table(results: list[Result]) -> str:
    """The results under each other, with the average of the scores where all are of one metric; warnings come last."""
    lines = [f"{'task':<16}{'score':>8}   {'95 % interval':<17}{'metric':<12}beside it"]
    for r in results:
        interval = f"{r.interval[0]:.2f} - {r.interval[1]:.2f}" if r.interval else ""
        beside = "  ".join(f"{k} {v:.2f}" for k, v in r.scores.items() if k != r.metric)
        lines.append(f"{r.task:<16}{r.score:>8.2f}   {interval:<17}{r.metric:<12}{beside}".rstrip())
    if len({r.metric for r in results}) == 1:
        lines.append(f"{'average':<16}{sum(r.score for r in results) / len(results):>8.2f}")
    return "\n".join(lines + [f"{r.task}: warning: {line}" for r in results for line in r.warnings])
