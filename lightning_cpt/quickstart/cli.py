"""The arguments of `cpt quickstart`; the work is in run.py, imported when the command runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_commands(subparsers: Any) -> None:
    """Add ``quickstart``; it sets ``func``, a callable from the arguments to an exit status."""
    text = (
        "Mine the Python code of the installed packages, train a small encoder to find functions by their "
        "docstrings, measure it on packages it never saw, and write a report. A second call goes on where the "
        "first one stopped."
    )
    parser = subparsers.add_parser(
        "quickstart", help="pairs, training, scores and report in one go", description=text
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/quickstart"),
        metavar="DIR",
        help="gets pairs, tokenizer, run and report (default: %(default)s)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of SentEval data: adds its seven tasks to the report"
    )
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    from lightning_cpt.quickstart.run import quickstart

    return quickstart(args.out, args.data)
