"""The leaderboard as markdown: the same boards, blocks and footnotes as the page, for a README or a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from eval_suite.leaderboard.text import LEGEND, MARKS, block_note, explanation, sources
from eval_suite.leaderboard.view import Block, Cell, Missing, Row, View


def markdown(title: str, views: Sequence[View]) -> str:
    """One heading and table a board. Raises nothing: the views are checked."""
    parts = [f"# {_plain(title)}", "", *LEGEND, ""]
    for view in views:
        parts += [f"## {_plain(view.title)}", "", _plain(view.lead), ""]
        for number, block in enumerate(view.blocks, 1):
            parts += [*_table(view, block, number), ""]
        parts += [*_notes(view), ""]
    return "\n".join(parts).rstrip() + "\n"


def _table(view: View, block: Block, number: int) -> list[str]:
    head = ["model", *(a.label for a in view.averages), *(c.label for c in view.columns)]
    numbers = sources(view)
    lines = [f"**{_plain(block.title)}** [{number}]", "", f"| {' | '.join(map(_plain, head))} |"]
    lines.append("|".join(["", " --- ", *[" ---: "] * (len(head) - 1), ""]))
    for row in block.rows:
        cells = [row.averages.get(a.key) for a in view.averages] + [
            row.cells.get(c.key) for c in view.columns
        ]
        texts = [_cell(cell, numbers) for cell in cells]
        lines.append(f"| {' | '.join([_name(row), *texts])} |")
    return lines


def _name(row: Row) -> str:
    return _plain(f"{row.name} ({row.detail})" if row.detail else row.name)


def _cell(cell: Cell | Missing | None, numbers: dict[str, int]) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, Missing):
        return f"– ({cell.have} of {cell.of})" if cell.have else "–"
    value = f"**{cell.text}**" if cell.top else cell.text
    if cell.interval:
        value += f" [{cell.interval[0]:.1f}, {cell.interval[1]:.1f}]"
    mark = MARKS[cell.sure] + ("?" if cell.note else "")
    number = numbers.get(explanation(cell), "")
    source = f"<sup>{mark}{number}</sup>" if number or mark else ""
    return value + (f" {cell.letters}" if cell.letters else "") + source + ("!" if cell.warnings else "")


def _notes(view: View) -> list[str]:
    lines = []
    for number, block in enumerate(view.blocks, 1):
        lines.append(f"- [{number}] {_plain(block_note(view, block))}")
    for text, number in sources(view).items():
        lines.append(f"- <sup>{number}</sup> {_plain(text)}")
    for block in view.blocks:
        for row in block.rows:
            for key, cell in row.cells.items():
                lines += [f"- ! {_plain(f'{row.name}, {key}: {line}')}" for line in cell.warnings]
    return lines


def _plain(text: str) -> str:
    """What markdown would read as markup, as text; a model's name must not break a table or bring in HTML."""
    for sign in "\\`*_[]|<>":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return " ".join(text.split())
