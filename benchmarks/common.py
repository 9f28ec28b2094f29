"""What the benchmarks share: a JSON file that an interrupted run goes on with, statistics, tables, the environment."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data_prep.files import write_atomic
from lightning_cpt.errors import ConfigError

WORK = Path("runs/benchmarks")  # pairs, tokenizers, start weights: made once, not under version control
_PACKAGES = ("torch", "transformers", "sentence-transformers", "lightning", "numpy", "open_clip_torch")


def parser(name: str, text: str | None, *, repetitions: int | None = None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=text)
    made.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="results, saved as they come; a run of the same settings goes on",
    )
    made.add_argument("--fresh", action="store_true", help="forget what FILE holds")
    made.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    made.add_argument(
        "--work", type=Path, default=WORK, metavar="DIR", help="pairs and the like (default: %(default)s)"
    )
    made.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help="default: %(default)s")
    if repetitions:
        made.add_argument(
            "--repetitions", type=int, default=repetitions, metavar="N", help="default: %(default)s"
        )
    return made


def run(main: Callable[[], None]) -> None:
    """Call a benchmark's main; what it cannot do ends in one line, and an interruption in the way on."""
    try:
        main()
    except ConfigError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from what --json holds")


class Record:
    """Results of one benchmark, written after every measurement.

    Args:
        path: The JSON file; None keeps them in memory.
        name: Of the benchmark.
        settings: What the numbers depend on; a file of other settings is not continued.
        fresh: Start anew whatever is there.

    Raises:
        ConfigError: the file holds something else, or results of other settings.
    """

    def __init__(
        self, path: Path | None, name: str, settings: Mapping[str, Any], *, fresh: bool = False
    ) -> None:
        self.path = path
        head = {
            "benchmark": name,
            "settings": dict(settings),
            "environment": environment(settings.get("device")),
        }
        self.data: dict[str, Any] = json.loads(json.dumps({**head, "runs": {}}))
        if path and path.exists() and not fresh:
            self._continue(path)

    def _continue(self, path: Path) -> None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            parts = {part: found[part] for part in ("benchmark", "settings", "environment")}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"--json: {path} is no result of a benchmark; name another file") from error
        for part, then in parts.items():
            if then != self.data[part]:
                raise ConfigError(
                    f"--json: {path} holds results of {_difference(part, then, self.data[part])}; "
                    "name another file, or start it anew with --fresh"
                )
        self.data = found

    def runs(self, name: str) -> list[Any]:
        """What was measured under a name so far."""
        found: list[Any] = self.data["runs"].get(name, [])
        return found

    def add(self, name: str, result: Any) -> None:
        self.data["runs"].setdefault(name, []).append(result)
        self.save()

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """The first result under a name; measured now where there is none."""
        if not self.runs(name):
            self.add(name, measure())
        return self.runs(name)[0]

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Save the keys that the runs come to."""
        self.data |= summary
        self.save()

    def save(self) -> None:
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, (json.dumps(self.data, indent=1) + "\n").encode())


def _difference(part: str, then: Any, now: Any) -> str:
    """The first key that is not the same, for a message."""
    if not isinstance(then, dict) or not isinstance(now, dict):
        return f"{part} {then}, not {now}"
    key = next(key for key in [*now, *then] if then.get(key) != now.get(key))
    return f"{part}.{key} {then.get(key)}, not {now.get(key)}"


def alternate(
    record: Record,
    sides: Mapping[str, Callable[[], Any]],
    repetitions: int,
    log: Callable[[str, Any], None],
    *,
    minutes: float | None = None,
) -> None:
    """Measure the sides in turn, the other way round every second time; what the record has is not done again.

    Args:
        record: Gets the results, each under its side's name.
        sides: What measures each.
        repetitions: Of every side.
        log: Called with a label and the result.
        minutes: No round is begun so long after the program's start; the same command goes on with the next.
    """
    for repetition in range(repetitions):
        if repetition and minutes is not None and elapsed() > 60 * minutes:
            say(f"{minutes:g} minutes are over after {repetition} rounds; the same command goes on")
            return
        names = list(sides)
        for name in names if repetition % 2 == 0 else reversed(names):
            if len(record.runs(name)) <= repetition:
                record.add(name, sides[name]())
                log(f"{repetition + 1}/{repetitions} {name}", record.runs(name)[-1])


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, lowest and highest of the repetitions, and all of them."""
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "values": list(values),
    }


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Lines of aligned columns: the first to the left, numbers to the right; None is a dash."""
    cells = [[_cell(value) for value in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(line)
        ).rstrip()
        for line in ([*zip(row, widths, strict=True)] for row in cells)
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


_began = time.monotonic()


def elapsed() -> float:
    """Seconds since the program's start."""
    return time.monotonic() - _began


def say(text: str) -> None:
    """A line of progress, with the minutes since the start."""
    minutes, seconds = divmod(int(elapsed()), 60)
    print(f"[{minutes:3d}:{seconds:02d}] {text}", file=sys.stderr, flush=True)


def environment(device: str | None = None) -> dict[str, Any]:
    """Versions and processor; no name or path of the machine."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        **{name: _version(name) for name in _PACKAGES},
    }
    if device == "cuda":
        import torch

        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
