"""`cpt eval compare`: two encoders, task by task, from the results of `cpt eval run`."""

from __future__ import annotations

import argparse
from pathlib import Path

from eval_suite.errors import EvalError


def add_compare(verbs: argparse._SubParsersAction) -> None:
    """Add `compare` to the verbs of `cpt eval`."""
    parser = verbs.add_parser(
        "compare",
        help="two encoders task by task: win, tie or loss, with intervals and corrected p",
        description="Reads results of `cpt eval run` and tests the difference in each task on the same examples "
        "(McNemar's exact test for accuracies, paired randomisation for means, paired bootstrap for correlations), "
        "corrected by Holm for the number of tasks. Results that are not comparable are not compared.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders with results")
    parser.add_argument(
        "--encoders",
        nargs=2,
        metavar=("A", "B"),
        help="names or beginnings of fingerprints; not needed for two folders with one encoder each",
    )
    parser.add_argument("--level", type=float, default=0.95, metavar="P", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.set_defaults(func=compare_command)


def compare_command(args: argparse.Namespace) -> int:
    """Print the table or the JSON; the exit status is 0 whoever wins."""
    from eval_suite.compare import compare, pick, table
    from eval_suite.stored import read_folders

    if not 0.5 <= args.level < 1:
        raise EvalError(f"--level {args.level}: must be at least 0.5 and under 1")
    read_folders(args.folders)  # refuses two different results of one encoder, wherever they lie
    a, b = pick([read_folders([folder]) for folder in args.folders], args.encoders)
    found = compare(a, b, level=args.level)
    print(found.json() if args.json else table(found))
    return 0
