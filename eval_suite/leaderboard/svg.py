"""Small pieces of inline SVG: scales with round ticks, axes, markers. Colours are the page's classes s0..s7."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

COLOURS = 8


@dataclass(frozen=True)
class Scale:
    """A line from data (low..high) to pixels (start..end); log: of the logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, v = (
            (math.log10(x) for x in (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        return self.start + (self.end - self.start) * (v - low) / (high - low)


def scale(values: list[float], start: float, end: float) -> Scale:
    """Linear, from round number to round number around the values."""
    low, high = min(values), max(values)
    step = _step(high - low)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return Scale(low, high if high > low else low + step, start, end)


def log_scale(values: list[float], start: float, end: float) -> Scale:
    """Of positive values, with a margin of a third of a decade."""
    return Scale(min(values) / 2, max(values) * 2, start, end, log=True)


def ticks(s: Scale) -> list[float]:
    """Round numbers on a linear scale, powers of ten on a logarithmic one (also their triples where there are few)."""
    if s.log:
        decades = range(math.floor(math.log10(s.low)), math.ceil(math.log10(s.high)) + 1)
        found = [10.0**d for d in decades if s.low <= 10.0**d <= s.high]
        if len(found) < 3:
            found = sorted(m * 10.0**d for d in decades for m in (1, 3) if s.low <= m * 10.0**d <= s.high)
        return found
    step = _step(s.high - s.low)
    first = math.ceil(s.low / step - 1e-9)
    return [n * step for n in range(first, math.floor(s.high / step + 1e-9) + 1)]


def _step(span: float) -> float:
    if span <= 0:
        return 1.0
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough - 1e-12)


def number(value: float) -> str:
    """A tick's label: 1200000 is 1.2M."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.6g}"


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    extra = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def marker(x: float, y: float, series: int, kind: str = "dot", size: float = 4.5) -> str:
    """A circle, square or diamond by the series: colour is never the only difference."""
    shape = series % 3
    if shape == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" class="{kind}"/>'
    side = size * 1.75
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if shape == 2 else ""
    return f'<rect x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}" class="{kind}"{turn}/>'


def marked(name: str, kind: str, inside: str, series: int | None = None, title: str = "") -> str:
    """A group that the page's filter hides with its row."""
    colour = f' class="s{series % COLOURS}"' if series is not None else ""
    words = f"<title>{escape(title)}</title>" if title else ""
    return f'<g data-mark="{escape(name.lower())}" data-kind="{kind}"{colour}>{words}{inside}</g>'


def drawing(width: float, height: float, label: str, inside: str) -> str:
    """The whole picture, with a name for those who cannot see it."""
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">\n{inside}\n</svg>'
