"""`cpt prep`: data_prep's commands, and those that need eval_suite's texts or a recipe's tokenizer too."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from data_prep import cli
from data_prep.tokenize import add_command


def add_commands(subparsers: Any) -> None:
    """Add ``prep`` with its commands."""
    text = "take out pairs that hold texts of evaluation tasks"
    commands = cli.add_commands(subparsers)
    parser = commands.add_parser("decontaminate", help=text, description=text)
    cli.add_folders(parser)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="EVALDATA",
        help="a folder with evaluation data somewhere inside",
    )
    add_ngrams(parser)
    parser.add_argument(
        "--min-ratio",
        type=float,
        default=0.5,
        metavar="R",
        help="part of a text's n-grams that a pair must have, 8 at most (default: %(default)s)",
    )
    parser.set_defaults(func=decontaminate)
    add_command(commands, tokenize)
    cli.add_run(commands).set_defaults(func=run)


def add_ngrams(parser: argparse.ArgumentParser) -> None:
    """Add how evaluation texts are recognised."""
    parser.add_argument(
        "--ngram",
        type=int,
        default=13,
        metavar="N",
        help="words of an n-gram; a shorter text is looked for as a whole (default: %(default)s)",
    )
    parser.add_argument(
        "--max-documents",
        type=int,
        default=20,
        metavar="K",
        help="an n-gram that more pairs have is boilerplate and does not count (default: %(default)s)",
    )


def decontaminate(args: argparse.Namespace) -> int:
    """`cpt prep decontaminate`: hand eval_suite's texts to data_prep."""
    from data_prep import commands
    from eval_suite.texts import evaluation_texts

    return commands.decontaminate(args, evaluation_texts(args.data))


def tokenize(args: argparse.Namespace) -> int:
    """`cpt prep tokenize`: hand data_prep the tokenizer that a recipe or checkpoint stands for."""
    from data_prep.tokenize import tokenize
    from lightning_cpt.find_tokenizer import serialised_tokenizer

    return tokenize(args, serialised_tokenizer(args.tokenizer))


def run(args: argparse.Namespace) -> int:
    """`cpt prep run`: hand eval_suite's texts to a pipeline that takes them out."""
    from data_prep.pipeline import run
    from data_prep.pipeline.config import read_pipe

    pipe = read_pipe(args.pipe)
    texts = None
    if pipe.evaluation:
        from eval_suite.texts import evaluation_texts

        texts = evaluation_texts(Path(pipe.evaluation))
    return run.run(args, pipe, texts)
