"""Runs the quickstart's stages one after the other; what an earlier call finished is not done again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from data_prep.errors import DataError
from data_prep.files import write_atomic
from data_prep.shards import open_splits
from lightning_cpt.checkpoint import read_checkpoint
from lightning_cpt.errors import ConfigError
from lightning_cpt.quickstart import corpus
from lightning_cpt.quickstart.place import SEED, Place

VOCABULARY = 16384
TASKS = "MR,CR,SUBJ,MPQA,SST2,TREC,MRPC"


class StageFailed(Exception):
    """A command ended with an error, which it has printed itself.

    Args:
        status: Its exit status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def quickstart(out: Path, data: Path | None) -> int:
    """Do all that is not yet done in ``out``; returns the exit status.

    Args:
        out: Folder for pairs, tokenizer, run and report.
        data: Folder of SentEval data, or None.

    Raises:
        ConfigError: a package to mine is missing, or ``out`` was made from other versions.
    """
    began = time.monotonic()
    place = Place(out)
    if data is not None and not data.is_dir():
        raise ConfigError(f"--data: there is no folder {data}")
    _check_versions(out)
    try:
        _make_pairs(place)
        _make_start(place)
        _train(place)
        if data is not None:
            where = ("--data", str(data), "--out", str(place.senteval))
            _cpt("eval", "run", "--encoder", f"ckpt:{place.checkpoint}", "--tasks", TASKS, *where)
    except StageFailed as failed:
        return failed.status
    from lightning_cpt.quickstart.report import (
        write_report,  # matplotlib and torch: not before they are needed
    )

    write_report(place, with_senteval=data is not None, began=began)
    return 0


def _check_versions(out: Path) -> None:
    """Numbers of two environments must not meet in one report."""
    path, now = out / "versions.json", corpus.versions()
    if not path.exists():
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_atomic(path, (json.dumps(now, indent=1) + "\n").encode())
        except OSError as error:
            raise ConfigError(
                f"--out: {out} cannot be written ({error.strerror}); name another folder"
            ) from error
    try:
        then = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: damaged; remove {out} and start again") from error
    other = [name for name in now if then.get(name) != now[name]]
    if other:
        name = other[0]
        raise ConfigError(
            f"{out}: was made with {name} {then.get(name)}, now {now[name]} is installed; "
            f"remove the folder, or name another one (make quickstart OUT=DIR)"
        )


def _make_pairs(place: Place) -> None:
    if not _whole(place.pairs):
        roots = [str(root) for root in corpus.roots()]
        splits = ["--holdout", *corpus.HELD_OUT, "--validation", *corpus.VALIDATION]
        options = ["--languages", "python", "--out", str(place.pairs), "--overwrite", *splits]
        shown = f"prep code <{len(roots)} packages> {' '.join(options)}"
        _cpt("prep", "code", *roots, *options, shown=shown)
    if not (place.tokenizer / "tokenizer_config.json").exists():
        _cpt("prep", "tokenizer", str(place.pairs), "--vocab-size", str(VOCABULARY), "--identifiers")


def _whole(pairs: Path) -> bool:
    try:
        return len(open_splits(pairs)) == 3
    except DataError:
        return False


def _make_start(place: Place) -> None:
    if (place.start / "model.safetensors").exists():
        return
    from lightning_cpt.quickstart.start import write_start
    from lightning_cpt.tokenization import PairTokenizer

    shape = place.encoder["config"]
    write_start(
        place.start,
        vocabulary=len(PairTokenizer(place.tokenizer)),
        width=shape["n_embd"],
        heads=shape["n_head"],
        positions=shape["n_positions"],
        seed=SEED,
    )


def _train(place: Place) -> None:
    if not place.checkpoint.exists():
        _cpt(
            *("fit", "--config", "quickstart"),
            *("--data.folder", str(place.pairs)),
            *("--model.encoder.backbone", str(place.start)),
            *("--model.encoder.tokenizer", str(place.tokenizer)),
            *("--run.folder", str(place.run)),
        )
    elif not _ended(place):
        _cpt("fit", "--ckpt_path", str(place.checkpoint))


def _ended(place: Place) -> bool:
    """Whether the last checkpoint is of the last step, or the time was up."""
    state = read_checkpoint(place.checkpoint)
    timer: dict[str, Any] = next(
        (value for key, value in state["callbacks"].items() if key.startswith("Timer")), {}
    )
    spent = timer.get("time_elapsed", {}).get("train", 0.0)
    return state["global_step"] >= place.steps or spent >= place.cap_seconds


def _cpt(*arguments: str, shown: str | None = None) -> None:
    """Show a command of ours as a user would type it, and run it in a process of its own."""
    print(f"\n$ cpt {shown or ' '.join(arguments)}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "lightning_cpt.cli", *arguments]
    status = subprocess.run(command, check=False).returncode
    if status:
        raise StageFailed(status)
