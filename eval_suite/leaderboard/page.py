"""The leaderboard as one HTML page that asks nothing of a network: template, style and script are put together here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from eval_suite.leaderboard.charts import charts
from eval_suite.leaderboard.text import LEGEND, MARKS, block_note, explanation, sources
from eval_suite.leaderboard.view import Block, Cell, Missing, Row, View


def page(title: str, lead: str, views: Sequence[View]) -> str:
    """The whole page. The same views give the same bytes."""
    return Template(_file("page.html")).substitute(
        title=escape(title),
        lead=escape(lead),
        style=_file("style.css").strip(),
        script=_file("script.js").strip(),
        nav=" ".join(_link(view) for view in views),
        boards="\n".join(_section(view) for view in views),
        legend="\n".join(_legend(line) for line in LEGEND),
    )


def _file(name: str) -> str:
    return files("eval_suite.leaderboard").joinpath(name).read_text(encoding="utf-8")


def _link(view: View) -> str:
    kind = "" if view.ours else ' class="empty"'
    return f'<a href="#{escape(view.id)}"{kind}>{escape(view.title)}</a>'


def _legend(line: str) -> str:
    term, _, meaning = line.removeprefix("- ").partition(": " if ": " in line else " ")
    if "†" in line:
        return "\n".join(
            f"<dt>{p.strip()[0]}</dt><dd>{escape(p.strip()[1:].strip(' :.'))}</dd>"
            for p in line[2:].split(";")[:3]
        )
    return f"<dt>{escape(term.replace('*', ''))}</dt><dd>{escape(meaning)}</dd>"


def _section(view: View) -> str:
    body = f'<div class="wide">{_table(view)}</div>\n{charts(view)}\n{_notes(view)}'
    if not view.ours:  # nothing of ours here: folded, so that the page stays short
        body = f"<details><summary>published figures only; nothing measured here yet</summary>\n{body}\n</details>"
    return (
        f'<section id="{escape(view.id)}" aria-labelledby="{escape(view.id)}-title">\n'
        f'<h2 id="{escape(view.id)}-title">{escape(view.title)}</h2>\n'
        f'<p class="about">{escape(view.lead)}</p>\n{body}\n</section>'
    )


def _table(view: View) -> str:
    heads = (
        [("model", "")]
        + [(a.label, "average") for a in view.averages]
        + [(c.label, "") for c in view.columns]
    )
    sorted_by = 1 if len(heads) > 1 else 0
    cells = [
        f'<th scope="col"{_class(kind)}{_sort(i == sorted_by and bool(view.averages))}><button type="button">{escape(label)}</button></th>'
        for i, (label, kind) in enumerate(heads)
    ]
    numbers = sources(view)
    bodies = "\n".join(_block(view, block, n, len(heads), numbers) for n, block in enumerate(view.blocks, 1))
    caption = f'<caption class="unseen">{escape(view.title)}; the headings sort</caption>'
    return f"<table>{caption}\n<thead><tr>{''.join(cells)}</tr></thead>\n{bodies}\n</table>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _sort(first: bool) -> str:
    return ' aria-sort="descending"' if first else ""


def _block(view: View, block: Block, number: int, width: int, numbers: dict[str, int]) -> str:
    apart = f'<span class="apart">differs in {escape("; ".join(block.apart))}</span>' if block.apart else ""
    link = f'<a href="#{escape(view.id)}-note-{number}">[{number}]</a>'
    head = (
        f'<tr class="head"><th colspan="{width}" scope="rowgroup"><span><b>{escape(block.title)}</b> {link} '
        f"{escape(block.citation)}{apart}</span></th></tr>"
    )
    rows = "\n".join(_row(view, row, numbers) for row in block.rows)
    return f"<tbody>{head}\n{rows}</tbody>"


def _row(view: View, row: Row, numbers: dict[str, int]) -> str:
    kind = "ours" if row.ours else "published"
    cells = [_cell(row.averages.get(a.key), numbers, "average") for a in view.averages]
    cells += [_cell(row.cells.get(c.key), numbers, "") for c in view.columns]
    detail = f"<small>{escape(row.detail)}</small>" if row.detail else ""
    return (
        f'<tr data-name="{escape(row.name.lower())}" data-kind="{kind}" class="{kind}">'
        f'<th scope="row">{escape(row.name)}{detail}</th>{"".join(cells)}</tr>'
    )


def _cell(cell: Cell | Missing | None, numbers: dict[str, int], kind: str) -> str:
    if cell is None:
        return f'<td class="{f"{kind} none".strip()}">–</td>'
    if isinstance(cell, Missing):
        of = f'<span class="of">{cell.have} of {cell.of}</span>' if cell.have else ""
        return f'<td class="{kind} none" title="no average: {cell.have} of {cell.of} scores">–{of}</td>'
    about = explanation(cell) or cell.source
    parts = [f"<span{_class('top' if cell.top else '')}>{escape(cell.text)}</span>"]
    if cell.warnings:
        parts.append(f'<span class="warn" title="{escape("; ".join(cell.warnings))}">!</span>')
    if cell.letters:
        parts.append(f'<sup class="letters">{escape(cell.letters)}</sup>')
    mark = MARKS[cell.sure] + ("?" if cell.note else "")
    number = numbers.get(explanation(cell), "")
    if mark or number:
        parts.append(f"<sup>{mark}{number}</sup>")
    if cell.interval:
        parts.append(f'<span class="ci">{cell.interval[0]:.1f}–{cell.interval[1]:.1f}</span>')
    name = f"{kind} {cell.sure}".strip()
    return f'<td data-v="{cell.value:.6g}" class="{name}" title="{escape(about)}">{"".join(parts)}</td>'


def _notes(view: View) -> str:
    blocks = "".join(
        f'<li id="{escape(view.id)}-note-{n}">{escape(block_note(view, block))}</li>'
        for n, block in enumerate(view.blocks, 1)
    )
    warnings = "".join(
        f'<li class="warning">! {escape(f"{row.name}, {key}: {line}")}</li>'
        for block in view.blocks
        for row in block.rows
        for key, cell in row.cells.items()
        for line in cell.warnings
    )
    found = "".join(f"<li>{escape(text)}</li>" for text in sources(view))
    listed = f'<details><summary>Sources of the published figures</summary><ol class="notes">{found}</ol></details>'
    return (
        f'<ol class="notes protocols">{blocks}</ol>'
        f"{f'<ul class=notes>{warnings}</ul>' if warnings else ''}{listed if found else ''}"
    )
