"""The `cpt search` commands: index texts, ask an index, find functions of a source tree by a sentence."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_cpt.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

QUICKSTART = Path("runs/quickstart/run/last.ckpt")
_SPEC = "ckpt:FILE, st:NAME_OR_FOLDER or py:MODULE:FUNCTION"
_SHOWN_FAULTS = 3


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `search index`, `search query` and `search code`; each leaf sets `func`."""
    top = subparsers.add_parser("search", help="find texts, or functions of a source tree, by a sentence")
    verbs = top.add_subparsers(metavar="VERB", required=True)
    _add_index(verbs)
    _add_query(verbs)
    _add_code(verbs)


def _add_index(verbs: argparse._SubParsersAction) -> None:
    index = verbs.add_parser("index", help="encode texts and write an index of them")
    index.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help=".txt (by line), .jsonl, .csv, .parquet; folders of these, or of shards",
    )
    index.add_argument("--encoder", required=True, metavar="SPEC", help=_SPEC)
    index.add_argument("--out", required=True, type=Path, metavar="DIR", help="the index's folder")
    index.add_argument(
        "--field", metavar="NAME", help="a table's column, or x or y of shards (default: text, y, x)"
    )
    index.add_argument(
        "--kind", default="exact", metavar="KIND", help="exact, ivf or hnsw (default: %(default)s)"
    )
    index.add_argument(
        "--queries",
        type=Path,
        metavar="FILE",
        help="measure the recall of ivf and hnsw with these, not with 500 of the texts",
    )
    index.set_defaults(func=index_command)


def _add_query(verbs: argparse._SubParsersAction) -> None:
    query = verbs.add_parser("query", help="find the texts of an index that are nearest to a sentence")
    query.add_argument("index", type=Path, metavar="DIR", help="a folder of `cpt search index`")
    query.add_argument(
        "questions", nargs="*", metavar="QUESTION", help="default: the lines of standard input"
    )
    query.add_argument(
        "--encoder", metavar="SPEC", help=f"where it lies now (default: where it was): {_SPEC}"
    )
    query.add_argument(
        "--effort", type=int, metavar="N", help="lists that ivf looks at, candidates that hnsw keeps"
    )
    _add_output(query)
    query.set_defaults(func=query_command)


def _add_code(verbs: argparse._SubParsersAction) -> None:
    code = verbs.add_parser(
        "code", help="find functions of a source tree; its index is kept and kept up to date"
    )
    code.add_argument("path", type=Path, metavar="PATH", help="a folder or file of source code")
    code.add_argument("questions", nargs="*", metavar="QUESTION", help="default: the lines of standard input")
    code.add_argument("--encoder", metavar="SPEC", help=f"{_SPEC} (default: ckpt:{QUICKSTART})")
    code.add_argument("--index", type=Path, metavar="DIR", help="the index's folder (default: in the cache)")
    code.add_argument("--tests", action="store_true", help="search the files of tests too")
    code.add_argument(
        "--no-docs", action="store_true", help="go by the code alone, not by its documentation too"
    )
    _add_output(code)
    code.set_defaults(func=code_command)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-k", type=int, default=5, metavar="N", help="how many to find (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON line for each question")


def index_command(args: argparse.Namespace) -> int:
    """`cpt search index`: print what was indexed, and the recall where the index is not exact."""
    from lightning_cpt.search import ann
    from lightning_cpt.search.build import build_index
    from lightning_cpt.search.texts import read_items

    ann.faiss()
    for path in [*args.paths, *([args.queries] if args.queries else [])]:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder")
    queries = [item.text for item in read_items([args.queries])] if args.queries else []
    items = read_items(args.paths, args.field)
    index = build_index(args.out, args.encoder, items, kind=args.kind, queries=queries, progress=True)
    size = sum(path.stat().st_size for path in index.folder.iterdir()) / 1e6
    print(f"{len(index):,} texts, {index.manifest['dim']} columns, {args.kind}, {size:,.1f} MB -> {args.out}")
    for row in index.manifest["recall"]:
        print(
            f"recall@{row['at']} against exact: {row['value']:.3f} with --effort {row['effort']} ({row['queries']} queries)"
        )
    return 0


def query_command(args: argparse.Namespace) -> int:
    """`cpt search query`: the nearest texts of each question."""
    from lightning_cpt.search.index import SearchIndex
    from lightning_cpt.search.show import as_json, show_texts

    _check_output(args)
    index, console = SearchIndex.open(args.index, args.encoder), _console()
    for question in _questions(args.questions):
        hits = index.query(question, args.k, args.effort)[0]
        print(as_json(question, hits)) if args.json else show_texts(console, question, hits)
    return 0


def code_command(args: argparse.Namespace) -> int:
    """`cpt search code`: bring the tree's index up to date, then find the functions nearest to each question."""
    from lightning_cpt.search import ann
    from lightning_cpt.search.show import as_json, show_functions

    _check_output(args)
    ann.faiss()
    if not args.path.exists():
        raise ConfigError(f"{args.path}: no such file or folder")
    spec = args.encoder or _quickstart()
    found = _index_tree(args, spec)
    console = _console()
    for question in _questions(args.questions):
        hits = found.query(question, args.k)
        if args.json:
            print(as_json(question, hits))
        else:
            show_functions(console, args.path, question, hits)
    return 0


def _index_tree(args: argparse.Namespace, spec: str) -> Any:
    from eval_suite.encoder import load_encoder
    from lightning_cpt.search.code import index_code

    began = time.monotonic()
    encoder = load_encoder(spec)
    found = index_code(
        args.path, encoder, folder=args.index, tests=args.tests, docs=not args.no_docs, progress=True
    )
    done = found.refreshed
    what = "up to date" if not done.encoded and not done.removed else _changes(done)
    _say(
        f"{args.path}: {len(found.index):,} functions in {done.files:,} files, {what}, {time.monotonic() - began:.1f} s"
    )
    for name, fault in list(done.faults.items())[:_SHOWN_FAULTS]:
        _say(f"not indexed: {name}: {fault}")
    if len(done.faults) > _SHOWN_FAULTS:
        _say(f"not indexed: {len(done.faults) - _SHOWN_FAULTS} more")
    return found


def _changes(done: Any) -> str:
    removed = f", {done.removed:,} removed" if done.removed else ""
    return f"{done.encoded:,} of them new or changed{removed}"


def _quickstart() -> str:
    if not QUICKSTART.is_file():
        raise ConfigError(
            f"--encoder: there is no {QUICKSTART} (`make quickstart` trains it in minutes); name another: {_SPEC}"
        )
    return f"ckpt:{QUICKSTART}"


def _check_output(args: argparse.Namespace) -> None:
    if args.k < 1:
        raise ConfigError(f"-k {args.k}: must be 1 or more")
    if getattr(args, "effort", None) is not None and args.effort < 1:
        raise ConfigError(f"--effort {args.effort}: must be 1 or more")
    if any(not question.strip() for question in args.questions):
        raise ConfigError("QUESTION: an empty question finds nothing; give a sentence")


def _questions(given: Sequence[str]) -> Iterator[str]:
    """Those of the command line, else the lines of standard input, with a prompt where somebody types them."""
    try:
        for line in given or (_typed() if sys.stdin.isatty() else sys.stdin):
            line.encode()  # bytes that are no UTF-8 come as halves of surrogate pairs from the command line
            if line.strip():
                yield line.strip()
    except UnicodeError:
        raise ConfigError("QUESTION: not UTF-8 text; convert it first") from None


def _typed() -> Iterator[str]:
    """What somebody types, until Ctrl-D."""
    import readline  # noqa: F401  # lines can be edited, and come back with the arrow keys

    while True:
        try:
            yield input("? ")
        except EOFError:
            print()
            return


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _say(line: str) -> None:
    print(f"cpt: {line}", file=sys.stderr, flush=True)
