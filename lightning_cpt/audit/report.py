"""Renders an audit of batches: strict JSON, a table for the console, and one HTML page without script or network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

# Heading, key of a row, how it is written.
COLUMNS = (
    ("pairs", "pairs", "{:,}"),
    ("wanted", "share_wanted", "{:.1%}"),
    ("had", "share_had", "{:.1%}"),
    ("audited", "audited_pairs", "{:,}"),
    ("dup x", "duplicate_x", "{:,}"),
    ("dup y", "duplicate_y", "{:,}"),
    ("dup doc", "duplicate_document", "{:,}"),
    ("masked", "masked_per_query", "{:.3f}"),
    ("negatives", "negatives_per_query", "{:,.1f}"),
    ("cut x", "cut_x", "{:.1%}"),
    ("cut y", "cut_y", "{:.1%}"),
    ("tokens x", "tokens_x", "{:.1f}"),
    ("tokens y", "tokens_y", "{:.1f}"),
    ("padding", "padding", "{:.1%}"),
)
MEANING = {
    "pairs": "pairs in all steps of this run (those of a continued run begin where it does)",
    "share_wanted": "share of the pairs that the source's weight asks for",
    "share_had": "share of the pairs that it had, over all steps",
    "audited_pairs": "pairs of the audited steps; what follows is about these",
    "duplicate_x": "pairs that repeat the x of another pair before them in the same global batch",
    "duplicate_y": "the same of y",
    "duplicate_document": "the same of the document or repository that a pair comes from",
    "masked_per_query": "answers of other pairs per x that the loss left out since they are right ones too",
    "negatives_per_query": "wrong answers per x that were left, of all ranks and with hard negatives",
    "cut_x": "share of the x that lost tokens to truncation",
    "cut_y": "share of the y that did",
    "tokens_x": "mean tokens of an x, after truncation and dropout",
    "tokens_y": "the same of a y",
    "padding": "share of padding among the encoder's tokens; of a source, in batches of it alone",
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}td,th{padding:.2rem .7rem;"
    "border-bottom:1px solid #ddd;text-align:right;font-variant-numeric:tabular-nums}td:first-child,th:first-child"
    "{text-align:left}pre{background:#f5f5f5;padding:.7rem;white-space:pre-wrap;overflow-wrap:anywhere}"
)


def json_text(audit: dict[str, Any]) -> str:
    """Strict JSON: no NaN, numbers to six figures."""
    return json.dumps(_short(audit), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def table(audit: dict[str, Any]) -> list[str]:
    """One line per source, and one of all where there are several."""
    rows = [["batches", *(title for title, _, _ in COLUMNS)], *_rows(audit)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            c.rjust(w) if at else c.ljust(w) for at, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in rows
    ]


def _rows(audit: dict[str, Any]) -> Iterator[list[str]]:
    for name, row in _named(audit):
        yield [name, *("-" if row[key] is None else form.format(row[key]) for _, key, form in COLUMNS)]


def _named(audit: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from audit["sources"].items()
    if len(audit["sources"]) > 1:
        yield "all", audit["all"]


def page(audit: dict[str, Any]) -> str:
    """The audit for people."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Batch audit</title><style>{_STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n<h1>Batch audit</h1>\n'
        + "\n".join(_body(audit))
        + "\n</body></html>\n"
    )


def _body(audit: dict[str, Any]) -> Iterator[str]:
    yield (
        f"<p>Steps {audit['first_step']:,} to {audit['last_step']:,}, {audit['batch_size']:,} pairs in each, on "
        f"{audit['ranks']} rank{'s'[: audit['ranks'] > 1]}; {len(audit['audited_steps']):,} of them audited.</p>"
    )
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *(title for title, _, _ in COLUMNS)))
    lines = "\n".join(_line("td", cells) for cells in _rows(audit))
    yield f"<table><tr>{head}</tr>\n{lines}</table>"
    meanings = "".join(f"<li><b>{escape(t)}</b>: {escape(MEANING[key])}</li>" for t, key, _ in COLUMNS)
    yield f"<details><summary>What the columns say</summary><ul>{meanings}</ul></details>"
    yield "<h2>Pairs as the model sees them</h2>"
    for pair in audit["pairs"]:
        yield f"<h3>{escape(pair['source'])}, step {pair['step']:,}: <code>{escape(pair['id'])}</code></h3>"
        for side in "xy":
            cut = {True: ", cut", False: ", whole", None: ""}[pair[f"cut_{side}"]]
            yield f"<p>{side}, {pair[f'tokens_{side}']} tokens{cut}</p><pre>{escape(pair[side])}</pre>"


def _line(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
