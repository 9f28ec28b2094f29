"""What an evaluation task is: a name, a protocol, data with a hash, and a run that ends in a Result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eval_suite.encoder import Encoder
    from eval_suite.results import Result

SEED = 1111  # SentEval's


@dataclass(frozen=True)
class Options:
    """How tasks are run. Each family reads what concerns it, and records what moves its digits.

    workers: processes, one per core where None; never moves a digit. kfold, probe ("exact" or "fast") and
    features ("raw", "unit" or "standard"): the linear probe's. Search's: work, a folder where blocks of vectors are
    kept, so that a stopped search goes on; index, "exact" or a FAISS factory string such as "HNSW32"; trec, a
    folder for the runs and judgements in trec_eval's form.
    """

    workers: int | None = None
    seed: int = SEED
    progress: bool = False
    kfold: int = 10  # the setting of the published tables; SentEval's own default is 5
    probe: str = "exact"
    features: str = "raw"
    work: Path | None = None
    index: str = "exact"
    trec: Path | None = None


class Task(Protocol):
    """One evaluation. family: probe, similarity, zero-shot, knn, search or code-search."""

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str: ...

    def protocol(self, options: Options) -> str:
        """The id of what is measured: equal ids and equal data give comparable scores."""
        ...

    def sha256(self, data: Path) -> str:
        """One hash over the task's files under `data`. Raises EvalError for a missing or a corrupt one."""
        ...

    def examples(self, data: Path) -> list[tuple[str, ...]]:
        """The texts of each example that is scored, in the order of `Result.per_example`: one, a pair, or a query."""
        ...

    def run(self, encoder: Encoder, data: Path, options: Options) -> Result:
        """Score `encoder`. Raises EvalError for data that does not fit, or vectors of a wrong shape or with NaN."""
        ...
