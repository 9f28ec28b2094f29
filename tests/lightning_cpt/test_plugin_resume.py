"""Plug-in sources in real runs: killed and resumed on other ranks and workers, they go on with the planned batches."""

from __future__ import annotations

import json
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STEPS = 30  # of 8 batches an epoch, so several passes

MODULE = """
def row(i):
    return {"x": f"question {i} {'word ' * (i % 7)}", "y": f"answer {i}"}

class Sized:
    def __len__(self):
        return 130
    def __getitem__(self, i):
        return row(i)

def generator():
    for i in range(130):
        yield row(i)
"""
Cpt = Callable[..., Any]
Recipe = Callable[..., Path]

KINDS: dict[str, dict[str, Any]] = {
    "with a length": {"class_path": "rows.Sized"},
    "generator": {"class_path": "rows.generator"},
    "hugging face": {
        "class_path": "lightning_cpt.data.huggingface.pairs",
        "init_args": {"path": "json", "data_files": "rows.jsonl"},
    },
}


def on(ranks: int, workers: int) -> list[str]:
    strategy = "auto" if ranks == 1 else "ddp"
    keys = {"trainer.devices": ranks, "trainer.strategy": strategy, "data.workers": workers}
    return [part for key, value in keys.items() for part in (f"--{key}", str(value))]


def trained(folder: Path) -> dict[int, list[str]]:
    """Batch number -> sorted ids of all ranks; a batch done twice counts as it was the last time."""
    shares: dict[int, dict[Path, list[str]]] = defaultdict(dict)
    for path in folder.glob("ids-*.txt"):
        for number, ids in map(json.loads, path.read_text().splitlines()):
            shares[number][path] = ids
    return {number: sorted(one for ids in parts.values() for one in ids) for number, parts in shares.items()}


def forget_after(folder: Path) -> None:
    """Drop what was recorded behind the checkpoint: another number of ranks writes other files."""
    from lightning_cpt.checkpoint import read_checkpoint

    step = read_checkpoint(folder / "run" / "last.ckpt")["global_step"]
    for path in folder.glob("ids-*.txt"):
        lines = [line for line in path.read_text().splitlines() if json.loads(line)[0] < step]
        path.write_text("".join(f"{line}\n" for line in lines))


def killed_and_resumed(
    kind: str, places: list[list[str]], kills: list[int], cpt: Cpt, recipe: Recipe, tmp_path: Path
) -> None:
    if kind == "hugging face":
        pytest.importorskip("datasets")
    (tmp_path / "rows.py").write_text(MODULE)
    rows = [{"x": f"question {i}", "y": f"answer {i}"} for i in range(130)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = recipe(
        {
            "data.folder": None,
            "data.sources": {"mine": KINDS[kind]},
            "data.steps_per_epoch": 8,
            "run.checkpoint_every": 3,
            "trainer.max_steps": STEPS,
            "trainer.callbacks": [
                {"class_path": "recorder.Recorder", "init_args": {"folder": str(tmp_path)}}
            ],
        }
    )
    home = {"HF_HOME": str(tmp_path / "hf")}
    arguments: list[Any] = ["fit", "--config", config]
    for kill, place in zip([*kills, None], places, strict=True):
        done = cpt(*arguments, *place, KILL_AT=str(kill), **home)
        assert done.returncode == (0 if kill is None else -signal.SIGKILL), done.stderr
        arguments = ["fit", "--ckpt_path", tmp_path / "run" / "last.ckpt"]
        if kill is not None:
            forget_after(tmp_path)
    done = cpt(
        "data", "ids", "--config", config, "--steps", f"0:{STEPS}", "--world", "4", "--workers", "2", **home
    )
    assert done.returncode == 0, done.stderr
    planned = {row["step"]: sorted(row["ids"]) for row in map(json.loads, done.stdout.splitlines())}
    assert trained(tmp_path) == planned
    assert len({one for ids in planned.values() for one in ids}) == 130


@pytest.mark.parametrize("kind", ["with a length", "generator"])
def test_killed_on_two_ranks_and_resumed_on_two(kind: str, cpt: Cpt, recipe: Recipe, tmp_path: Path) -> None:
    killed_and_resumed(kind, [on(2, 2), on(2, 0)], [14], cpt, recipe, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_several_times(kind: str, cpt: Cpt, recipe: Recipe, tmp_path: Path) -> None:
    places = [on(2, 0), on(2, 2), on(1, 2), on(4, 0)]
    killed_and_resumed(kind, places, [5, 13, 21], cpt, recipe, tmp_path)
