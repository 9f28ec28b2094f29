"""The account that lies beside a set of splits: every step that made them, what it was given, kept and dropped."""

from __future__ import annotations

import json
import platform
from argparse import Namespace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data_prep.errors import DataError
from data_prep.files import write_atomic
from data_prep.report import MAX_NAMED, Report

HISTORY = "history.json"
FORMAT = "cpt-history-1"
_PACKAGES = ("lightning-cpt", "numpy", "xxhash", "zstandard", "tree-sitter")


def make_step(
    args: Namespace, report: Report, inputs: dict[str, str], manifests: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """One step of the account; no time and no name of the machine, so that equal runs leave equal accounts.

    Args:
        args: The command with all its options.
        report: What it kept and dropped.
        inputs: Split -> fingerprint of the shards that were read; empty where other files were.
        manifests: Split -> manifest of the shards that were written.
    """
    hidden = {"func", "prep_command", "overwrite", "processes"}  # what changes nothing of the outcome
    return {
        "command": f"cpt prep {args.prep_command}",
        "options": {name: _plain(value) for name, value in sorted(vars(args).items()) if name not in hidden},
        "versions": {"python": platform.python_version(), **{name: version_of(name) for name in _PACKAGES}},
        "inputs": inputs,
        "outputs": {name: manifest["fingerprint"] for name, manifest in manifests.items()},
        "kept": dict(report.kept),
        "dropped": {reason: count for reason, count in report.dropped.most_common() if count},
        "named": [list(pair) for pair in report.named[:MAX_NAMED]],
        "notes": list(report.notes),
    }


def write_history(folder: Path, steps: list[dict[str, Any]]) -> None:
    """Write ``history.json`` beside the splits."""
    data = {"format": FORMAT, "steps": steps}
    write_atomic(
        folder / HISTORY,
        (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"),
    )


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The steps that led to the splits in ``folder``; none where no account lies there.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / HISTORY
    if not path.exists():
        return []
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(data["format"])
        steps: list[dict[str, Any]] = data["steps"]
        sound = all({"command", "options", "outputs", "dropped"} <= step.keys() for step in steps)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise DataError(f"{path}: damaged; delete it (the account of earlier steps is lost) or copy it again")
    return steps


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


def version_of(name: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
