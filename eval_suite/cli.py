"""The `cpt eval` commands: run tasks on an encoder, fetch the data they need."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eval_suite.compare_cli import add_compare
from eval_suite.errors import EvalError

if TYPE_CHECKING:
    from eval_suite.encoder import Encoder
    from eval_suite.results import Result
    from eval_suite.task import Options, Task

DEFAULT_TASKS = "senteval"


def add_commands(subparsers: argparse._SubParsersAction) -> argparse._SubParsersAction:
    """Add the verbs of `eval`, and return where more can be added.

    Each leaf sets `func`, a function of the arguments that returns the exit status.
    """
    top = subparsers.add_parser("eval", help="score an encoder on public tasks")
    verbs = top.add_subparsers(metavar="VERB", required=True)
    _add_run(verbs)
    listing = verbs.add_parser("list", help="name the tasks and their groups")
    listing.set_defaults(func=list_command)
    add_compare(verbs)
    _add_fetch(verbs)
    _add_mteb(verbs)
    return verbs


def _add_run(verbs: argparse._SubParsersAction) -> None:
    run = verbs.add_parser("run", help="run tasks on an encoder and write one JSON per task")
    run.add_argument(
        "--encoder",
        required=True,
        metavar="SPEC",
        help="st:NAME_OR_FOLDER (st-fast: quicker), ckpt:FILE, py:MODULE:FUNCTION, random:DIM, or bm25 for search",
    )
    run.add_argument(
        "--tasks",
        default=DEFAULT_TASKS,
        metavar="A,B",
        help="tasks and groups of tasks; default: %(default)s, its seven probes; `cpt eval list` names all",
    )
    run.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="the folder that holds the tasks' files"
    )
    run.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the JSON files go")
    run.add_argument(
        "--workers", type=int, metavar="N", help="processes for the probe; default: one per core"
    )
    run.add_argument(
        "--cache", type=Path, metavar="DIR", help="where vectors are kept; default: `.vectors` in --out"
    )
    run.add_argument("--no-cache", action="store_true", help="keep no vectors")
    _add_protocol(run)
    _add_search(run)
    run.set_defaults(func=run_command)


def _add_protocol(run: argparse.ArgumentParser) -> None:
    """What changes a probe's digits, and with them its protocol."""
    run.add_argument(
        "--kfold", type=int, default=10, metavar="K", help="folds of the probe; default: %(default)s"
    )
    run.add_argument(
        "--probe",
        default="exact",
        choices=("exact", "fast"),
        help="exact: SentEval's digits; fast: another protocol, solved to the optimum",
    )
    run.add_argument(
        "--features",
        default="raw",
        choices=("raw", "unit", "standard"),
        help="what the probe sees; raw is SentEval's",
    )


def _add_search(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep whole blocks of a corpus here in place of --cache: quicker for millions of documents",
    )
    run.add_argument(
        "--index",
        default="exact",
        metavar="NAME",
        help="search: exact (default), or a FAISS index such as HNSW32",
    )
    run.add_argument(
        "--trec", type=Path, metavar="DIR", help="search: write runs and judgements for trec_eval here"
    )


def _add_fetch(verbs: argparse._SubParsersAction) -> None:
    fetch = verbs.add_parser("fetch", help="download the data of a suite and check it")
    fetch.add_argument("suite", help="senteval, sst2 (its whole sentences) or sts")
    fetch.add_argument("--to", required=True, type=Path, metavar="DIR", help="`downstream` is made in here")
    fetch.set_defaults(func=fetch_command)


def _add_mteb(verbs: argparse._SubParsersAction) -> None:
    mteb = verbs.add_parser("mteb", help="run mteb's own tasks, results in mteb's layout")
    mteb.add_argument("--encoder", required=True, metavar="SPEC", help="as for `cpt eval run`")
    mteb.add_argument("--tasks", required=True, metavar="A,B", help="mteb's names, such as STS12,SciFact")
    mteb.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="mteb's cache folder; what is there is not run again",
    )
    mteb.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="read SciFact (a BEIR folder), STS12-16, STSBenchmark and SICK-R from here; other tasks are fetched "
        "from the hub",
    )
    mteb.set_defaults(func=mteb_command)


def run_command(args: argparse.Namespace) -> int:
    """`cpt eval run`: tasks and data are checked before the encoder is loaded; finished tasks are not run again."""
    from eval_suite.cache import CachedEncoder
    from eval_suite.encoder import load_encoder
    from eval_suite.results import check_writable, table
    from eval_suite.task import Options

    if args.workers is not None and args.workers < 1:
        raise EvalError(f"--workers {args.workers}: must be 1 or more")
    tasks = chosen_tasks(args.tasks)
    options = Options(
        workers=args.workers,
        progress=True,
        kfold=args.kfold,
        probe=args.probe,
        features=args.features,
        work=args.work,
        index=args.index,
        trec=args.trec,
    )
    for task in tasks:
        task.protocol(options)  # refuses options that are none, before hours of other tasks
    hashes = {task.name: task.sha256(args.data) for task in tasks}
    encoder = load_encoder(args.encoder)
    check_writable(args.out)
    if not args.no_cache and not args.work:
        encoder = CachedEncoder(encoder, args.cache or args.out / ".vectors")
    results = [_run_one(encoder, task, hashes[task.name], options, args) for task in tasks]
    print(f"{encoder.name}  {encoder.fingerprint[:12]}, scores in %")
    print(table(results))
    return 0


def chosen_tasks(names: str) -> list[Task]:
    """The tasks of a list such as "CR,sts". Raises EvalError for an unknown or no name."""
    from eval_suite.registry import find_tasks

    return find_tasks(_names(names))


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise EvalError("--tasks names no task; `cpt eval list` names all")
    return names


def _run_one(encoder: Encoder, task: Task, sha256: str, options: Options, args: argparse.Namespace) -> Result:
    from eval_suite.results import finished
    from eval_suite.rng import rng_kept

    done = finished(args.out, task.name, encoder.fingerprint, task.protocol(options), sha256)
    if done and not _lacks_run(args.trec, task, done):
        _say(f"{task.name}: {done.score:.2f}, already done: {done.path(args.out)}")
        return done
    _say(f"{task.name}: running")
    with rng_kept():
        result = task.run(encoder, args.data, options)
    path = result.write(args.out)
    spent = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in result.seconds.items())
    _say(f"{task.name}: {result.score:.2f} ({spent}) -> {path}")
    return result


def _lacks_run(trec: Path | None, task: Task, done: Result) -> bool:
    """Whether a run for trec_eval is asked for and not there: a finished result holds none to write."""
    from eval_suite.trec_files import stem

    if trec is None or task.family != "search":
        return False
    name = stem(done.task, done.fingerprint, done.protocol, done.data_sha256)
    return not (trec / f"{name}.run").is_file()


def mteb_command(args: argparse.Namespace) -> int:
    """`cpt eval mteb`: print the main scores."""
    from eval_suite.encoder import load_encoder
    from eval_suite.mteb_data import provider
    from eval_suite.mteb_run import run_mteb
    from eval_suite.results import check_writable

    names = _names(args.tasks)
    how = {"provide": provider(args.data, _say)} if args.data else {}
    check_writable(args.out)
    scores = run_mteb(load_encoder(args.encoder), names, args.out, **how)
    for name, score in scores.items():
        print(f"{name:<24}{100 * score:>8.2f}")
    return 0


def list_command(args: argparse.Namespace) -> int:
    """`cpt eval list`: one line a group."""
    from eval_suite.registry import groups

    for group, names in groups().items():
        print(f"{group:<12} {'every task' if group == 'all' else ', '.join(names)}")
    return 0


def fetch_command(args: argparse.Namespace) -> int:
    """`cpt eval fetch`: download, verify, and say where the data is."""
    from eval_suite.data import fetch, known_files

    fetch(known_files(args.suite), args.to, log=_say)
    print(f"{args.suite}: complete in {args.to}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
