"""What a command leaves beside the shards it wrote: the account of all steps, the data card, and what it prints."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_prep.card import NAMES, write_card
from data_prep.corpus import Corpus
from data_prep.errors import DataError
from data_prep.history import make_step, read_history, write_history
from data_prep.report import Report
from data_prep.shards import SPLITS

Finish = Callable[[dict[str, dict[str, Any]]], None]


def accountant(
    args: Namespace, report: Report, corpus: Corpus | None = None, folder: Path | None = None, **more: Any
) -> Finish:
    """What a writer calls at the end: it counts what was kept and writes the account beside the splits.

    Args:
        args: The command with all its options.
        report: What was kept and dropped so far.
        corpus: What was read, where it was shards: its account goes on.
        folder: Where the account goes; None is ``args.out``.
        more: Further entries of this step.

    Raises:
        DataError: the account of ``corpus`` is damaged: now, before any work.
    """

    def write(manifests: dict[str, dict[str, Any]]) -> None:
        for name in SPLITS:
            report.kept[f"{name} pairs"] = manifests[name]["count"] if name in manifests else 0
        step = make_step(args, report, corpus.fingerprints if corpus else {}, manifests)
        try:
            for name in NAMES:  # of the shards that these took the place of
                ((folder or args.out) / name).unlink(missing_ok=True)
            write_history(folder or args.out, [*earlier, {**step, **more}])
        except OSError as error:
            raise DataError(
                f"{args.out}: the shards are whole, but their account cannot be written ({error.strerror})"
            ) from None

    earlier = read_history(corpus.folder) if corpus else []
    return write


def finished(
    out: Path, manifests: Mapping[str, dict[str, Any]], on_record: Callable[[], object], *, drawn: bool
) -> list[str]:
    """Write the data card; returns what there is to say of the finished splits.

    Args:
        out: Where they lie.
        manifests: Of each split.
        on_record: Called for each pair.
        drawn: Whether the command splits, so that a split that is missing wants a word.
    """
    write_card(out, on_record)
    lines = [
        f"{out / name}  {len(manifest['shards'])} shard(s)  fingerprint {manifest['fingerprint']}"
        for name, manifest in manifests.items()
    ]
    missing = [name for name in ("validation", "test") if name not in manifests]
    if missing and drawn:
        lines.append(
            f"no {' and no '.join(missing)} split: no group's hash fell into it; name some (--validation, --holdout)"
        )
    return [*lines, f"data card: {out / NAMES[0]} and {NAMES[1]}"]
