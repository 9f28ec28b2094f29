"""What each `cpt prep` command does: progress on stderr, the account on stdout, DataError for mistakes."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_prep import inspection
from data_prep.card import NAMES
from data_prep.corpus import PRECEDENCE, Corpus
from data_prep.dedup import SameId
from data_prep.errors import DataError
from data_prep.leftovers import leftovers
from data_prep.mined import settled
from data_prep.pairs import Pair
from data_prep.publish import accountant, finished
from data_prep.report import Report
from data_prep.shards import SPLITS, PairShards, rebuild_index, stream_splits, verify_shards, write_splits
from data_prep.shards.index import QUARANTINE
from data_prep.shards.read import is_there
from data_prep.shards.write import check_target
from data_prep.shuffle import by_hash
from data_prep.spill import spill_folder
from data_prep.split import Splitter
from data_prep.storage import Storage, storage_of

_MIN_WORDS = 5  # of a text, where --min-words does not say


def code(args: argparse.Namespace) -> int:
    """Mine source trees, repositories and CodeSearchNet's files; split by package."""
    from data_prep.code import mine
    from data_prep.filters import CodeRules

    _check_out(args)
    report = Report()
    rules = CodeRules(
        min_doc_words=args.min_doc_words,
        max_doc_chars=args.max_doc_chars,
        min_code_lines=args.min_code_lines,
        max_code_chars=args.max_code_chars,
        max_file_bytes=args.max_file_bytes,
        max_parse_seconds=args.max_parse_seconds,
    )
    with _bar(unit=" files", desc="mining") as bar:
        options: dict[str, Any] = {"languages": args.languages, "rules": rules, "processes": args.processes}
        found = mine(args.paths, report=report, on_found=bar.reset, on_file=bar.update, **options)
        return _publish_mined(args, found, bar, report, "code", by="package", near=args.near_duplicate)


def text(args: argparse.Namespace) -> int:
    """Cut documents into neighbouring pieces; split by document."""
    from data_prep.documents import find_documents
    from data_prep.readers import ReadRules
    from data_prep.text import TextRules
    from data_prep.text_files import mine_files

    _check_out(args)
    report, files = Report(), find_documents(args.paths)
    reading = ReadRules(text_field=args.text_field, on_bad_row=args.on_bad_row)
    rules = TextRules(
        piece_chars=args.piece_chars,
        min_piece_chars=args.min_piece_chars,
        gap=args.gap,
        max_gap=args.max_gap,
        overlapping=args.overlapping,
        pairs_per_document=args.pairs_per_document,
    )
    options = {"reading": reading, "rules": rules, "processes": args.processes}
    with _bar(total=len(files), unit=" files", desc="cutting") as bar:
        found = mine_files(files, report, on_file=bar.update, **options)
        return _publish_mined(args, found, bar, report, "text")


def pairs(args: argparse.Namespace) -> int:
    """Read pairs out of tables; split by document, or by row where there is no such column."""
    from data_prep.tables import find_id, read_pairs

    _check_out(args)
    report = Report()
    with _bar(unit=" rows", desc="reading") as bar:
        columns = {"x_column": args.x_column, "y_column": args.y_column}
        if args.x_column == args.y_column:
            raise DataError(f"--x-column and --y-column: both are {args.x_column!r}; a pair needs two")
        found = read_pairs(args.paths, report, **columns, on_row=bar.update)
        try:
            return _publish_mined(args, found, bar, report, "pairs")
        except SameId as error:
            there = " and ".join(find_id(args.paths, error.id)[:2])
            raise DataError(f"{there}: {error}") from None


def nli(args: argparse.Namespace) -> int:
    """Bring the judgements of each premise together; split by file or premise."""
    from data_prep.nli import read_nli

    _check_out(args)
    report = Report()
    with _bar(unit=" rows", desc="reading") as bar:
        options = {"keep_without_negatives": args.keep_without_negatives, **_named(args)}
        found = read_nli(args.paths, report, on_row=bar.update, **options)
    return _publish(args, _split_triplets(args, found, report), report, "nli")


def triples(args: argparse.Namespace) -> int:
    """Bring the negatives of each query and positive together; split by file or query."""
    from data_prep.triples import read_triples

    _check_out(args)
    report = Report()
    texts = _tables(args)
    with _bar(unit=" rows", desc="reading") as rows, _bar(unit=" pairs", desc="gathering") as made:
        options = {"max_negatives": args.max_negatives, **_named(args)}
        found = read_triples(
            args.paths, report, texts=texts, on_row=rows.update, on_pair=made.update, **options
        )
    return _publish(args, _split_triplets(args, found, report), report, "triples")


def _tables(args: argparse.Namespace) -> Any:
    """The texts behind ids, where both tables are given."""
    from data_prep.lookup import Lookup
    from data_prep.triples import Texts

    if args.queries is None and args.collection is None:
        return None
    if args.queries is None or args.collection is None:
        given = "queries" if args.collection is None else "collection"
        raise DataError(f"--{given}: ids need both tables, --queries and --collection")
    with _bar(unit=" texts", desc="indexing") as bar:
        return Texts(*(Lookup(path, bar.update) for path in (args.queries, args.collection)))


def _named(args: argparse.Namespace) -> dict[str, list[str]]:
    return {"holdout": args.holdout, "validation": args.validation}


def _split_triplets(args: argparse.Namespace, pairs: list[Pair], report: Report) -> dict[str, list[Pair]]:
    from data_prep.triplets import split_triplets

    return split_triplets(
        pairs,
        report,
        holdout=args.holdout,
        validation=args.validation,
        test_fraction=args.test_fraction,
        validation_fraction=args.validation_fraction,
    )


def _bar(items: Iterable[Any] | None = None, **options: Any) -> Any:
    """A progress bar on stderr, redrawn once a second: a log file stays readable."""
    return tqdm(items, mininterval=1.0, **options)


def _check_out(args: argparse.Namespace) -> None:
    """Refuse a finished folder, a file, or numbers that cannot be, before the work, not after it."""
    if not 0 <= getattr(args, "near_duplicate", 0) <= 1:
        raise DataError(f"--near-duplicate {args.near_duplicate}: is a share from 0 to 1")
    if not 0 < getattr(args, "max_parse_seconds", 1) < float("inf"):
        raise DataError(f"--max-parse-seconds {args.max_parse_seconds}: is no number of seconds above 0")
    if hasattr(args, "test_fraction"):
        _splitter(args)
    if args.out.exists() and not args.out.is_dir():
        raise DataError(f"{args.out}: is a file; name a folder")
    for name in SPLITS:
        check_target(args.out / name, overwrite=args.overwrite)


def _splitter(args: argparse.Namespace) -> Splitter:
    return Splitter(
        holdout=args.holdout,
        validation=args.validation,
        test_fraction=args.test_fraction,
        validation_fraction=args.validation_fraction,
    )


def _publish_mined(
    args: argparse.Namespace,
    pairs: Iterable[Pair],
    bar: Any,
    report: Report,
    source: str,
    *,
    by: str = "document",
    near: float = 0,
) -> int:
    """Take pairs as they are mined into shards; ``by`` and ``near`` are those of :func:`~data_prep.mined.settled`."""
    with spill_folder(args.out) as spill:
        split = _splitter(args)
        pool = settled(pairs, spill, report, split=split, by=by, near=near, on_mined=bar.close)
        if not (pool.alive & (pool.places == PRECEDENCE.index("train"))).any():
            print(report.table())
            raise DataError(
                f"{args.out}: no training pairs: nothing was found, or all was filtered or held out"
            )
        with _bar(total=pool.count, unit=" pairs", desc="sorting") as sorting:
            splits = by_hash(pool, spill / "sorted", sorting.update)
        account = accountant(args, report)
        manifests = stream_splits(args.out, splits, source=source, overwrite=args.overwrite, finish=account)
    return _show(args, manifests, report)


def _publish(args: argparse.Namespace, splits: dict[str, list[Pair]], report: Report, source: str) -> int:
    if not splits["train"]:
        print(report.table())
        raise DataError(f"{args.out}: no training pairs: nothing was found, or all was filtered or held out")
    account = accountant(args, report)
    manifests = write_splits(args.out, splits, source=source, overwrite=args.overwrite, finish=account)
    return _show(args, manifests, report)


def _show(args: argparse.Namespace, manifests: dict[str, dict[str, Any]], report: Report) -> int:
    print(report.table())
    total = sum(manifest["count"] for manifest in manifests.values())
    with _bar(total=total, unit=" pairs", desc="data card") as bar:
        lines = finished(args.out, manifests, bar.update, drawn=hasattr(args, "holdout"))
    print("\n".join(lines))
    return 0


def clean(args: argparse.Namespace) -> int:
    """Take what is of no use, and what is there twice or nearly, out of all splits."""
    from data_prep.clean import CleanRules, clean
    from data_prep.near import NearRules
    from data_prep.quality import QualityRules

    near = NearRules(args.near_duplicate, args.max_group, drop_large=args.drop_large_groups)
    for option in ("english", "min_words"):
        if getattr(args, option) and not args.text:
            raise DataError(f"--{option.replace('_', '-')}: a rule for text; add --text")
    limits = {"min_words": args.min_words or _MIN_WORDS, "min_stop_words": 2 if args.english else 0}
    rules = CleanRules(QualityRules(**limits) if args.text else None, near)
    corpus, report = _corpus(args), Report()
    _count_left_out(corpus, report)
    passes = 2 if near.threshold else 1
    with (
        spill_folder(args.out) as spill,
        _bar(total=passes * corpus.count, unit=" pairs", desc="cleaning") as bar,
    ):
        clean(corpus, rules, report, spill, bar.update)
    return _publish_corpus(args, corpus, report)


def decontaminate(args: argparse.Namespace, texts: Iterable[tuple[str, str]]) -> int:
    """Take pairs that hold one of the (task, text) out of all splits."""
    from data_prep.decontaminate import decontaminate, table
    from data_prep.evaluation import NgramRules

    rules = NgramRules(ngram=args.ngram, max_documents=args.max_documents, min_ratio=args.min_ratio)
    corpus, report = _corpus(args), Report()
    _count_left_out(corpus, report)
    with (
        spill_folder(args.out) as spill,
        _bar(total=corpus.count, unit=" pairs", desc="searching") as bar,
    ):
        found = decontaminate(corpus, texts, rules, report, spill, bar.update).to_dict()
    print(table(found))
    return _publish_corpus(args, corpus, report, contamination=found)


def _count_left_out(corpus: Corpus, report: Report) -> None:
    """Count what is in quarantine: the new shards will not have it, nor the mark."""
    report.dropped["in quarantine"] += sum(shards.left_out for shards in corpus.shards.values())


def _corpus(args: argparse.Namespace) -> Corpus:
    if args.out.resolve() == args.folder.resolve():
        raise DataError(f"--out {args.out}: is the folder that is read; name another one")
    _check_out(args)
    return Corpus(args.folder)


def _publish_corpus(args: argparse.Namespace, corpus: Corpus, report: Report, **more: Any) -> int:
    """Write what is alive, in its order, with the account of all steps so far."""
    if not corpus.alive[corpus.begins[-2] :].any():
        print(report.table())
        raise DataError(f"{args.out}: no training pairs left: all were dropped for the reasons above")
    manifests = stream_splits(
        args.out,
        # Splits that are not there are emptied: those of a former corpus were never compared with this one.
        {name: corpus.survivors(name) if name in corpus.shards else () for name in SPLITS},
        source=corpus.source,
        overwrite=args.overwrite,
        finish=accountant(args, report, corpus, **more),
    )
    return _show(args, manifests, report)


def card(args: argparse.Namespace) -> int:
    """Write the data card anew."""
    from data_prep.card import write_card

    with _bar(unit=" pairs", desc="data card") as bar:
        write_card(args.folder, bar.update)
    print(f"{args.folder / NAMES[0]} and {NAMES[1]}")
    return 0


def stats(args: argparse.Namespace) -> int:
    """Print counts, lengths and duplicates."""
    for name, folder in _folders(args.folder):
        print(inspection.describe(name, PairShards.open(folder)))
    return 0


def head(args: argparse.Namespace) -> int:
    """Print the first pairs of each split."""
    for name, folder in _folders(args.folder):
        print(inspection.show(name, PairShards.open(folder), args.n))
    return 0


def verify(args: argparse.Namespace) -> int:
    """Check every byte; a DataError at the end if there is damage."""
    problems: list[str] = []
    for name, folder in _folders(args.folder):
        with _bar(unit=" chunks", desc=f"verifying {name}") as bar:
            try:
                found = verify_shards(folder, bar.update)
            except DataError as error:
                found = [str(error)]
        print("\n".join(found) if found else f"{folder}: sound{_in_quarantine(folder)}")
        problems += found
    place = storage_of(args.folder)
    found = leftovers(place.local) if place.local else []
    problems += found
    if found:
        print("\n".join(found))
    if problems:
        raise DataError(f"{place}: {len(problems)} problem(s); prepare or copy the named shards again")
    return 0


def _in_quarantine(folder: Storage) -> str:
    shards = PairShards.open(folder)
    marks = len(shards.manifest.get(QUARANTINE, []))
    return f", {shards.left_out:,} pairs in {marks} chunk(s) left out by quarantine" if marks else ""


def quarantine(args: argparse.Namespace) -> int:
    """Leave chunks out of a folder, or take them back in."""
    from data_prep.shards import quarantine_chunks

    options = {"reason": args.reason, "undo": args.undo}
    manifest = quarantine_chunks(args.folder, args.shard, args.chunks, **options)
    try:
        shards = PairShards.open(args.folder)
        state = f"{shards.count:,} pairs, {shards.left_out:,} left out"
    except DataError as error:
        state = f"marked, but there is more damage: {error}"
    print(f"{args.folder}: {state}, fingerprint {manifest['fingerprint']}")
    return 0


def index(args: argparse.Namespace) -> int:
    """Rebuild indexes and manifests."""
    for _, folder in _folders(args.folder):
        if folder.local is None:
            raise DataError(f"{folder}: cannot be written; make the index where the folder was copied from")
        manifest = rebuild_index(folder.local)
        counts = f"{manifest['count']:,} pairs in {len(manifest['shards'])} shard(s)"
        print(f"{folder}: {counts}, fingerprint {manifest['fingerprint']}")
    return 0


def tokenizer(args: argparse.Namespace) -> int:
    """Train a tokenizer on both sides of the training split."""
    from data_prep.tokenizer import save_tokenizer, train_tokenizer

    folder = args.folder / "train" if (args.folder / "train").is_dir() else args.folder
    out = args.out or args.folder / "tokenizer"
    trained = train_tokenizer(
        _texts(PairShards.open(folder).need_texts()), vocab_size=args.vocab_size, identifiers=args.identifiers
    )
    save_tokenizer(trained, out)
    print(f"{out}: {trained.get_vocab_size():,} tokens")
    return 0


def _texts(shards: PairShards) -> Iterator[str]:
    for record in _bar(shards, total=shards.count, unit=" pairs", desc="reading"):
        yield from (record["x"], record["y"])


def _folders(place: Path | str) -> list[tuple[str, Storage]]:
    """The splits inside a folder, or the folder itself."""
    storage = storage_of(place)
    splits: list[tuple[str, Storage]] = [(name, storage.below(name)) for name in SPLITS]
    splits = [(name, split) for name, split in splits if is_there(split)]
    return splits or [(str(storage).rstrip("/").rpartition("/")[2], storage)]
