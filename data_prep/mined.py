"""Takes pairs as they are mined to disk, and drops those that are there twice, without a list of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from data_prep.dedup import drop_duplicates_of, drop_near_duplicates
from data_prep.keys import drop_crossed
from data_prep.pairs import Pair
from data_prep.pool import Pool, write_part
from data_prep.report import Report
from data_prep.split import Splitter


def settled(
    pairs: Iterable[Pair],
    folder: Path,
    report: Report,
    *,
    split: Splitter,
    by: str = "document",
    near: float = 0,
    on_mined: Callable[[], object] = lambda: None,
) -> Pool:
    """The pairs on disk, with their splits; of those alike one is alive.

    Args:
        pairs: Read once.
        folder: Gets the files.
        report: The account of who makes the pairs; gets what is dropped.
        split: Says where a group belongs.
        by: What a group is: the document, or a field of ``meta``.
        near: Jaccard index from which a training pair is too near to a held-out one; 0 looks for none.
        on_mined: Called after the last pair.

    Raises:
        DataError: a named group never came; two different pairs have one id.
    """
    write_part(
        folder / "mined",
        pairs,
        report,
        split=split,
        group=lambda pair: pair.document if by == "document" else str(pair.meta[by]),
    )
    on_mined()
    pool = Pool([folder / "mined"])
    pool.check_groups(split)
    drop_duplicates_of(pool, report)
    drop_crossed(pool.alive, pool.keys(), pool.places, report.dropped)
    if near:
        drop_near_duplicates(pool, report, near, folder / "near")
    return pool
