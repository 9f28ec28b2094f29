"""The texts to search, as things that can be found: whatever `cpt embed` reads, blank ones left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.shards import SPLITS
from lightning_cpt.embed.inputs import Fields, read_rows


@dataclass(frozen=True, slots=True)
class Item:
    """Something to find.

    Args:
        id: The row's own, else the file's name and the line or row.
        text: What is encoded.
        meta: What is shown beside it.
    """

    id: str
    text: str
    meta: dict[str, Any]


def read_items(paths: Sequence[Path], field: str | None = None) -> Iterator[Item]:
    """Yield the texts of files, and of folders of such files or of shards, in order.

    Args:
        paths: .txt (a text a line), .jsonl, .csv (also .gz or .zst), .parquet, folders of these, folders of shards,
            all their splits.
        field: The column of a table; ``x`` or ``y`` of shards. By default ``text``, else ``y``, else ``x``.

    Raises:
        ConfigError, DataError: naming the file and row: nothing to read, no such column, a text that is none.
    """
    fields = Fields("y", field, others=("x",), flag="--field")
    places = [str(place) for path in paths for place in _splits(path) or [path]]
    for identity, text in read_rows(places, None, fields):
        if text.strip():
            yield Item(identity, text.strip(), {})


def _splits(folder: Path) -> list[Path]:
    return [folder / split for split in SPLITS if (folder / split / "manifest.json").is_file()]
