"""Runs every benchmark: a table on the screen, JSON under benchmarks/results/."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import shards


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    shards.main(["--json", str(parser.parse_args().out / "shards.json")])


if __name__ == "__main__":
    main()
