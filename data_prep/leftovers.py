"""Names what runs that were stopped left in a folder of splits, and what to do about it."""

from __future__ import annotations

from pathlib import Path

from data_prep.card import NAMES
from data_prep.history import HISTORY
from data_prep.shards.index import MANIFEST
from data_prep.shards.staging import STAGED
from data_prep.shards.tokens import TOKENIZER
from data_prep.spill import SPILL, WORK
from data_prep.split import SPLITS


def leftovers(folder: Path) -> list[str]:
    """A line for each leftover; none for a folder of shards."""
    if (folder / MANIFEST).exists():
        return []
    cures = {
        STAGED: "delete it",
        SPILL: "delete it",
        WORK: "go on with the same `cpt prep run`, or delete it",
    }
    found = [
        f"{folder / name}: left by a run that was stopped; {cure}"
        for name, cure in cures.items()
        if (folder / name).exists()
    ]
    ids = any((folder / split / TOKENIZER).exists() for split in SPLITS)  # their texts' folder has the card
    if (folder / HISTORY).exists() and not (folder / NAMES[0]).exists() and not ids:
        found.append(f"{folder}: has no data card; write it with `cpt prep card {folder}`")
    return found
