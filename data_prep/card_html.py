"""Writes a data card as one HTML page: no script, no network, histograms as SVG inside."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from data_prep.card_facts import Facts
from data_prep.card_markdown import counts, step_lines, tables

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;"
    "text-align:left;vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}"
    "pre{background:#f5f5f5;padding:.7rem;white-space:pre-wrap;overflow-wrap:anywhere}svg{margin:.5rem 1rem .5rem 0}"
    "svg rect{fill:#3465a4}svg text{font:11px system-ui,sans-serif}"
)
_WIDTH, _ROW, _LABEL, _NUMBER = 420, 16, 70, 80


def page(facts: Facts) -> str:
    """The whole card."""
    title = f"Data card: {escape(facts.name)}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title><style>{_STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n<h1>{title}</h1>\n'
        + "\n".join(_body(facts))
        + "\n</body></html>\n"
    )


def _body(facts: Facts) -> Iterator[str]:
    yield f"<p>{escape(' '.join(counts(facts)))}</p>"
    for title, header, rows in tables(facts):
        cells = "".join(f"<th>{escape(name)}</th>" for name in header)
        lines = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
        yield f"<h2>{escape(title)}</h2>\n<table><tr>{cells}</tr>\n{lines}</table>"
    yield "<h2>Lengths</h2>"
    for name, split in facts.splits.items():
        for side, bins in zip("xy", split.histograms, strict=True):
            yield _svg(f"{name}, {side}, in {split.unit}", bins)
    yield "<h2>How it was made</h2>"
    yield "" if facts.steps else "<p>No account of earlier steps lies beside the shards.</p>"
    for step in facts.steps:
        lines = "".join(f"<li>{escape(line)}</li>" for line in step_lines(step))
        yield f"<h3><code>{escape(step['command'])}</code></h3><ul>{lines}</ul>"
    yield "<h2>Examples</h2>"
    for name, split in facts.splits.items():
        for example in split.examples:
            yield f"<h3>{escape(name)}: <code>{escape(example['id'])}</code></h3>"
            yield from (f"<p>{side}</p><pre>{escape(example[side])}</pre>" for side in ("x", "y"))


def _cell(value: Any) -> str:
    return f'<td class="n">{value:,}</td>' if isinstance(value, int) else f"<td>{escape(str(value))}</td>"


def _svg(title: str, bins: list[tuple[int, int]]) -> str:
    widest = max(count for _, count in bins)
    height = _ROW * (len(bins) + 1)
    rows = []
    for number, (lower, count) in enumerate(bins, 1):
        y, width = number * _ROW, (_WIDTH - _LABEL - _NUMBER) * count / widest
        rows.append(
            f'<text x="{_LABEL - 6}" y="{y + 12}" text-anchor="end">{lower:,} +</text>'
            f'<rect x="{_LABEL}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 4}"/>'
            f'<text x="{_LABEL + width + 4:.1f}" y="{y + 12}">{count:,}</text>'
        )
    label = escape(title, quote=True)
    return (
        f'<svg role="img" aria-label="Lengths of {label}" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}">'
        f'<text x="0" y="12">{label}</text>{"".join(rows)}</svg>'
    )
