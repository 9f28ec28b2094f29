"""Counts what was kept and what was dropped and why, and names the files that were lost."""

from __future__ import annotations

from collections import Counter
from typing import Any

# A table that names every file of a large tree hides the reasons; the rest is counted.
MAX_NAMED = 10
# And a corpus with millions of bad rows would fill the memory with their names.
MAX_REMEMBERED = 1000


class Report:
    """The account of one run: nothing is lost in silence.

    Attributes:
        kept: How many of what were kept: ``{"pairs": 120}``.
        dropped: Why how many were not.
        named: The files behind the reasons that mean loss: unreadable, unparsable, too large; the first 1,000.
        unnamed: How many more there were.
        notes: Sentences on what somebody should look at, each a line of the account.
    """

    def __init__(self) -> None:
        self.kept: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.named: list[tuple[str, str]] = []
        self.unnamed = 0
        self.notes: list[str] = []

    def lose(self, reason: str, name: str) -> None:
        """Count ``reason`` and remember the file's name."""
        self.dropped[reason] += 1
        # A file's name may be bytes that are no text, which could not be printed.
        self._remember([(reason, name.encode("utf-8", "backslashreplace").decode())])

    def add(self, other: Report) -> None:
        """Take in the account of a part of the work."""
        self.kept.update(other.kept)
        self.dropped.update(other.dropped)
        self._remember(other.named)
        self.unnamed += other.unnamed
        self.notes += other.notes

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        names = ("kept", "dropped", "named", "unnamed", "notes")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Report:
        """Inverse of :meth:`to_dict`."""
        report = cls()
        report.kept, report.dropped = Counter(data["kept"]), Counter(data["dropped"])
        report.named = [(reason, name) for reason, name in data["named"]]
        report.unnamed, report.notes = data["unnamed"], list(data["notes"])
        return report

    def _remember(self, names: list[tuple[str, str]]) -> None:
        room = max(0, MAX_REMEMBERED - len(self.named))
        self.named += names[:room]
        self.unnamed += len(names[room:])

    def table(self) -> str:
        """The account as lines of text, largest loss first."""
        rows = [(f"kept: {what}", count) for what, count in self.kept.items()]
        ranked = sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        rows += [(f"dropped: {reason}", count) for reason, count in ranked if count]
        width = max((len(text) for text, _ in rows), default=0)
        lines = [f"{text:<{width}}  {count:>10,}" for text, count in rows]
        lines += [f"  {reason}: {name}" for reason, name in self.named[:MAX_NAMED]]
        if (more := len(self.named) + self.unnamed - MAX_NAMED) > 0:
            lines.append(f"  ... and {more:,} more")
        return "\n".join([*lines, *self.notes])
