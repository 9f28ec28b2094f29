"""`cpt prep tokenize`: shards of texts to shards of token ids, chunk by chunk, all else as it was."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from data_prep.errors import DataError
from data_prep.history import make_step, read_history, write_history
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.shards import SPLITS, PairShards
from data_prep.shards.read import is_there
from data_prep.shards.tokens import DTYPES, TokenChunk, TokenHead, texts_of
from data_prep.shards.write import Chunk, Compressor, Tokens, check_target, stream_chunks, write_chunks
from data_prep.storage import is_address, storage_of
from data_prep.token_ids import rows_needed, text_ids, text_tokenizer, tokenizer_hash

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SMALL = 1 << 16  # ids that two bytes can hold


def add_command(commands: Any, func: Callable[[argparse.Namespace], int]) -> None:
    """Add ``tokenize`` to the commands of `cpt prep`.

    Args:
        func: Finds the tokenizer and calls :func:`tokenize`.
    """
    text = "turn shards of texts into shards of token ids, so that training need not tokenise"
    parser = commands.add_parser("tokenize", help=text, description=text)
    parser.add_argument(
        "folder",
        type=str,
        metavar="SRC",
        help="a folder of shards, or of train/, validation/, test/: a path, or an address (https://, s3://, ...)",
    )
    parser.add_argument(
        "--tokenizer",
        required=True,
        metavar="T",
        help="a folder or file of a tokenizer, a hub name, or the recipe or checkpoint whose tokenizer it is",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="gets the same splits, of token ids"
    )
    parser.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="keep the first N ids of a text (default: all; training cuts at its own max_length)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the finished shards in DIR")
    parser.set_defaults(func=func)


def tokenize(args: argparse.Namespace, serialised: str) -> int:
    """Tokenise a folder, print what came of it.

    Args:
        args: Of the command.
        serialised: The content of the tokenizer's tokenizer.json.

    Raises:
        DataError: nothing to read, ids already, a folder that must not be written to, damage.
    """
    if args.max_tokens is not None and args.max_tokens < 1:
        raise DataError(f"--max-tokens {args.max_tokens}: 1 or more")
    fast, storage = text_tokenizer(serialised), storage_of(args.folder)
    if storage.local and args.out.resolve() == storage.local.resolve():
        raise DataError(f"--out {args.out}: is the folder that is read; name another one")
    names = [name for name in SPLITS if is_there(storage.below(name))]
    if names and "train" not in names and (args.out / "train").exists():
        raise DataError(f"{args.out}: has a train split, and {storage} has none; name another folder")
    for target in [args.out / name for name in names] or [args.out]:
        check_target(target, overwrite=args.overwrite)
    places = {name: storage.below(name) for name in names} or {"": storage}
    found = {name: PairShards.open(place).need_texts() for name, place in places.items()}
    heads = {
        name: TokenHead(tokenizer_hash(serialised), dtype_of(fast), args.max_tokens, shards.origin)
        for name, shards in found.items()
    }
    tokens = {name: Tokens(head, serialised) for name, head in heads.items()}
    total = sum(shards.count for shards in found.values())
    with tqdm(total=total, unit=" pairs", desc="tokenising", mininterval=1.0) as bar:
        chunks = {name: _chunks(shards, fast, heads[name], bar.update) for name, shards in found.items()}
        if not names:
            source = found[""].source
            write_chunks(args.out, chunks[""], source=source, tokens=tokens[""], overwrite=args.overwrite)
        else:
            source = next(iter(found.values())).source
            stream_chunks(
                args.out,
                # Splits that are not there are emptied: those of former texts were never compared with these.
                {**{name: iter(()) for name in SPLITS[1:]}, **chunks},
                source=source,
                tokens=tokens,
                overwrite=args.overwrite,
                finish=_account(args, found),
            )
    for name, shards in found.items():
        print(_line(shards, PairShards.open(args.out / name)))
    return 0


def dtype_of(fast: Tokenizer) -> str:
    """The type that holds every id of a vocabulary."""
    return DTYPES[0] if rows_needed(fast) <= _SMALL else DTYPES[1]


def _chunks(
    shards: PairShards, fast: Tokenizer, head: TokenHead, on_pairs: Callable[[int], object]
) -> Iterator[Chunk]:
    """The chunks of the folder, in their order and each with its own records: so the order of training stays."""
    compressor = Compressor()
    for number, count in enumerate(shards.chunk_counts.tolist()):
        pairs = [Pair(**record) for record in shards.read_chunk(number)]
        chunk = TokenChunk.of(pairs, text_ids(fast, texts_of(pairs)), head)
        yield Chunk(compressor(chunk.to_bytes()), chunk.sides, chunk.hashes, chunk.cut)
        on_pairs(count)


def _account(
    args: argparse.Namespace, found: dict[str, PairShards]
) -> Callable[[dict[str, dict[str, Any]]], None]:
    """What the writer calls at the end: the account of all steps goes beside the splits."""
    earlier = [] if is_address(args.folder) else read_history(Path(args.folder))

    def write(manifests: dict[str, dict[str, Any]]) -> None:
        report = Report()
        for name, manifest in manifests.items():
            report.kept[f"{name} pairs"] = manifest["count"]
        report.dropped["in quarantine"] += sum(shards.left_out for shards in found.values())
        inputs = {name: shards.fingerprint for name, shards in found.items()}
        try:
            write_history(args.out, [*earlier, make_step(args, report, inputs, manifests)])
        except OSError as error:
            raise DataError(
                f"{args.out}: the shards are whole, but their account cannot be written ({error.strerror})"
            ) from None

    return write


def _line(before: PairShards, after: PairShards) -> str:
    size, texts = (sum(shard["bytes"] for shard in one.manifest["shards"]) for one in (after, before))
    x, y = np.mean(after.lengths, axis=0).tolist()
    cut = f", {after.cut:,} texts cut" if after.cut else ""
    empty = int((after.lengths == 0).sum())
    blank = f", {empty:,} texts without a token" if empty else ""
    return (
        f"{after.folder}: {after.count:,} pairs, {x:.0f} and {y:.0f} tokens each{cut}{blank}; {size / 1e6:,.1f} MB, "
        f"{size / texts:.2f} of the texts'; fingerprint {after.fingerprint}"
    )
