"""Runs every benchmark, each in a process of its own: tables on the screen, JSON under benchmarks/results/."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = (
    "loader",
    "token_shards",
    "prep",
    "loss",
    "training",
    "batch_size",
    "learning",
    "evaluation",
    "embed",
    "serving",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: benchmarks/results; --quick: runs/benchmarks/quick"
    )
    parser.add_argument("--only", default=",".join(NAMES), metavar="LIST", help="default: %(default)s")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="evaluation data: adds learning's text parts"
    )
    parser.add_argument("--go-on", action="store_true", help="go on with an interrupted run, else begin anew")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing"
    )
    args = parser.parse_args()
    args.out = args.out or Path("runs/benchmarks/quick" if args.quick else "benchmarks/results")
    wanted = args.only.split(",")
    if unknown := set(wanted) - set(NAMES):
        parser.error(f"--only: {sorted(unknown)[0]!r} is none of {', '.join(NAMES)}")
    failed = [name for name in wanted if subprocess.run([*command(name, args)], check=False).returncode]
    if failed:
        sys.exit(f"error: failed: {', '.join(failed)}")


def command(name: str, args: argparse.Namespace) -> Iterator[str]:
    """The command line of one benchmark."""
    print(f"\n== {name}", flush=True)
    yield from (sys.executable, "-m", f"benchmarks.{name}", "--json", str(args.out / f"{name}.json"))
    if args.quick:
        yield "--quick"
    if not args.go_on:
        yield "--fresh"
    if name == "learning":
        yield from ("--data", str(args.data)) if args.data else ("--parts", "code")
    if name == "evaluation":
        yield from ("--data", str(args.data)) if args.data else ("--parts", "retrieval")


if __name__ == "__main__":
    main()
