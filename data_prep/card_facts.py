"""What a data card says, before it has a form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class SplitFacts:
    """What the card says of one split.

    Args:
        count: Pairs.
        documents: Different documents.
        chars: Of x and of y, in all; in the shards' unit.
        duplicates: Of x and of y: equal texts beyond the first.
        histograms: Per side, (lower end of the bin, texts) by powers of two.
        sources: Corpus name -> pairs.
        licences: Licence -> pairs.
        examples: Records, their texts cut short.
        fingerprint: The shards'.
        unit: What lengths count.
    """

    count: int
    documents: int
    chars: tuple[int, int]
    duplicates: tuple[int, int]
    histograms: tuple[list[tuple[int, int]], list[tuple[int, int]]]
    fingerprint: str
    unit: str
    sources: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Facts:
    """All that a card says.

    Args:
        name: Of the folder.
        splits: By name.
        shared: Texts of x, of y, and of either side, that two splits have.
        steps: The account of how the splits were made, the last step last.
        contamination: The newest report by task, or None.
    """

    name: str
    splits: dict[str, SplitFacts]
    shared: tuple[int, int, int]
    steps: list[dict[str, Any]]
    contamination: dict[str, Any] | None
