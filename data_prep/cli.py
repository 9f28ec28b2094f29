"""The arguments of `cpt prep ...`; the work is in commands.py, imported when a command runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_commands(subparsers: Any) -> Any:
    """Add ``prep`` with its commands; each sets ``func``, a callable from the arguments to an exit status.

    Returns the commands' own subparsers, for a command that needs another package too.
    """
    prep = subparsers.add_parser("prep", help="turn documents, source trees and tables into shards of pairs")
    commands = prep.add_subparsers(dest="prep_command", required=True, metavar="COMMAND")
    _add_code(commands)
    _add_text(commands)
    _add_pairs(commands)
    _add_nli(commands)
    _add_triples(commands)
    _add_clean(commands)
    _add_inspection(commands)
    _add_tokenizer(commands)
    return commands


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: must be 1 or more")
    return number


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _leaf(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(func=_run(name))
    return parser


def _run(name: str) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        from data_prep import commands
        from data_prep.errors import DataError

        try:
            return int(getattr(commands, name)(args))
        except BrokenPipeError:  # `cpt ... | head`
            raise
        except OSError as error:
            where = (
                error.filename if error.filename is not None else getattr(args, "out", None) or args.folder
            )
            raise DataError(
                f"{where}: {error.strerror or error}; name another path, or make room there"
            ) from None

    return run


def _add_output(parser: argparse.ArgumentParser, group: str, drawn: str | None = None) -> None:
    """``group`` is what --holdout names; ``drawn``, where that is another thing, what the fractions draw from."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="gets train/, validation/ and test/"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the finished shards in DIR")
    names = {"nargs": "+", "default": [], "metavar": "NAME"}
    parser.add_argument("--holdout", **names, help=f"the test split: {group}s by name")  # type: ignore[arg-type]
    parser.add_argument("--validation", **names, help=f"the validation split: {group}s by name")  # type: ignore[arg-type]
    drawn = drawn or f"{group}s, by their names' hash"
    unless = f"part of the {drawn}, unless named (default: %(default)s)"
    parser.add_argument(
        "--test-fraction", type=float, default=0.05, metavar="F", help=f"test split: {unless}"
    )
    parser.add_argument(
        "--validation-fraction", type=float, default=0.05, metavar="F", help=f"validation: {unless}"
    )


def _add_code(commands: Any) -> None:
    parser = _leaf(
        commands, "code", "pairs of docstring and function out of source trees and git repositories"
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="source trees, repositories (bare ones and REPOSITORY@REVISION are read from git's objects), "
        "site-packages, CodeSearchNet's .jsonl.gz files",
    )
    parser.add_argument(
        "--languages",
        type=_names,
        metavar="A,B",
        help="of python, java, javascript, php, ruby, go (default: all whose grammar is installed)",
    )
    _add_output(parser, "package")
    _add_code_limits(parser)
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


def _add_code_limits(parser: argparse.ArgumentParser) -> None:
    """What a function, its docstring and its file may be."""
    limits: list[tuple[str, Any, float, str]] = [
        ("--min-doc-words", int, 3, "words a docstring must have"),
        ("--min-code-lines", int, 3, "lines a function must have"),
        ("--max-code-chars", int, 20_000, "longer functions are dropped"),
        ("--max-doc-chars", int, 1000, "longer docstrings are dropped"),
        ("--max-file-bytes", _positive, 1_000_000, "larger files are lost, and named"),
        ("--max-parse-seconds", float, 10.0, "so are files that take more processor time to parse"),
    ]
    for name, kind, default, text in limits:
        parser.add_argument(
            name,
            type=kind,
            default=default,
            metavar="S" if kind is float else "N",
            help=f"{text} (default: %(default)s)",
        )


def _add_text(commands: Any) -> None:
    parser = _leaf(
        commands,
        "text",
        "neighbouring pieces of text out of .txt, .md, .rst, .jsonl (each also .gz or .zst), .parquet, .warc and .wet",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="documents, or folders of them")
    _add_output(parser, "document")
    _add_reading(parser)
    _add_pieces(parser)
    parser.add_argument(
        "--processes",
        type=_positive,
        default=2,
        metavar="N",
        help="worker processes, each with a file at a time, whose pairs wait in $TMPDIR; the result is the same for any N (default: %(default)s)",
    )


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--text-field",
        default="text",
        metavar="NAME",
        help="where a row of .jsonl or .parquet has its text (default: %(default)s)",
    )
    parser.add_argument(
        "--on-bad-row",
        choices=("stop", "skip"),
        default="stop",
        help="a row without text, or that is no JSON: stop there, or count it and name the first ones (default: %(default)s)",
    )


def _add_pieces(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--piece-chars",
        type=int,
        default=800,
        metavar="N",
        help="a piece has up to N characters (default: %(default)s)",
    )
    parser.add_argument(
        "--min-piece-chars",
        type=int,
        default=100,
        metavar="N",
        help="a shorter piece, at a document's end, is dropped (default: %(default)s)",
    )
    parser.add_argument(
        "--gap",
        type=int,
        default=0,
        metavar="N",
        help="pieces left out between x and y (default: %(default)s)",
    )
    parser.add_argument(
        "--max-gap",
        type=int,
        metavar="N",
        help="draw the gap between --gap and N, by the hash of document and place (default: always --gap)",
    )
    parser.add_argument(
        "--overlapping",
        action="store_true",
        help="every piece is the x of a pair and the y of another (default: each is used once)",
    )
    parser.add_argument(
        "--pairs-per-document",
        type=_positive,
        metavar="N",
        help="at most N pairs of a document, evenly spread over it (default: all)",
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


def _add_nli(commands: Any) -> None:
    parser = _leaf(
        commands,
        "nli",
        "premise -> entailed hypothesis, its contradictions as negatives, out of SNLI, MNLI or SentEval's SNLI",
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help=".jsonl files, s1.NAME files, or folders of them"
    )
    _add_output(parser, "file", "premises, by their hash")
    parser.add_argument(
        "--keep-without-negatives",
        action="store_true",
        help="keep premises that nothing contradicts; their pairs have no negatives",
    )


def _add_triples(commands: Any) -> None:
    parser = _leaf(
        commands, "triples", "query -> positive with hard negatives, out of MS MARCO's triples or jsonl"
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="FILE",
        help=".tsv of query, positive, negative (texts, or ids), or .jsonl with these keys",
    )
    _add_output(parser, "file", "queries, by their hash")
    parser.add_argument("--queries", type=Path, metavar="FILE", help="id and text of the queries, for ids")
    parser.add_argument(
        "--collection", type=Path, metavar="FILE", help="id and text of the passages, for ids"
    )
    parser.add_argument(
        "--max-negatives",
        type=_positive,
        default=7,
        metavar="N",
        help="negatives kept of each query and positive, the first ones (default: %(default)s)",
    )


def _add_clean(commands: Any) -> None:
    parser = _leaf(
        commands, "clean", "take out what is of no use, and duplicates and near-duplicates of x and of y"
    )
    add_folders(parser)
    parser.add_argument(
        "--text", action="store_true", help="the quality rules for text, on both sides (not for code)"
    )
    parser.add_argument(
        "--english", action="store_true", help="with --text: drop what has no English function words"
    )
    parser.add_argument(
        "--min-words",
        type=_positive,
        metavar="N",
        help="with --text: words a text must have (default: 5)",
    )
    parser.add_argument(
        "--near-duplicate",
        type=float,
        default=0.8,
        metavar="J",
        help="texts that share this part (Jaccard) of their 5-token shingles are one; 0: exact duplicates only (default: %(default)s)",
    )
    parser.add_argument(
        "--max-group",
        type=_positive,
        default=1000,
        metavar="N",
        help="a group of more near-duplicates (or of over 1 %% of the pairs) is reported and kept (default: %(default)s)",
    )
    parser.add_argument(
        "--drop-large-groups", action="store_true", help="keep one of such a group as of any other"
    )


def add_folders(parser: argparse.ArgumentParser) -> None:
    """The folder that is read and the one that is written."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="splits made by `cpt prep`")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR2",
        help="gets the splits, history.json and the data card",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the finished shards in DIR2")


def add_run(commands: Any) -> argparse.ArgumentParser:
    """``run``; whoever adds it says what does it, as it may want another package's texts."""
    text = "a whole pipeline described in YAML: mine, clean, decontaminate, split, shards; goes on where it stopped"
    parser: argparse.ArgumentParser = commands.add_parser("run", help=text, description=text)
    parser.add_argument("pipe", type=Path, metavar="PIPE.yaml", help="what is done; see docs/pipelines.md")
    parser.add_argument(
        "--executor",
        choices=("local", "ray", "slurm"),
        default="local",
        help="processes of this machine, a Ray cluster (RAY_ADDRESS, else one is begun here), or job files for SLURM (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=_positive, default=2, metavar="N", help="tasks at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--tasks",
        type=_positive,
        metavar="N",
        help="into how many the work is cut; the shards are the same for any (default: one for 16 MB of input, 256 at most)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="begin anew, and replace finished shards at the end"
    )
    return parser


def _add_inspection(commands: Any) -> None:
    folder: dict[str, Any] = {
        "type": _place,
        "metavar": "DIR",
        "help": "a folder of shards, or of train/, validation/, test/: a path, or an address (https://, s3://, ...)",
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
    _add_quarantine(commands)
    _leaf(
        commands, "card", "write the data card (card.md, card.html) of a folder of splits anew"
    ).add_argument("folder", type=Path, metavar="DIR", help="a folder with train/ inside")


def _add_quarantine(commands: Any) -> None:
    parser = _leaf(commands, "quarantine", "leave damaged chunks out of a folder, by a mark in its manifest")
    parser.add_argument(
        "folder", type=_place, metavar="DIR", help="the folder with the manifest: one split, not the set"
    )
    parser.add_argument("shard", metavar="SHARD", help="the tar's file name")
    parser.add_argument(
        "chunks", nargs="+", type=int, metavar="CHUNK", help="the chunk's number in the shard, from 0"
    )
    parser.add_argument(
        "--reason", default="damaged", metavar="TEXT", help="kept in the manifest (default: %(default)s)"
    )
    parser.add_argument("--undo", action="store_true", help="take the chunks back in")


def _place(text: str) -> Path | str:
    """A path, or an address left as it is: a path has no double slash."""
    return text if "://" in text else Path(text)


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
