"""A run killed by SIGKILL and continued from its last checkpoint equals the run that was never killed, bit by bit."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STEPS = 50  # of 21 batches an epoch
# The checkpoints lie at multiples of 7, so 21 and 42 are exactly the ends of epochs.
EVERY = 7


def losses(folder: Path, rank: int = 0) -> dict[int, str]:
    """Batch number -> the loss as hex and the first pair's id; a batch done twice counts as it was the last time."""
    lines = (folder / f"losses-{rank}.txt").read_text().splitlines()
    return {int(line.split()[0]): line.split(maxsplit=1)[1] for line in lines}


def train(cpt: Callable[..., Any], recipe: Path, folder: Path, kills: list[int]) -> dict[int, str]:
    """Fit to the end through SIGKILLs at these batches; each continuation gets the checkpoint alone."""
    arguments: list[Any] = ["fit", "--config", recipe]
    for kill in kills:
        killed = cpt(*arguments, KILL_AT=str(kill))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        arguments = ["fit", "--ckpt_path", folder / "run" / "last.ckpt"]
    done = cpt(*arguments)
    assert done.returncode == 0, done.stderr
    assert "other than in the checkpoint" not in done.stderr
    return losses(folder)


def compare(
    tmp_path: Path,
    cpt: Callable[..., Any],
    recipe: Callable[..., Path],
    changes: dict[str, Any],
    kills: list[int],
    batches: int,
    ranks: int = 1,
) -> None:
    changes = {
        "run.checkpoint_every": EVERY,
        "data.workers": 2,
        "data.token_dropout": 0.2,  # beside the model's own dropout
        "trainer.max_steps": STEPS,
        "trainer.callbacks": [{"class_path": "recorder.Recorder", "init_args": {"folder": str(tmp_path)}}],
        **changes,
    }
    interrupted = train(cpt, recipe(changes), tmp_path, kills)
    others = [losses(tmp_path, rank) for rank in range(1, ranks)]
    for rank in range(ranks):
        (tmp_path / f"losses-{rank}.txt").unlink()
    unbroken = train(cpt, recipe({**changes, "run.folder": str(tmp_path / "whole")}), tmp_path, [])
    assert len(unbroken) == batches
    assert interrupted == unbroken
    assert others == [losses(tmp_path, rank) for rank in range(1, ranks)]
    assert len({line.split()[0] for line in unbroken.values()}) > batches * 0.9  # no constant


def test_killed_in_an_epoch_and_at_its_end(
    tmp_path: Path, cpt: Callable[..., Any], recipe: Callable[..., Path]
) -> None:
    compare(tmp_path, cpt, recipe, {}, kills=[11, 24], batches=STEPS)


CASES = {
    "twice at epochs' ends": ({}, [21, 44], STEPS),
    "validation inside the epoch": ({"trainer.val_check_interval": 7}, [10, 23], STEPS),
    "validation between epochs": (
        {"trainer.val_check_interval": 10, "trainer.check_val_every_n_epoch": None},
        [25, 43],
        STEPS,
    ),
    # 11 steps an epoch: ten of two batches, one of the last batch alone.
    "accumulation": ({"trainer.accumulate_grad_batches": 2, "trainer.max_steps": 25}, [17, 31], 48),
    "epochs, not steps": ({"trainer.max_epochs": 3, "trainer.max_steps": -1}, [12, 21, 44], 63),
    "another checkpoint at epochs' ends": (
        {
            "trainer.max_epochs": 3,
            "trainer.max_steps": -1,
            "run.checkpoint_every": 21,
        },
        [25, 46],
        63,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed(case: str, tmp_path: Path, cpt: Callable[..., Any], recipe: Callable[..., Path]) -> None:
    changes, kills, batches = CASES[case]
    compare(tmp_path, cpt, recipe, changes, kills, batches)


@pytest.mark.slow
def test_killed_on_two_ranks(tmp_path: Path, cpt: Callable[..., Any], recipe: Callable[..., Path]) -> None:
    changes = {"trainer.devices": 2, "trainer.strategy": "ddp", "trainer.val_check_interval": 7}
    compare(tmp_path, cpt, recipe, changes, kills=[10, 24], batches=STEPS, ranks=2)


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path, cpt: Callable[..., Any], recipe: Callable[..., Path]) -> None:
    """From outside and at a random time, so also inside a step or the write of a checkpoint at every step."""

    def kill_soon() -> None:
        while not (tmp_path / "run" / "last.ckpt").exists():
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 0.5))
        pid = int((tmp_path / "pid.txt").read_text())
        os.kill(pid, signal.SIGKILL)

    record = {"class_path": "recorder.Recorder", "init_args": {"folder": str(tmp_path)}}
    changes = {
        "run.checkpoint_every": 1,
        "data.workers": 2,
        "data.token_dropout": 0.2,
        "trainer.max_steps": 200,
        "trainer.callbacks": [record],
    }
    kill = threading.Thread(target=kill_soon, daemon=True)
    kill.start()
    killed = cpt("fit", "--config", recipe(changes), PID_FILE=str(tmp_path / "pid.txt"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = cpt("fit", "--ckpt_path", tmp_path / "run" / "last.ckpt")
    assert done.returncode == 0, done.stderr
    interrupted = losses(tmp_path)
    (tmp_path / "losses-0.txt").unlink()
    assert interrupted == train(cpt, recipe({**changes, "run.folder": str(tmp_path / "whole")}), tmp_path, [])
    assert len(interrupted) == 200
