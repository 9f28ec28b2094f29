"""The loss alone, forward and backward: info_nce against the plain cross-entropy and open_clip's ClipLoss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import Record, alternate, parser, run, say, summary, table
from benchmarks.loss_methods import WIDTH, Lone, clip_name, products
from benchmarks.processes import Worker, closing_all
from lightning_cpt.errors import ConfigError
from lightning_cpt.memory import free_memory

_SIZES = {"cpu": (4096, 8192, 16384, 32768, 65536), "cuda": (4096, 8192, 16384, 32768, 65536, 131072, 262144)}
_ONCE_FROM = 65536  # on a CPU: minutes each
_MATRICES = (
    6  # of N x N that the peers hold at their peak: products, log-softmax and gradient of two directions
)
NAMES = {
    "ours": "ours",
    "plain": "plain cross-entropy",
    "clip": "open_clip's ClipLoss",
    "products": "matrix products",
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("loss", __doc__, repetitions=5)
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    options.add_argument(
        "--sizes", type=int, nargs="+", metavar="N", help="pairs; default: 4,096 and on, doubled"
    )
    args = options.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device: cuda, but torch finds no GPU here; use --device cpu")
    sizes = args.sizes or ((256, 512) if args.quick else _SIZES[args.device])
    settings = {
        "device": args.device,
        "threads": args.threads,
        "quick": args.quick,
        "width": WIDTH,
        "clip": clip_name(),
    }
    record = Record(args.json, "loss", settings, fresh=args.fresh)
    for size in sizes:
        once = args.device == "cpu" and size >= _ONCE_FROM
        measure(record, size, 1 if once else args.repetitions, args.device, args.threads)
        record.finish(summarise(record))
    print(report(record.data))


def measure(record: Record, size: int, repetitions: int, device: str, threads: int) -> None:
    """All methods at one size, in turn, each in a process of its own; then what they find, compared."""
    names = [name for name in NAMES if _fits(record, name, size, device)]
    labels = {name: f"{name} {size}" for name in names}
    with closing_all({}) as workers:
        if any(len(record.runs(label)) < repetitions for label in labels.values()):
            for name in names:
                workers[name] = Worker(
                    Lone, name, size, device, threads, preload=("benchmarks.loss_methods",)
                )
            steps = {labels[name]: partial(workers[name].ask, "step") for name in names}
            alternate(record, steps, repetitions, _log)
        if "plain" in names and not record.runs(f"difference {size}"):
            found = {name: Lone(name, size, device, threads).gradients() for name in ("ours", "plain")}
            record.add(f"difference {size}", difference(found["ours"], found["plain"]))
            if device == "cuda":
                torch.cuda.empty_cache()  # the next size's methods need the room


def _log(name: str, done: Mapping[str, float]) -> None:
    say(f"{name}: {done['seconds']:.2f} s, {done['peak_mib']:,.0f} MiB")


def _fits(record: Record, name: str, size: int, device: str) -> bool:
    if name in ("ours", "products"):
        return True
    need = _MATRICES * 4 * size**2
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else free_memory()
    if record.runs(f"{name} {size}") or need < 0.85 * free:
        return True
    say(f"{name} {size}: about {need / 2**30:.0f} GiB, more than is free: left out")
    record.data.setdefault("left_out", {})[f"{name} {size}"] = f"needs about {need / 2**30:.0f} GiB"
    return False


def difference(ours: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> dict[str, float]:
    """Norm of the difference over the plain one's norm: of the loss, of each gradient, and the largest."""
    parts = {name: float((ours[name] - plain[name]).norm() / plain[name].norm()) for name in plain}
    return {**parts, "max": max(parts.values())}


def summarise(record: Record) -> dict[str, Any]:
    """Rows by size and method, and the keys by size."""
    sizes = sorted({int(label.split()[1]) for label in record.data["runs"]})
    rows: dict[str, dict[str, Any]] = {str(size): {} for size in sizes}
    for size in sizes:
        for name in NAMES:
            if steps := record.runs(f"{name} {size}"):
                seconds = summary([step["seconds"] for step in steps])
                rows[str(size)][name] = {
                    "seconds": seconds,
                    "peak_mib": max(step["peak_mib"] for step in steps),
                }
    return {
        "rows": rows,
        "products": {str(size): products(size) for size in sizes},
        "speed_of_products": {size: _of(row, "products", "ours") for size, row in rows.items()},
        "speedup_vs_plain": {size: _of(row, "plain", "ours") for size, row in rows.items()},
        "speedup_vs_clip": {size: _of(row, "clip", "ours") for size, row in rows.items()},
        "difference": {str(size): found[0] for size in sizes if (found := record.runs(f"difference {size}"))},
    }


def _of(row: Mapping[str, Any], one: str, other: str) -> float | None:
    if one not in row or other not in row:
        return None
    ratio: float = row[one]["seconds"]["median"] / row[other]["seconds"]["median"]
    return ratio


def report(data: Mapping[str, Any]) -> str:
    """The table of a run."""
    rows = []
    names = {**NAMES, "clip": data["settings"]["clip"]}
    for size, methods in data["rows"].items():
        for name, row in methods.items():
            found = data["difference"].get(size, {}).get("max") if name == "ours" else None
            seconds = row["seconds"]
            label = f"{int(size):,}  {names[name]}" + (
                f", {data['products'][size]}" if name == "products" else ""
            )
            cells = [
                seconds["median"],
                seconds["low"],
                seconds["high"],
                len(seconds["values"]),
                round(row["peak_mib"]),
            ]
            rows.append([label, *cells, None if found is None else f"{found:.1e}"])
    for label, why in data.get("left_out", {}).items():
        rows.append([f"{int(label.split()[1]):,}  {names[label.split()[0]]} ({why})", *[None] * 6])
    header = ["pairs, loss", "seconds, median", "low", "high", "times", "peak MiB", "difference"]
    speed = {size: f"{value:.0%}" for size, value in data["speed_of_products"].items() if value}
    return f"{table(header, rows)}\nspeed of the same products alone that ours has: {speed}"


if __name__ == "__main__":
    run(main)
