"""What the training benchmark's repetitions come to: speed-ups, ratios, utilisation, the table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common import summary, table


def summarise(
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    chosen: Mapping[str, Any],
    check: Mapping[str, Any],
    facts: Mapping[str, Any],
    pairs: int,
) -> dict[str, Any]:
    """The keys that the repetitions come to; speed-ups are ratios of medians of pairs/s."""
    rows = {
        name: {
            "pairs_per_second": summary([pairs / step["seconds"] for step in steps]),
            "peak_mib": max(step["peak_mib"] for step in steps),
        }
        for name, steps in results.items()
    }
    speed = {name: row["pairs_per_second"]["median"] for name, row in rows.items()}

    def ratio(one: str | None, other: str) -> float | None:
        return speed[one] / speed[other] if one in speed and other in speed else None

    best = max((name for name in rows if name.startswith("ours")), key=lambda name: speed[name])
    fastest = max((name for name in rows if name.startswith("peer")), key=lambda name: speed[name])
    return {
        "ours": {name: row for name, row in rows.items() if name.startswith("ours")},
        "peers": {name: row for name, row in rows.items() if name.startswith("peer")},
        "plain": rows.get("plain step"),
        "chosen": dict(chosen),
        "speedup_vs_best_peer": ratio(best, "peer, cached"),
        "speedup_equal_memory": ratio("ours, at the peer's memory", "peer, cached"),
        "speedup_vs_sorted_peer": ratio(best, "peer, cached, sorted"),
        "speedup_equal_memory_vs_sorted": _within(rows, speed, "peer, cached, sorted"),
        "speedup_vs_plain_peer": ratio(best, "peer, plain loss"),
        "speedup_vs_fastest_peer": ratio(best, fastest),
        "fastest_peer": fastest,
        "gradient_difference": check["gradient_difference"],
        "embedding_difference": check["embedding_difference"],
        "keep_all_vs_plain": ratio("plain step", "ours, keeping all"),
        "recompute_all_vs_plain": ratio("plain step", "ours, recomputing all"),
        "paired_keep_all_vs_plain": _paired(results, "ours, keeping all", "plain step"),
        "paired_recompute_all_vs_plain": _paired(results, "ours, recomputing all", "plain step"),
        **_utilisation(facts, speed, pairs),
        "definitions": _DEFINITIONS,
    }


def _within(rows: Mapping[str, Any], speed: Mapping[str, float], peer: str) -> float | None:
    """The best of ours among those with no higher a peak than the peer's, over the peer."""
    if peer not in rows:
        return None
    limit = rows[peer]["peak_mib"]
    found = [
        speed[name] for name, row in rows.items() if name.startswith("ours") and row["peak_mib"] <= limit
    ]
    return max(found) / speed[peer] if found else None


def _paired(results: Mapping[str, Sequence[Mapping[str, Any]]], one: str, other: str) -> float | None:
    """Median over the repetitions of the ratio of neighbouring steps' seconds."""
    if one not in results or other not in results:
        return None
    steps = zip(results[one], results[other], strict=True)
    return statistics.median(a["seconds"] / b["seconds"] for a, b in steps)


def _utilisation(facts: Mapping[str, Any], speed: Mapping[str, float], pairs: int) -> dict[str, Any]:
    if not facts:
        return {}
    ours = {name: value for name, value in speed.items() if name.startswith("ours")}
    used = {name: facts["model_flops_per_step"] * value / pairs for name, value in ours.items()}
    return {
        "mfu": {
            table: {name: flops / peak for name, flops in used.items()} if peak else None
            for table, peak in facts["peaks"].items()
        },
        "peak_flops": facts["peaks"],
    }


_DEFINITIONS = {
    "speedup_vs_best_peer": "ours at its best, over the cached loss in its best setting, pairs in their own order",
    "speedup_equal_memory": "ours with a peak no higher than that cached setting's, over it",
    "speedup_vs_sorted_peer": "ours at its best, over the cached loss in its best setting on pairs sorted by length",
    "speedup_equal_memory_vs_sorted": "the best of ours with a peak no higher than that of the sorted one, over it",
    "speedup_vs_plain_peer": "ours at its best, over MultipleNegativesRankingLoss on the whole batch",
    "speedup_vs_fastest_peer": "ours at its best, over the fastest of all these",
    "gradient_difference": "norm of the difference of the backbone's gradients over the peer's norm, float32",
    "keep_all_vs_plain": "seconds of ours keeping all, over those of the plain step: same sorted chunks, bare backbone",
    "peak_mib": "highest growth of memory in a step: resident memory of the process on CPU, allocated on CUDA",
}


def report(data: Mapping[str, Any]) -> str:
    """The table of a finished run."""
    rows = []
    for name, row in {**data["ours"], **data["peers"], "plain step": data["plain"]}.items():
        if row:
            speed = row["pairs_per_second"]
            rows.append([name, speed["median"], speed["low"], speed["high"], round(row["peak_mib"])])
    for name, why in data.get("left_out", {}).items():
        rows.append([f"{name} ({why})", None, None, None, None])
    lines = [table(["step", "pairs/s, median", "low", "high", "peak MiB"], rows), f"chosen: {data['chosen']}"]
    keys = [
        key for key in data if key.startswith(("speedup", "gradient", "keep", "recompute", "paired", "mfu"))
    ]
    shown = [
        f"{key}: {data[key]:.3g}" if isinstance(data[key], float) else f"{key}: {data[key]}" for key in keys
    ]
    return "\n".join([*lines, *shown])
