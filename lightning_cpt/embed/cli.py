"""The arguments of `cpt embed`; the work is in run.py, imported when the command runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

KINDS = ("txt", "jsonl", "csv", "parquet", "shards")
FORMATS = ("npy", "parquet", "safetensors")
DTYPES = ("float32", "float16", "int8")
PART_ROWS = 4096


def add_commands(subparsers: Any) -> None:
    """Add ``embed``; it sets ``func``, a callable from the arguments to an exit status."""
    text = (
        "Embed the texts of files, shards or standard input, one row each, in their order. What is done is kept in "
        "parts: the same command goes on after any stop. Several GPUs and machines share the parts as in `cpt fit` "
        "(--devices, --nodes; the machines must share the folder of --out)."
    )
    parser = subparsers.add_parser("embed", help="turn texts into vectors", description=text)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="txt (a text a line), jsonl, csv (also .gz, .zst) or parquet files, a folder of them, a folder of shards, "
        "or - for standard input",
    )
    parser.add_argument(
        "--encoder",
        required=True,
        metavar="CKPT|SPEC",
        help="a checkpoint, or st:NAME_OR_FOLDER, py:MODULE:FUNCTION",
    )
    parser.add_argument(
        "--side",
        required=True,
        choices=("x", "y"),
        help="x for queries and docstrings, y for documents and code",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="FILE_OR_DIR",
        help="FILE.npy, FILE.parquet or FILE.safetensors, or a folder for embeddings.npy; ids lie beside it (in parquet: "
        "inside)",
    )
    _add_form(parser)
    _add_machine(parser)
    parser.set_defaults(func=_run)


def _add_form(parser: argparse.ArgumentParser) -> None:
    """What is read and written."""
    parser.add_argument("--format", choices=FORMATS, help="of the file in a folder; default: npy")
    parser.add_argument(
        "--kind", choices=KINDS, help="of all inputs; default: by suffix, txt for standard input"
    )
    parser.add_argument(
        "--text-field", metavar="NAME", help="where a row has its text; default: text, else the side's name"
    )
    parser.add_argument(
        "--id-field", metavar="NAME", help="where a row has its id; default: id, else _id, else FILE:ROW"
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="of the numbers on disk; int8 has a scale a row. What the ranking loses is measured (default: %(default)s)",
    )


def _add_machine(parser: argparse.ArgumentParser) -> None:
    """Where and how it is computed."""
    parser.add_argument(
        "--precision",
        choices=("32-true", "bf16-mixed", "16-mixed"),
        default="32-true",
        help="in which the encoder computes (default: %(default)s)",
    )
    parser.add_argument("--accelerator", default="auto", help="auto, cpu or gpu (default: %(default)s)")
    parser.add_argument(
        "--devices", default="auto", metavar="N", help="per machine (default: all GPUs; 1 on CPU)"
    )
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (default: %(default)s)")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes per device that tokenise; default: 2 on GPU, 0 on CPU",
    )
    parser.add_argument(
        "--part-rows",
        type=int,
        default=PART_ROWS,
        metavar="N",
        help="rows sorted by length together and kept together: what a kill can cost a device (default: %(default)s)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what another embedding left at --out"
    )


def _run(args: argparse.Namespace) -> int:
    from lightning_cpt.embed.run import Settings, embed

    options = {name: value for name, value in vars(args).items() if name in Settings.__dataclass_fields__}
    return embed(Settings(**options))
