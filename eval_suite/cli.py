"""The `cpt eval` commands: run tasks on an encoder, fetch the data they need."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eval_suite.errors import EvalError

if TYPE_CHECKING:
    from eval_suite.encoder import Encoder
    from eval_suite.results import Result

ALL_TASKS = "MR,CR,SUBJ,MPQA,SST2,TREC,MRPC"


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `eval run` and `eval fetch`; each leaf sets `func`, a function of the arguments that returns the exit status."""
    top = subparsers.add_parser("eval", help="score an encoder on public tasks")
    verbs = top.add_subparsers(metavar="VERB", required=True)
    run = verbs.add_parser("run", help="run tasks on an encoder and write one JSON per task")
    run.add_argument(
        "--encoder", required=True, metavar="SPEC", help="st:NAME_OR_FOLDER, ckpt:FILE or py:MODULE:FUNCTION"
    )
    run.add_argument("--tasks", default=ALL_TASKS, metavar="A,B", help="default: %(default)s")
    run.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="the folder that holds `downstream`"
    )
    run.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the JSON files go")
    run.add_argument(
        "--workers", type=int, metavar="N", help="processes for the probe; default: one per core"
    )
    run.set_defaults(func=run_command)
    fetch = verbs.add_parser("fetch", help="download the data of a suite and check it")
    fetch.add_argument("suite", help="senteval")
    fetch.add_argument("--to", required=True, type=Path, metavar="DIR", help="`downstream` is made in here")
    fetch.set_defaults(func=fetch_command)


def run_command(args: argparse.Namespace) -> int:
    """`cpt eval run`: tasks and data are checked before the encoder is loaded; finished tasks are not run again."""
    from eval_suite.encoder import load_encoder
    from eval_suite.results import check_writable, table
    from eval_suite.tasks.senteval import find_task

    if args.workers is not None and args.workers < 1:
        raise EvalError(f"--workers {args.workers}: must be 1 or more")
    names = list(dict.fromkeys(name.strip() for name in args.tasks.split(",") if name.strip()))
    if not names:
        raise EvalError(f"--tasks names no task; known: {ALL_TASKS}")
    hashes = {name: find_task(name).sha256(args.data) for name in names}
    encoder = load_encoder(args.encoder)
    check_writable(args.out)
    results = [_run_one(encoder, name, hashes[name], args) for name in names]
    print(f"{encoder.name}  {encoder.fingerprint[:12]}  {results[0].protocol.split('/')[0]}, accuracy in %")
    print(table(results))
    return 0


def _run_one(encoder: Encoder, name: str, sha256: str, args: argparse.Namespace) -> Result:
    from eval_suite.results import finished
    from eval_suite.run import KFOLD, run_task
    from eval_suite.tasks.senteval import find_task

    done = finished(args.out, name, encoder.fingerprint, find_task(name).protocol(KFOLD), sha256)
    if done:
        _say(f"{name}: {done.score:.2f}, already done: {done.path(args.out)}")
        return done
    _say(f"{name}: running")
    result = run_task(encoder, name, args.data, workers=args.workers, progress=True)
    path = result.write(args.out)
    _say(
        f"{name}: {result.score:.2f} ({result.seconds['encode']} s encoding, {result.seconds['probe']} s probing) -> {path}"
    )
    return result


def fetch_command(args: argparse.Namespace) -> int:
    """`cpt eval fetch`: download, verify, and say where the data is."""
    from eval_suite.data import fetch, known_files

    fetch(known_files(args.suite), args.to, log=_say)
    print(f"{args.suite}: complete in {args.to}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
