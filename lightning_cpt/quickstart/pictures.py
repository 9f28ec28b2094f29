"""The quickstart's picture: the loss over the steps, and the search scores with their intervals."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

_GREY, _BLUE, _ORANGE = "#9aa5b1", "#2563a8", "#e07b39"


@dataclass(frozen=True)
class Bar:
    """One row of the score panel: a name, an MRR in 0..1 and its 95 % interval."""

    name: str
    score: float
    low: float
    high: float
    ours: bool


@dataclass(frozen=True)
class Curve:
    """The training's course: loss and speed at some steps, the validation pool's MRR at fewer."""

    steps: Sequence[int]
    loss: Sequence[float]
    val_steps: Sequence[int]
    val_mrr: Sequence[float]
    pairs_per_second: Sequence[float]


def draw(curve: Curve, bars: Sequence[Bar], png: Path) -> str:
    """Write the picture as ``png``, and return it as SVG text for a page that needs no other file."""
    with plt.rc_context({"font.size": 9, "svg.hashsalt": "quickstart", "axes.spines.top": False}):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(10, 3.4), layout="constrained", width_ratios=[1, 1.1]
        )
        _course(left, curve)
        _scores(right, bars)
        figure.savefig(png, dpi=150)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        plt.close(figure)
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]


def _course(axes: Axes, curve: Curve) -> None:
    axes.plot(curve.steps, curve.loss, color=_BLUE, lw=1.5)
    axes.set(xlabel="step", ylabel="training loss (nats)", title="Training", ylim=(0, None))
    axes.yaxis.label.set_color(_BLUE)
    if curve.val_steps:
        other = axes.twinx()
        other.plot(curve.val_steps, curve.val_mrr, color=_ORANGE, lw=1.5, marker="o", ms=3)
        other.set(ylabel="MRR, validation pool", ylim=(0, 1))
        other.yaxis.label.set_color(_ORANGE)


def _scores(axes: Axes, bars: Sequence[Bar]) -> None:
    axes.spines["right"].set_visible(False)
    for place, bar in enumerate(reversed(bars)):
        axes.barh(place, bar.score, color=_BLUE if bar.ours else _GREY, height=0.6)
        axes.plot([bar.low, bar.high], [place, place], color="black", lw=1.2)
        axes.text(bar.high + 0.012, place, f"{bar.score:.3f}", va="center")
    axes.set_yticks(range(len(bars)), [bar.name for bar in reversed(bars)])
    axes.set(
        xlim=(0, 1), xlabel="MRR, 1,000 queries x 1,000 functions", title="Code search, packages never seen"
    )
