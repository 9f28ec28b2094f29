"""`cpt eval`: eval_suite's commands, and the one that needs data_prep's shards too."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.files import write_atomic
from eval_suite import cli
from eval_suite.errors import EvalError
from eval_suite.results import Result
from lightning_cpt.prep import add_ngrams


def add_commands(subparsers: Any) -> None:
    """Add ``eval`` with its commands."""
    text = "which test examples the training pairs hold, and the scores without them"
    parser = cli.add_commands(subparsers).add_parser("contamination", help=text, description=text)
    parser.add_argument(
        "--shards", type=Path, required=True, metavar="DIR", help="the shards that were trained on"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="the folder that holds the tasks' files"
    )
    parser.add_argument(
        "--tasks", default=cli.DEFAULT_TASKS, metavar="A,B", help="tasks and groups; default: %(default)s"
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="results of `cpt eval run`, to be given without these examples",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it, the examples' places too")
    add_ngrams(parser)
    parser.set_defaults(func=contamination)


def contamination(args: argparse.Namespace) -> int:
    """`cpt eval contamination`: hand eval_suite's examples to data_prep, and the marks back."""
    from data_prep.decontaminate import table as ngram_table
    from data_prep.evaluation import NgramRules
    from eval_suite.stored import read_folders
    from lightning_cpt.contamination import overlap, rescore, table, to_json, touched

    tasks = cli.chosen_tasks(args.tasks)
    rules = NgramRules(ngram=args.ngram, max_documents=args.max_documents)
    examples = {task.name: task.examples(args.data) for task in tasks}
    results = [r for r in read_folders([args.results]) if r.task in examples] if args.results else []
    _check_data(results, {task.name: task.sha256(args.data) for task in tasks} if results else {})
    found = overlap(args.shards, examples, rules)
    marks = {name: touched(found, name, rows) for name, rows in examples.items()}
    rescored = [row for result in results if (row := rescore(result, marks[result.task])) is not None]
    print(table(marks, rescored))
    print(ngram_table(found.to_dict()))
    if args.json:
        _write(args.json, to_json(found, marks, rescored))
    return 0


def _check_data(results: Sequence[Result], sha256: Mapping[str, str]) -> None:
    """The places of the touched examples mean nothing in results of other files, however many examples those hold."""
    for result in results:
        if result.data_sha256 != sha256[result.task]:
            raise EvalError(
                f"result {result.task} of {result.encoder}: is of other data files than --data holds; run the task "
                "again on these data"
            )


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise EvalError(f"--json {path}: cannot be written ({error.strerror})") from error
    print(path, file=sys.stderr)
