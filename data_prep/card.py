"""Gathers what a data card says of a folder of splits, and writes it as card.md and card.html beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.card_facts import Facts, SplitFacts
from data_prep.card_html import page
from data_prep.card_markdown import document
from data_prep.errors import DataError
from data_prep.files import write_atomic
from data_prep.history import read_history
from data_prep.shards import PairShards, open_splits

NAMES = ("card.md", "card.html")
UNSTATED = "not stated"
_EXAMPLES = 3
_EXAMPLE_CHARS = 400


def write_card(folder: Path, on_record: Callable[[], object] = lambda: None) -> Facts:
    """Read all pairs of ``folder`` once and write its card anew.

    Raises:
        DataError: no splits inside, damage, or the card cannot be written.
    """
    facts = gather(folder, on_record)
    try:
        for name, text in zip(NAMES, (document(facts), page(facts)), strict=True):
            write_atomic(folder / name, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise DataError(f"{folder}: the card cannot be written ({error.strerror}); free some space") from None
    return facts


def gather(folder: Path, on_record: Callable[[], object] = lambda: None) -> Facts:
    """What there is to say of the splits in ``folder``."""
    found = {name: shards.need_texts() for name, shards in open_splits(folder).items()}
    steps = read_history(folder)
    reports = [step["contamination"] for step in steps if step.get("contamination")]
    return Facts(
        name=folder.resolve().name,
        splits={name: _of_split(shards, on_record) for name, shards in found.items()},
        shared=(_shared(found, [0]), _shared(found, [1]), _shared(found, [0, 1])),
        steps=steps,
        contamination=reports[-1] if reports else None,
    )


def _of_split(shards: PairShards, on_record: Callable[[], object]) -> SplitFacts:
    unique = [len(np.unique(shards.hashes[:, column])) for column in range(3)]
    totals = shards.lengths.sum(axis=0, dtype=np.int64).tolist()
    facts = SplitFacts(
        count=shards.count,
        documents=unique[2],
        chars=(totals[0], totals[1]),
        duplicates=(shards.count - unique[0], shards.count - unique[1]),
        histograms=(_histogram(shards.lengths[:, 0]), _histogram(shards.lengths[:, 1])),
        fingerprint=shards.fingerprint,
        unit=shards.unit,
    )
    for record in shards:
        facts.sources[record["source"] or shards.source] += 1
        facts.licences[_licence(record["meta"])] += 1
        if len(facts.examples) < _EXAMPLES:
            facts.examples.append({key: _cut(str(record[key])) for key in ("id", "x", "y")})
        on_record()
    return facts


def _licence(meta: dict[str, Any]) -> str:
    value = meta.get("license") or meta.get("licence")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or UNSTATED)


def _histogram(lengths: np.ndarray) -> list[tuple[int, int]]:
    powers = np.frexp(lengths)[1]  # 2**(power - 1) <= length < 2**power
    counts = np.bincount(powers)
    return [(2**power // 2, int(counts[power])) for power in range(int(powers.min()), len(counts))]


def _shared(found: dict[str, PairShards], columns: list[int]) -> int:
    texts = np.concatenate([np.unique(shards.hashes[:, columns]) for shards in found.values()])
    return len(texts) - len(np.unique(texts))


def _cut(text: str) -> str:
    return text if len(text) <= _EXAMPLE_CHARS else f"{text[:_EXAMPLE_CHARS]} [... {len(text):,} characters]"
