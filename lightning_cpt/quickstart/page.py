"""The quickstart's report as one HTML page that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2933 }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .3rem .8rem; border-bottom: 1px solid #d9e0e7;
text-align: left; vertical-align: top } td.number { text-align: right; font-variant-numeric: tabular-nums }
svg { max-width: 100%; height: auto } code { font-size: .85em } .right { font-weight: bold; color: #1c7c3c }
details { margin: 1rem 0 } .small { color: #52606d; font-size: .9rem }
"""

Example = tuple[str, list[str], int]


def page(
    report: dict[str, Any], table: Sequence[tuple[str, str]], svg: str, examples: Sequence[Example]
) -> str:
    """The page.

    Args:
        report: What report.json holds.
        table: Name and value of each line of the summary.
        svg: The picture.
        examples: Query and names, escaped for HTML, and the rank of the right function.
    """
    held_out = ", ".join(f"{name} {report['corpus'][name]}" for name in report["held_out"])
    trained_on = len(report["corpus"]) - len(report["held_out"]) - len(report["validation"])
    rows = "".join(f"<tr><td>{escape(n)}</td><td class=number>{escape(v)}</td></tr>" for n, v in table)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>lightning_cpt quickstart</title><style>{_STYLE}</style></head><body>
<h1>lightning_cpt quickstart</h1>
<p>An encoder that learned from the docstrings of {trained_on} installed Python
packages, measured on packages that it never saw: {escape(held_out)}.</p>
{svg}
<table>{rows}</table>
<p class=small>Search: each of 1,000 docstrings against 1,000 functions without their docstrings; mean reciprocal rank,
ties count against the contestant; lines on the bars and intervals: 95 %, bootstrap over the queries. Probe: which of 20
sub-packages a docstring is from, their names masked, logistic regression on the embeddings, 5 folds, chance 5 %.</p>
<h2>Eight queries, evenly spaced, none chosen by hand</h2>
<table><tr><th>docstring</th><th>first three of 1,000</th><th>rank</th></tr>{"".join(map(_row, examples))}</table>
<details><summary>Versions of the packages</summary><p class=small>{_versions(report)}</p></details>
<details><summary>The pool's ids</summary><p class=small>{"<br>".join(map(escape, report["pool"]))}</p></details>
</body></html>
"""


def _row(example: Example) -> str:
    query, names, rank = example
    shown = "<br>".join(
        f"<code class={'right' if place == rank else 'other'}>{name}</code>"
        for place, name in enumerate(names, 1)
    )
    return f"<tr><td>{query}</td><td>{shown}</td><td class=number>{rank}</td></tr>"


def _versions(report: dict[str, Any]) -> str:
    return ", ".join(f"{escape(name)} {escape(version)}" for name, version in report["corpus"].items())
