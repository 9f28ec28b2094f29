"""The arguments of `cpt prep ...`; the work is in commands.py, imported when a command runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_commands(subparsers: Any) -> None:
    """Add ``prep`` with its commands; each sets ``func``, a callable from the arguments to an exit status."""
    prep = subparsers.add_parser("prep", help="turn documents, source trees and tables into shards of pairs")
    commands = prep.add_subparsers(dest="prep_command", required=True, metavar="COMMAND")
    _add_code(commands)
    _add_text(commands)
    _add_pairs(commands)
    _add_inspection(commands)
    _add_tokenizer(commands)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: must be 1 or more")
    return number


def _leaf(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(func=_run(name))
    return parser


def _run(name: str) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        from data_prep import commands

        return int(getattr(commands, name)(args))

    return run


def _add_output(parser: argparse.ArgumentParser, group: str) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="gets train/, validation/ and test/"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the finished shards in DIR")
    names = {"nargs": "+", "default": [], "metavar": "NAME"}
    parser.add_argument("--holdout", **names, help=f"the test split: {group}s by name")  # type: ignore[arg-type]
    parser.add_argument("--validation", **names, help=f"the validation split: {group}s by name")  # type: ignore[arg-type]
    unless = f"part of the {group}s, by their names' hash, unless named (default: %(default)s)"
    parser.add_argument(
        "--test-fraction", type=float, default=0.05, metavar="F", help=f"test split: {unless}"
    )
    parser.add_argument(
        "--validation-fraction", type=float, default=0.05, metavar="F", help=f"validation: {unless}"
    )


def _add_code(commands: Any) -> None:
    parser = _leaf(commands, "code", "pairs of docstring and function out of Python source trees")
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="source trees, repositories, site-packages"
    )
    _add_output(parser, "package")
    parser.add_argument(
        "--min-doc-words",
        type=int,
        default=3,
        metavar="N",
        help="words a docstring must have (default: %(default)s)",
    )
    parser.add_argument(
        "--min-code-lines",
        type=int,
        default=3,
        metavar="N",
        help="lines a function must have (default: %(default)s)",
    )
    parser.add_argument(
        "--max-code-chars",
        type=int,
        default=20_000,
        metavar="N",
        help="longer functions are dropped (default: %(default)s)",
    )
    parser.add_argument(
        "--max-doc-chars",
        type=int,
        default=1000,
        metavar="N",
        help="longer docstrings are dropped (default: %(default)s)",
    )
    parser.add_argument(
        "--near-duplicate",
        type=float,
        default=0.7,
        metavar="J",
        help="drop a training function that shares this part (Jaccard) of its 5-token shingles with a held-out one (default: %(default)s)",
    )
    parser.add_argument(
        "--processes", type=_positive, default=2, metavar="N", help="worker processes (default: %(default)s)"
    )


def _add_text(commands: Any) -> None:
    parser = _leaf(
        commands, "text", "neighbouring pieces of text out of .txt, .md, .rst and .jsonl documents"
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="documents, or folders of them")
    _add_output(parser, "document")
    parser.add_argument(
        "--piece-chars",
        type=int,
        default=800,
        metavar="N",
        help="a piece has up to N characters (default: %(default)s)",
    )
    parser.add_argument(
        "--gap",
        type=int,
        default=0,
        metavar="N",
        help="pieces left out between x and y (default: %(default)s)",
    )
    parser.add_argument(
        "--text-field",
        default="text",
        metavar="NAME",
        help="where a .jsonl row has its text (default: %(default)s)",
    )


def _add_pairs(commands: Any) -> None:
    parser = _leaf(commands, "pairs", "your own pairs out of .jsonl, .csv or .parquet files")
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="rows with x and y; id, negatives, source and document where there are",
    )
    _add_output(parser, "document (or row id)")
    parser.add_argument(
        "--x-column", default="x", metavar="NAME", help="column of the query side (default: %(default)s)"
    )
    parser.add_argument(
        "--y-column", default="y", metavar="NAME", help="column of the document side (default: %(default)s)"
    )


def _add_inspection(commands: Any) -> None:
    folder: dict[str, Any] = {
        "type": Path,
        "metavar": "DIR",
        "help": "a folder of shards, or of train/, validation/, test/",
    }
    _leaf(commands, "stats", "counts, lengths and duplicates, from the index alone").add_argument(
        "folder", **folder
    )
    head = _leaf(commands, "head", "print the first pairs")
    head.add_argument("folder", **folder)
    head.add_argument(
        "-n", type=_positive, default=5, metavar="N", help="pairs per split (default: %(default)s)"
    )
    _leaf(commands, "verify", "check every byte; names what is damaged").add_argument("folder", **folder)
    _leaf(
        commands, "index", "make lost .idx files and manifests anew, or index WebDataset tars"
    ).add_argument("folder", **folder)


def _add_tokenizer(commands: Any) -> None:
    parser = _leaf(commands, "tokenizer", "train a byte-level BPE tokenizer on the training split")
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a folder of shards, or one with train/ inside"
    )
    parser.add_argument("--vocab-size", type=int, required=True, metavar="N", help="tokens in all")
    parser.add_argument(
        "--identifiers", action="store_true", help="take identifiers apart and lower-case (for code)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: DIR/tokenizer)")
