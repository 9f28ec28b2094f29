"""The arguments of `cpt export`; the work is in run.py, imported when the command runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

FORMATS = ("sentence-transformers", "transformers", "onnx")


def add_commands(subparsers: Any) -> None:
    """Add ``export``; it sets ``func``, a callable from the arguments to an exit status."""
    text = (
        "Write a checkpoint's encoder as a folder for the tools you have: no code of this package and no "
        "trust_remote_code. The folder is loaded back in a fresh process by the code of its own card and compared "
        "with the checkpoint on both sides; where a number differs by more than 1e-5, nothing is left."
    )
    parser = subparsers.add_parser("export", help="write a checkpoint for other tools", description=text)
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint of `cpt fit`")
    parser.add_argument("--to", required=True, choices=FORMATS, help="which tool it is for")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace DIR, once the new folder is whole")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="results of `cpt eval run`: those of this encoder go into the card, with their intervals",
    )
    parser.add_argument(
        "--data-card",
        type=Path,
        metavar="FILE",
        help="card.md of the training data; default: the one in the recipe's data folder, if it is there",
    )
    parser.add_argument(
        "--texts",
        type=Path,
        metavar="FILE",
        help="a text a line: compared beside the built-in ones and pairs of the recipe's data folder",
    )
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    from lightning_cpt.export.run import export

    export(
        args.checkpoint,
        args.to,
        args.out,
        overwrite=args.overwrite,
        results=args.results,
        data_card=args.data_card,
        texts=args.texts,
    )
    return 0
