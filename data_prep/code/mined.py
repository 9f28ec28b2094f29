"""What one file, or one row of a corpus, gave."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from data_prep.filters import CodeRules, code_reason, doc_reason
from data_prep.pairs import Pair

TOO_SLOW = "over {:g} s of processor time to parse"


@dataclass(slots=True)
class Mined:
    """The outcome of one piece of work, as it comes back from a worker process.

    Args:
        name: Of the file or row.
        pairs: In the order of the source.
        kept: What was read and found, counted.
        dropped: Functions that are no pairs, by reason.
        lost: Why the whole of it, or a part that cannot be counted, was lost.
    """

    name: str
    pairs: list[Pair] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    lost: str | None = None


def pair_reason(x: str, y: str, rules: CodeRules) -> str | None:
    """Why a function's two texts are no pair, or None."""
    return doc_reason(x, rules) or code_reason(y, rules)
