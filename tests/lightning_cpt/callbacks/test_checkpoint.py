"""last.ckpt: always whole, always there at the end, with everything inside that it takes to go on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from data_prep.errors import DataError
from lightning_cpt.callbacks.checkpoint import AtomicCheckpointIO, RunCheckpoint
from lightning_cpt.encoder import TextEncoder


def test_a_write_that_is_broken_off_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    old = path.read_bytes()

    def broken(checkpoint: Any, file: Any) -> None:
        assert path.read_bytes() == old
        file.write(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="full"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert path.read_bytes() == old


def test_the_file_appears_under_its_name_only_when_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_size))
    original = os.replace

    def replace(source: Any, target: Any) -> None:
        assert synced == [os.path.getsize(source)]
        assert not path.exists()
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    AtomicCheckpointIO().save_checkpoint({"step": 3}, path)
    assert AtomicCheckpointIO().load_checkpoint(path, weights_only=True) == {"step": 3}
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_holds_all_and_loads_without_code(
    here: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    here("fit", "--config", recipe({"trainer.max_steps": 5, "run.checkpoint_every": 2}))
    folder = tmp_path / "run"
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 5  # the last step, though no multiple of 2
    assert checkpoint["PairDataModule"]["batches"] == 5
    config = yaml.safe_load(checkpoint["config"])
    assert config == yaml.safe_load((folder / "config.yaml").read_text())
    assert config["trainer"]["max_steps"] == 5
    assert not {"ckpt_path", "config", "weights_only"} & config.keys()
    encoder = TextEncoder.load(folder / "last.ckpt")
    assert encoder.encode(["abc", "def"], progress=False).shape == (2, 16)


def test_a_run_without_checkpoints_or_for_a_trial_writes_none(
    here: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    here("fit", "--config", recipe({"trainer.enable_checkpointing": False}))
    here("fit", "--config", recipe({"trainer.fast_dev_run": True}))
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("ready", "completed", "saves"),
    [
        (0, 0, True),  # the beginning of an epoch
        (2, 2, True),
        (3, 3, False),  # in the middle of a step: its gradient so far would be lost
        (20, 20, True),
        (21, 21, False),  # an epoch's end, where Lightning's counters are between two states
        (2, 1, False),  # in the middle of a batch
    ],
)
def test_bad_data_is_behind_a_checkpoint_only_between_two_steps(
    ready: int, completed: int, saves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback, saved = RunCheckpoint("run", 5), list[int]()
    monkeypatch.setattr(callback, "_save_last_checkpoint", lambda *_: saved.append(1))
    monkeypatch.setattr(callback, "_monitor_candidates", lambda _: {})
    monkeypatch.setattr(callback, "_should_skip_saving_checkpoint", lambda _: False)
    current = SimpleNamespace(ready=ready, completed=completed)
    trainer: Any = SimpleNamespace(
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(current=current))),
        accumulate_grad_batches=2,
        num_training_batches=21,
        world_size=1,
        training=True,
        is_global_zero=False,
    )
    callback.on_exception(trainer, None, DataError("bad"))  # type: ignore[arg-type]
    assert bool(saved) == saves


def test_bad_data_stops_the_run_behind_a_checkpoint(
    here: Callable[..., Any], recipe: Callable[..., Path], pair_folder: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(pair_folder, tmp_path / "pairs")
    shard = next((tmp_path / "pairs" / "train").glob("*.tar"))
    data = bytearray(shard.read_bytes())
    data[-12000:-11000] = bytes(1000)  # in one of the last chunks
    changes = {"data.folder": str(tmp_path / "pairs"), "data.window_chunks": 1, "trainer.max_steps": 21}
    shard.write_bytes(data)
    _, err = here("fit", "--config", recipe(changes), status=2)
    lines = err.strip().splitlines()
    assert lines[-1].startswith("cpt: error: ")
    assert "cpt prep quarantine" in lines[-1]
    assert lines[-1].endswith("or go on with --data.on_corrupt substitute")
    step = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < step < 21
    assert f"go on from step {step} with: cpt fit --ckpt_path run/last.ckpt" in lines[-2]
    _, err = here("fit", "--ckpt_path", "run/last.ckpt", "--data.on_corrupt", "substitute")
    assert "filled from the chunk before it" in err
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 21
