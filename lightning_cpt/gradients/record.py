"""What was found, as strict JSON: no NaN, no infinity."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from lightning_cpt._version import __version__
from lightning_cpt.gradients.check import Found
from lightning_cpt.gradients.verdict import BF16_ROUNDING, CHUNKS_FACTOR, LIMITS, Row, diagnose


def record(twin: Mapping[str, Any], found: Found, world_sizes: Sequence[int]) -> dict[str, Any]:
    """All numbers of a check, its bounds and the versions it ran with."""
    rows = [*found.law, *found.mixed]
    return {
        "holds": found.holds,
        "diagnosis": diagnose(rows),
        "law": {
            "relative_error_below": LIMITS,
            "bf16_mixed_many_chunks_over_one_chunk": CHUNKS_FACTOR,
            "bf16_mixed_single_number_below": BF16_ROUNDING,
        },
        "world_sizes": list(world_sizes),
        "twin": dict(twin),
        "versions": _versions(),
        "rows": [_row(row) for row in rows],
    }


def _row(row: Row) -> dict[str, Any]:
    numbers = {key: _finite(value) for key, value in row.distance._asdict().items()}
    place = {"world_size": row.world_size, "case": row.case, "dtype": row.dtype, "group": row.group}
    return {**place, **numbers, "limit": _finite(row.limit), "ok": row.ok}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "transformers", "lightning")}
    return {"lightning_cpt": __version__, "python": platform.python_version(), **packages}
