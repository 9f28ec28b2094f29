"""The words that the page and the markdown share: marks, legend, and the numbered sources of a board."""

from __future__ import annotations

from eval_suite.leaderboard.letters import OVERLAP
from eval_suite.leaderboard.view import MEASURED, Block, Cell, View

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


def block_source(view: View, block: Block) -> str:
    """The one explanation of a block whose numbers all have the same; else ""."""
    found = set(map(explanation, _cells(view, block)))
    return found.pop() if len(found) == 1 else ""


def sources(view: View) -> dict[str, int]:
    """Explanation -> its number on this board, in the order of appearance, where a block's cells differ in it."""
    found: dict[str, int] = {}
    for block in view.blocks:
        for cell in [] if block_source(view, block) else _cells(view, block):
            if explanation(cell):
                found.setdefault(explanation(cell), len(found) + 1)
    return found


def block_note(view: View, block: Block) -> str:
    """How a block was measured, where its numbers are from, what it differs in, and how its letters were found."""
    parts = list(block.notes)
    if block_source(view, block):
        parts.append(f"All its numbers: {block_source(view, block)}.")
    if block.apart:
        parts.append(f"Not in the first ranking, because these differ: {'; '.join(block.apart)}.")
    overlap = [c.label for c in view.columns if block.grouped.get(c.key) == OVERLAP]
    if overlap:
        parts.append(f"Letters by overlap of intervals, not by paired tests: {', '.join(overlap)}.")
    return " ".join(parts)


def _cells(view: View, block: Block) -> list[Cell]:
    found = []
    for row in block.rows:
        found += [row.averages.get(a.key) for a in view.averages] + [
            row.cells.get(c.key) for c in view.columns
        ]
    return [cell for cell in found if isinstance(cell, Cell)]
