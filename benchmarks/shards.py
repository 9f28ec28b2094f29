"""Reading pairs: our shards against the webdataset library on one .json member per pair, the same pairs."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

from data_prep.code import mine
from data_prep.pairs import Pair
from data_prep.shards import PairShards, write_shards

REPETITIONS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shards", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    parser.add_argument("--pairs", type=int, default=20_000, metavar="N", help="default: %(default)s")
    args = parser.parse_args(arguments)
    result = measure(_pairs(args.pairs))
    print(f"{'reader':<34}{'pairs/s, median':>16}{'low':>10}{'high':>10}{'MB on disk':>12}")
    for name, row in result["readers"].items():
        print(f"{name:<34}{row['median']:>16,.0f}{row['low']:>10,.0f}{row['high']:>10,.0f}{row['mb']:>12.1f}")
    print(f"speed-up {result['speedup']:.1f}x, size {result['size_ratio']:.2f}x")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _pairs(number: int) -> list[Pair]:
    """Real code pairs: the installed torch's, repeated under new ids where there are too few."""
    import torch

    mined = list(mine([Path(torch.__path__[0])], languages=["python"]))
    return [
        Pair(id=f"{i}:{p.id}", x=p.x, y=p.y, source=p.source, meta=p.meta)
        for i, p in ((i, mined[i % len(mined)]) for i in range(number))
    ]


def measure(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Read all pairs with either reader in turn, five times; speeds in pairs per second."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "pairs.tar")
        write_shards(ours, pairs, source="bench")
        _write_classic(theirs, pairs)
        readers: dict[str, tuple[Callable[[], int], float]] = {
            "lightning_cpt shards": (lambda: sum(1 for _ in PairShards.open(ours)), _size(ours)),
            "webdataset, one .json per pair": (lambda: _read_classic(theirs), theirs.stat().st_size / 1e6),
        }
        speeds: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(REPETITIONS):
            for name, (read, _) in readers.items():
                start = time.perf_counter()
                count = read()
                speeds[name].append(count / (time.perf_counter() - start))
                if count != len(pairs):
                    raise RuntimeError(f"{name}: read {count} of {len(pairs)} pairs")
    rows = {
        name: {"median": statistics.median(s), "low": min(s), "high": max(s), "mb": readers[name][1]}
        for name, s in speeds.items()
    }
    ours_row, peer_row = rows.values()
    return {
        "readers": rows,
        "speedup": ours_row["median"] / peer_row["median"],
        "size_ratio": ours_row["mb"] / peer_row["mb"],
        "pairs": len(pairs),
        "repetitions": REPETITIONS,
        "peer": f"webdataset {version('webdataset')}",
        "python": platform.python_version(),
    }


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _write_classic(path: Path, pairs: Sequence[Pair]) -> None:
    with tarfile.open(path, "w") as tar:
        for number, pair in enumerate(pairs):
            raw = json.dumps(pair.to_dict()).encode()
            member = tarfile.TarInfo(f"{number:08d}.json")
            member.size = len(raw)
            tar.addfile(member, BytesIO(raw))


def _read_classic(path: Path) -> int:
    import webdataset

    records = webdataset.WebDataset(str(path), shardshuffle=False)
    return sum(1 for sample in records if json.loads(sample["json"])["x"])


if __name__ == "__main__":
    main()
