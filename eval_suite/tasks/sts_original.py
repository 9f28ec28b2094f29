"""Sentence similarity on the untouched, cased releases, with the pairs that mteb scores; SentEval's edition is in `sts`."""

from __future__ import annotations

from eval_suite.task import Task
from eval_suite.tasks.sts import YEARS, benchmark_pairs, one_file_task, sick_pairs, year_task

_FOLDERS = (".", "senteval_originals", "raw/senteval_originals")
_PATTERN = "sts/STS{year}-en-test/*/STS*.{kind}.{name}.txt"
_SICK = tuple(
    f"sick/SICK_{part}.txt" for part in ("train", "trial", "test_annotated")
)  # mteb scores all three

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *(year_task(year, "-original", _PATTERN, "original", _FOLDERS) for year in YEARS),
        one_file_task(
            "STSB-original", "original", ("sts/stsbenchmark/sts-test.csv",), benchmark_pairs, _FOLDERS
        ),
        one_file_task("SICK-R-original", "original-all-parts", _SICK, sick_pairs, _FOLDERS),
    )
}
