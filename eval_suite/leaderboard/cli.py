"""`cpt leaderboard`: results of any folders beside the published figures, as a page and a markdown table."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from eval_suite.errors import EvalError

LEAD = "Scores measured here beside the published ones, each with its interval or its source."


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `leaderboard`, which sets `func`, a function of the arguments that returns the exit status."""
    parser = subparsers.add_parser(
        "leaderboard",
        help="one page and one markdown table: our results beside the published ones",
        description="Reads results of `cpt eval run` and writes a page that needs no network, and a markdown table beside it.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders with results")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="PAGE.html", help="PAGE.md is written beside it"
    )
    parser.add_argument("--title", default="Text and code embeddings", help="default: %(default)s")
    parser.set_defaults(func=leaderboard_command)


def leaderboard_command(args: argparse.Namespace) -> int:
    """Everything is read and checked before the first file is written."""
    from eval_suite.leaderboard.markdown import markdown
    from eval_suite.leaderboard.page import page
    from eval_suite.leaderboard.published import boards, published_sets
    from eval_suite.leaderboard.view import views
    from eval_suite.stored import read_folders

    if args.out.suffix != ".html":
        raise EvalError(f"--out {args.out}: must end in .html")
    results = read_folders(args.folders)
    models = len({r.fingerprint for r in results})
    print(f"{len(results)} results of {models} encoders; testing differences", file=sys.stderr, flush=True)
    shown = views(results, boards(), published_sets())
    _write(args.out, page(args.title, LEAD, shown))
    _write(args.out.with_suffix(".md"), markdown(args.title, shown))
    print(f"{args.out} and {args.out.with_suffix('.md').name}: {len(results)} results of {models} encoders")
    return 0


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise EvalError(f"{path}: cannot be written ({error.strerror}); give another --out") from error
