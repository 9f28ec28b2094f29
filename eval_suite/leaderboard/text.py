"""The words that the page and the markdown share: marks, legend, and the numbered sources of a board."""

from __future__ import annotations

from eval_suite.leaderboard.view import MEASURED, Cell, View

MARKS = {MEASURED: "", "seen": "", "derived": "†", "remembered": "‡"}
LEGEND = [
    "- **bold**: the best of its ranking and all that do not differ from it (Holm-corrected p ≥ 0.05).",
    "- a, b, …: two models of a ranking that share a letter do not differ in that task.",
    "- [low, high]: 95 % bootstrap interval over the examples.",
    "- † derived from numbers that were seen; ‡ remembered, not checked against a copy; ? doubtful; no mark: seen.",
    "- –: no number. An average exists only where every one of its tasks has a score.",
    "- Rows are ranked within their table only: different tables were measured in different ways.",
]


def explanation(cell: Cell) -> str:
    """Where a published number comes from, in words; empty for our own."""
    if cell.sure == MEASURED:
        return ""
    text = cell.source if cell.source.startswith(cell.sure) else f"{cell.sure}: {cell.source}"
    return f"{text}; {cell.note}" if cell.note else text


def sources(view: View) -> dict[str, int]:
    """Explanation -> its number on this board, in the order of appearance."""
    found: dict[str, int] = {}
    for block in view.blocks:
        for row in block.rows:
            ordered = [row.averages.get(a.key) for a in view.averages] + [
                row.cells.get(c.key) for c in view.columns
            ]
            for cell in ordered:
                if isinstance(cell, Cell) and explanation(cell):
                    found.setdefault(explanation(cell), len(found) + 1)
    return found
