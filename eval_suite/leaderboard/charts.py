"""The plots of one board: score by task, over training steps, by model size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from eval_suite.leaderboard.svg import (
    COLOURS,
    Scale,
    drawing,
    line,
    log_scale,
    marked,
    marker,
    number,
    scale,
    text,
    ticks,
)
from eval_suite.leaderboard.view import Cell, Row, View

WIDTH = 520


@dataclass(frozen=True)
class Axis:
    """Something that has a score for each row: a column or an average."""

    key: str
    label: str
    average: bool

    def cell(self, row: Row) -> Cell | None:
        found = row.averages.get(self.key) if self.average else row.cells.get(self.key)
        return found if isinstance(found, Cell) else None


def charts(view: View) -> str:
    """All plots that the board's rows allow; "" where there are none."""
    rows = [
        row for block in view.blocks if not block.apart for row in block.rows
    ]  # one picture is one ranking
    axes = [Axis(a.key, a.label, True) for a in view.averages] + [
        Axis(c.key, c.label, False) for c in view.columns
    ]
    ours = [row for row in rows if row.ours]
    colour = {name: n for n, name in enumerate(dict.fromkeys(r.name for r in ours))}
    made = [
        _by_task(view, axes, rows, colour),
        *_over_steps(view, axes, ours),
        _by_size(view, axes, rows, colour),
    ]
    found = [figure for figure in made if figure]
    return f'<div class="plots">{"".join(found)}</div>' if found else ""


def _figure(caption: str, svg: str, key: str = "") -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>\n{svg}{key}</figure>"


def _key(colour: dict[str, int], published: bool) -> str:
    items = [_item(n, name) for name, n in colour.items()]
    if published:
        dot = (
            '<svg viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="3.5" class="other"/></svg>'
        )
        items.append(f'<li data-mark="" data-kind="published">{dot}published, measured in other ways</li>')
    return f'<ul class="key">{"".join(items)}</ul>'


def _item(n: int, name: str) -> str:
    dot = f'<svg viewBox="0 0 12 12" aria-hidden="true">{marker(6, 6, n)}</svg>'
    return f'<li class="s{n % COLOURS}" data-mark="{escape(name.lower())}" data-kind="ours">{dot}{escape(name)}</li>'


def _by_task(view: View, axes: Sequence[Axis], rows: Sequence[Row], colour: dict[str, int]) -> str:
    used = [axis for axis in axes if any(axis.cell(row) for row in rows)]
    values = [
        v for axis in used for row in rows if (c := axis.cell(row)) for v in (c.value, *(c.interval or ()))
    ]
    if not values:
        return ""
    left = 22 + 7.0 * max(len(axis.label) for axis in used)
    x = scale(values, left, WIDTH - 14)
    bands = [18 + 9 * len(colour) * any(row.ours and axis.cell(row) for row in rows) for axis in used]
    bottom = 8 + sum(bands)
    parts = [_grid_x(x, 8, bottom)]
    for i, axis in enumerate(used):
        middle = 8 + sum(bands[:i]) + bands[i] / 2
        parts.append(text(left - 10, middle + 4, axis.label, "end", "label"))
        others = [(row, c) for row in rows if not row.ours and (c := axis.cell(row))]
        parts += [_other(row, c, x.at(c.value), middle) for row, c in others]
        for row, c in [(row, c) for row in rows if row.ours and (c := axis.cell(row))]:
            n = colour[row.name]
            parts.append(_ours(row, c, x, middle + 9 * (n - (len(colour) - 1) / 2), n))
    svg = drawing(WIDTH, bottom + 24, f"{view.title}: score by task", "\n".join(parts))
    published = any(not row.ours for row in rows)
    return _figure("Score by task, with 95 % intervals", svg, _key(colour, published))


def _grid_x(x: Scale, top: float, bottom: float) -> str:
    return "".join(
        line(x.at(t), top, x.at(t), bottom, "grid") + text(x.at(t), bottom + 16, number(t), "middle")
        for t in ticks(x)
    )


def _grid_y(y: Scale, left: float, right: float) -> str:
    return "".join(
        line(left, y.at(t), right, y.at(t), "grid") + text(left - 6, y.at(t) + 4, number(t), "end")
        for t in ticks(y)
    )


def _other(row: Row, c: Cell, x: float, y: float) -> str:
    return marked(row.name, "published", marker(x, y, 0, "other", 3.2), title=f"{row.name}: {c.text}")


def _ours(row: Row, c: Cell, x: Scale, y: float, n: int) -> str:
    bar = line(x.at(c.interval[0]), y, x.at(c.interval[1]), y, "bar") if c.interval else ""
    return marked(row.name, "ours", bar + marker(x.at(c.value), y, n), n, f"{row.name}: {c.text}")


def _over_steps(view: View, axes: Sequence[Axis], ours: Iterable[Row]) -> list[str]:
    """One plot for each average or task in which a run has two checkpoints or more."""
    runs: dict[str, list[Row]] = {}
    for row in ours:
        if row.step is not None:
            runs.setdefault(row.run, []).append(row)
    made = []
    for axis in axes:
        series = {run: _points(axis, rows) for run, rows in runs.items()}
        series = {run: points for run, points in series.items() if len(points) > 1}
        if series:
            made.append(_steps_figure(view, axis, series))
    return made


def _points(axis: Axis, rows: Iterable[Row]) -> list[tuple[int, Cell]]:
    found = [(row.step, cell) for row in rows if row.step is not None and (cell := axis.cell(row))]
    return sorted(found, key=lambda point: point[0])


def _steps_figure(view: View, axis: Axis, series: dict[str, list[tuple[int, Cell]]]) -> str:
    left, right, top, bottom = 46, WIDTH - 14, 8, 190
    cells = [c for points in series.values() for _, c in points]
    y = scale([v for c in cells for v in (c.value, *(c.interval or ()))], bottom, top)
    x = scale([float(step) for points in series.values() for step, _ in points], left, right)
    parts = [_grid_y(y, left, right)]
    parts += [text(x.at(t), bottom + 16, number(t), "middle") for t in ticks(x)]
    for n, (run, points) in enumerate(series.items()):
        parts.append(marked(run, "ours", _curve(points, x, y, n), n, run))
    svg = drawing(WIDTH, bottom + 24, f"{view.title}: {axis.label} over training steps", "\n".join(parts))
    key = _key({run: n for n, run in enumerate(series)}, False)
    return _figure(f"{axis.label} over training steps", svg, key)


def _curve(points: list[tuple[int, Cell]], x: Scale, y: Scale, n: int) -> str:
    path = " ".join(f"{x.at(step):.1f},{y.at(c.value):.1f}" for step, c in points)
    band = ""
    if all(c.interval for _, c in points):
        low = [f"{x.at(s):.1f},{y.at(c.interval[0]):.1f}" for s, c in points if c.interval]
        high = [f"{x.at(s):.1f},{y.at(c.interval[1]):.1f}" for s, c in reversed(points) if c.interval]
        band = f'<polygon points="{" ".join(low + high)}" class="band"/>'
    dots = "".join(marker(x.at(step), y.at(c.value), n, size=3.5) for step, c in points)
    return f'{band}<polyline points="{path}" class="path line"/>{dots}'


def _by_size(view: View, axes: Sequence[Axis], rows: Sequence[Row], colour: dict[str, int]) -> str:
    sized = [row for row in rows if row.parameters]
    counted = [
        (sum(bool(axis.cell(r)) for r in sized if r.ours), sum(bool(axis.cell(r)) for r in sized))
        for axis in axes
    ]
    if not counted or max(counted)[1] < 2:
        return ""
    axis = axes[counted.index(max(counted))]
    points = [(row, c) for row in sized if (c := axis.cell(row))]
    left, right, top, bottom = 46, WIDTH - 14, 8, 190
    y = scale([v for _, c in points for v in (c.value, *(c.interval or ()))], bottom, top)
    x = log_scale([float(row.parameters or 1) for row, _ in points], left, right)
    parts = [_grid_y(y, left, right)] + [text(x.at(t), bottom + 16, number(t), "middle") for t in ticks(x)]
    parts += _families(points, x, y)
    for row, c in points:
        px, py = x.at(float(row.parameters or 1)), y.at(c.value)
        parts.append(_other(row, c, px, py) if not row.ours else _sized(row, c, px, y, colour[row.name]))
    svg = drawing(WIDTH, bottom + 24, f"{view.title}: {axis.label} by model size", "\n".join(parts))
    used = {row.name: colour[row.name] for row, _ in points if row.ours}
    return _figure(
        f"{axis.label} by number of parameters", svg, _key(used, any(not row.ours for row, _ in points))
    )


def _families(points: Sequence[tuple[Row, Cell]], x: Scale, y: Scale) -> list[str]:
    """A dashed line through the published sizes of one model, such as cpt-text S, M, L, XL."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row, c in points:
        if not row.ours:
            family = (row.name.split(" ")[0], row.detail.rpartition(" · ")[2])
            found.setdefault(family, []).append((x.at(float(row.parameters or 1)), y.at(c.value)))
    paths = {family[0]: "" for family in found}
    for (name, _), spots in found.items():
        dots = " ".join(f"{px:.1f},{py:.1f}" for px, py in sorted(spots))
        paths[name] += f'<polyline points="{dots}" class="path other"/>' if len(spots) > 1 else ""
    return [marked(name, "published", path) for name, path in paths.items() if path]


def _sized(row: Row, c: Cell, px: float, y: Scale, n: int) -> str:
    bar = line(px, y.at(c.interval[0]), px, y.at(c.interval[1]), "bar") if c.interval else ""
    return marked(row.name, "ours", bar + marker(px, y.at(c.value), n), n, f"{row.name}: {c.text}")
