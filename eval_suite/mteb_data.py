"""Gives mteb's own tasks their data from local files: SciFact from a BEIR folder, seven STS sets from SemEval's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from eval_suite.errors import EvalError
from eval_suite.mteb_run import Provide
from eval_suite.tasks import beir, sts, sts_original

_SEARCH = {"SciFact": "SciFact"}  # mteb's name -> the one in `tasks/beir`
_PAIRS = {name: name for name in ("STS12", "STS13", "STS14", "STS15", "STS16", "SICK-R")} | {
    "STSBenchmark": "STSB"  # mteb's name -> the one in `tasks/sts`
}


def provider(data: Path, say: Callable[[str], None]) -> Provide:
    """What `run_mteb` offers its tasks to. say: is told which files a task was given.

    The untouched, cased STS releases are what mteb scores; where only SentEval's edition lies there, that is taken,
    and said. A task's dataset revision becomes `local-` and a hash of the files, so that mteb's result tells.
    A task that is not among these is left to mteb.

    Raises:
        EvalError: `data` is no folder; from what is returned: a task's files are not there, or do not fit.
    """
    if not data.is_dir():
        raise EvalError(f"--data {data}: is no folder")

    def provide(task: Any) -> bool:
        name = task.metadata.name
        if name in _SEARCH:
            sha256 = _search(task, data)
            say(f"{name}: read from {data}")
        elif name in _PAIRS:
            sha256, edition, pairs = _pairs(task, data)
            say(f"{name}: {pairs:,} pairs read from {data}, {edition}")
        else:
            return False
        task.metadata = task.metadata.model_copy(
            update={"dataset": {**task.metadata.dataset, "revision": f"local-{sha256[:16]}"}}
        )
        task.data_loaded = True
        return True

    return provide


def _search(task: Any, data: Path) -> str:
    from datasets import Dataset

    source = beir.TASKS[_SEARCH[task.metadata.name]]
    sha256, found = source.sha256(data), source.read(data)
    ids, texts = zip(*found.documents(), strict=True)
    asked = {query: found.queries[query] for query in found.qrels if query in found.queries}
    task.dataset = {
        "default": {
            source.split: {
                "corpus": Dataset.from_dict({"id": ids, "title": [""] * len(ids), "text": texts}),
                "queries": Dataset.from_dict({"id": list(asked), "text": list(asked.values())}),
                "relevant_docs": {query: found.qrels[query] for query in asked},
                "top_ranked": None,
            }
        }
    }
    return sha256


def _pairs(task: Any, data: Path) -> tuple[str, str, int]:
    """The files' hash, their edition in words, and how many pairs they hold."""
    from datasets import Dataset, DatasetDict

    name = _PAIRS[task.metadata.name]
    source: Any = sts_original.TASKS[f"{name}-original"]
    edition = "the untouched releases"
    try:
        source.paths(data)
    except EvalError as missing:
        source, edition = (
            sts.TASKS[name],
            "SentEval's edition: not the texts that mteb's published scores are of",
        )
        try:
            source.paths(data)
        except EvalError as also:
            raise EvalError(
                f"mteb task {task.metadata.name}: neither the releases ({missing}) nor SentEval's edition ({also})"
            ) from also
    pairs = [pair for each in source.read(data).values() for pair in each]
    first, second, gold = zip(*pairs, strict=True)
    rows = Dataset.from_dict({"sentence1": first, "sentence2": second, "score": gold})
    task.dataset = DatasetDict(test=rows)
    return source.sha256(data), edition, len(pairs)
