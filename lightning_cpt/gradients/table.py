"""Renders the rows as text: a line per case and number of ranks, columns per precision and group."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_cpt.gradients.measure import Distance
from lightning_cpt.gradients.verdict import BF16_ROUNDING, CHUNKS_FACTOR, LIMITS, Row

WIDEST = 120  # characters; what is wider is set one below the other
_CELL = "error  ratio    cos"
_GAP = "  "
_RED, _GREEN, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[0m"


def law_table(rows: Sequence[Row], color: bool = False) -> str:
    """The rows of float64 and float32: side by side where that is narrow enough."""
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    if max(len(line) for line in _block(rows, dtypes, color=False)) <= WIDEST:
        return "\n".join(_block(rows, dtypes, color))
    parts = [_block([row for row in rows if row.dtype == dtype], [dtype], color) for dtype in dtypes]
    return "\n\n".join("\n".join(part) for part in parts)


def _block(rows: Sequence[Row], dtypes: Sequence[str], color: bool) -> list[str]:
    groups = list(dict.fromkeys(row.group for row in rows))
    columns = [(dtype, group) for dtype in dtypes for group in groups]
    label = max(len(row.case) for row in rows)
    lines = _heads(dtypes, groups, label + 7)
    before = ""
    for case, ranks in dict.fromkeys((row.case, row.world_size) for row in rows):
        here = {(row.dtype, row.group): row for row in rows if (row.case, row.world_size) == (case, ranks)}
        cells = _GAP.join(_painted(_cell(here[at].distance), here[at].ok, color) for at in columns)
        name = "" if case == before else case
        lines.append(f"{name:<{label}}  {ranks:>3}  {cells}  {_mark([*here.values()], color)}")
        before = case
    return lines


def _heads(dtypes: Sequence[str], groups: Sequence[str], left: int) -> list[str]:
    """Three lines above the columns: precision, group, and what the numbers are."""
    span = len(groups) * (len(_CELL) + len(_GAP)) - len(_GAP)
    tops = [f"{dtype} (law: error below {LIMITS[dtype]:.0e})" for dtype in dtypes]
    names = [f"{group:<{len(_CELL)}}" for _ in dtypes for group in groups]
    return [
        (" " * left + _GAP.join(f"{top:<{span}}" for top in tops)).rstrip(),
        (" " * left + _GAP.join(names)).rstrip(),
        "ranks  ".rjust(left) + _GAP.join([_CELL] * len(names)),
    ]


def _cell(found: Distance) -> str:
    return f"{_number(found.relative_error)} {_fixed(found.ratio)} {_fixed(found.cosine)}"


def _number(value: float) -> str:
    if value == 0:
        return f"{'0':>5}"
    return f"{value:5.0e}" if math.isfinite(value) else f"{value!s:>5}"


def _fixed(value: float) -> str:
    return f"{value:6.4f}" if math.isfinite(value) and abs(value) < 10 else f"{value:6.3g}"


def _mark(rows: Sequence[Row], color: bool) -> str:
    good = all(row.ok for row in rows)
    return _painted("ok" if good else "BROKEN", good, color, _GREEN)


def _painted(text: str, good: bool, color: bool, when_good: str = "") -> str:
    paint = when_good if good else _RED
    return f"{paint}{text}{_PLAIN}" if color and paint else text


def mixed_table(rows: Sequence[Row], color: bool = False) -> str:
    """The rows of bf16-mixed: how far one chunk and many chunks are from float32."""
    groups = list(dict.fromkeys(row.group for row in rows))
    cases = list(dict.fromkeys(row.case for row in rows))
    label = max(map(len, cases)) + 2
    lines = [
        "bf16-mixed against float32, one process (law: many chunks no further off than one, but for noise: "
        f"{CHUNKS_FACTOR}x,",
        f"or {BF16_ROUNDING:.1e} where a group is a single number)",
        (" " * label + _GAP.join(f"{group:<{len(_CELL)}}" for group in groups)).rstrip(),
        " " * label + _GAP.join([_CELL] * len(groups)),
    ]
    for case in cases:
        here = {row.group: row for row in rows if row.case == case}
        cells = _GAP.join(_painted(_cell(here[group].distance), here[group].ok, color) for group in groups)
        lines.append(f"{case:<{label}}{cells}  {_mark([*here.values()], color)}")
    return "\n".join(lines)
