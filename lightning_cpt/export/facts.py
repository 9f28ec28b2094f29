"""What the card says of data and scores: the data card's tables, and the results of this very encoder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from eval_suite.errors import EvalError
from eval_suite.results import Result, read_result
from lightning_cpt.console import say
from lightning_cpt.errors import ConfigError

# The parts of a data card that say what a model has learned from; its histograms and examples stay there.
PARTS = ("Splits", "Sources", "Licences", "What was removed", "Evaluation texts")


def data_card(folders: Sequence[str], given: Path | None) -> str:
    """The tables of the data card, a heading lower; empty where there is no card.

    Raises:
        ConfigError: ``given`` cannot be read.
    """
    if given is not None:
        return _shortened(_read(given))
    found = [Path(folder).expanduser() / "card.md" for folder in folders]
    return "\n\n".join(_shortened(_read(path)) for path in found if path.is_file())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--data-card {path}: cannot be read ({error}); `cpt prep card` writes one"
        ) from error


def _shortened(card: str) -> str:
    head, *parts = re.split(r"^## ", card, flags=re.MULTILINE)
    kept = [part for part in parts if part.partition("\n")[0].strip() in PARTS]
    head = re.sub(r"^# ", "### ", head.strip())
    return "\n\n".join([head, *(f"#### {part.strip()}" for part in kept)])


def licences(card: str) -> list[str]:
    """The licences of the training split, or of all where there is none, in the data card's table."""
    parts = [part for part in re.split(r"^#### ", card, flags=re.MULTILINE) if part.startswith("Licences")]
    found = []
    for part in parts:
        header, *rows = [_cells(line) for line in part.splitlines() if line.startswith("|")] or [[]]
        column = header.index("train") if "train" in header else 1
        found += [row[0] for row in rows[1:] if row[column : column + 1] != ["0"]]  # the first is the rule
    return list(dict.fromkeys(found))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def scores(folder: Path, fingerprint: str) -> list[Result]:
    """The results of the encoder of that fingerprint, by task; others are counted aloud.

    Raises:
        ConfigError: no such folder, a damaged file, or no result of this encoder.
    """
    if not folder.is_dir():
        raise ConfigError(f"--results {folder}: no such folder; `cpt eval run --out DIR` makes one")
    try:
        found = list(_results(folder))
    except EvalError as error:
        raise ConfigError(f"--results: {error}") from error
    own = [result for result in found if result.fingerprint == fingerprint]
    if not own:
        raise ConfigError(
            f"--results {folder}: holds {len(found)} results, none of this checkpoint (hash {fingerprint[:12]}); run "
            "`cpt eval run --encoder ckpt:FILE` on it"
        )
    if len(own) < len(found):
        say(f"{len(found) - len(own)} results of other encoders in {folder} left out")
    return own


def _results(folder: Path) -> Iterator[Result]:
    for path in sorted(folder.glob("*.json")):
        yield read_result(path)
