"""A tiny project, shards and recipe, and the `cpt` command as a real process in it."""

from __future__ import annotations

import os
import random
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from data_prep.pairs import Pair
from data_prep.shards import write_shards

ROOT = Path(__file__).parents[2]
BATCH_SIZE = 16
BATCHES = 21  # in one epoch; 9 pairs are left over

# Seen by `cpt` processes under the name `recorder`: writes every loss in full, and can kill its own process.
RECORDER = """
import json, os, signal
from pathlib import Path
from lightning.pytorch import Callback

class Recorder(Callback):
    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        if "PID_FILE" in os.environ:
            Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        step = trainer.fit_loop.total_batch_idx
        with open(self.folder / f"losses-{trainer.global_rank}.txt", "a") as file:
            file.write(f"{step} {float(outputs['loss']).hex()} {batch.ids[0]}\\n")
        with open(self.folder / f"ids-{trainer.global_rank}.txt", "a") as file:
            file.write(json.dumps([step, batch.ids]) + "\\n")
        if os.environ.get("KILL_AT") == str(step):
            os.kill(os.getpid(), signal.SIGKILL)
"""


def make_pairs(count: int, name: str) -> Iterator[Pair]:
    """Pairs that share a word, of very unequal lengths."""
    rng = random.Random(name)
    words = [letter * 3 for letter in string.ascii_letters]
    for i in range(count):
        shared = [rng.choice(words)] * 3
        x, y = (" ".join([*shared, *rng.choices(words, k=rng.randint(1, 9))]) for _ in "xy")
        yield Pair(id=f"{name}{i}", x=x, y=y, negatives=[rng.choice(words)], source="toy")


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of all three splits: 345, 60 and 50 pairs in chunks of 16."""
    folder = tmp_path_factory.mktemp("pairs")
    for split, count in (("train", 345), ("validation", 60), ("test", 50)):
        write_shards(folder / split, make_pairs(count, split), source="toy", records_per_chunk=16)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tokenizer_folder: str) -> dict[str, Any]:
    """Keys of a one-layer encoder with dropout."""
    return {
        "tokenizer": tokenizer_folder,
        "config": {
            "model_type": "gpt2",
            "n_embd": 16,
            "n_layer": 1,
            "n_head": 2,
            "n_positions": 32,
        },
        "max_length_x": 24,
        "max_length_y": 24,
        "chunk_tokens": 300,
    }


@pytest.fixture
def recipe(tmp_path: Path, pair_folder: Path, tiny_encoder: dict[str, Any]) -> Callable[..., Path]:
    """Write a recipe, with changes such as ``{"trainer.max_steps": 5}``, and return its path."""

    def write(changes: dict[str, Any] | None = None, name: str = "tiny.yaml") -> Path:
        config: dict[str, Any] = {
            "model": {"encoder": dict(tiny_encoder), "learning_rate": 1e-3, "warmup_steps": 2},
            "data": {
                "folder": str(pair_folder),
                "batch_size": BATCH_SIZE,
                "workers": 0,
                "window_chunks": 4,
                "pool_size": 40,
            },
            "trainer": {"max_steps": 4, "accelerator": "cpu", "log_every_n_steps": 1},
            "run": {"folder": str(tmp_path / "run")},
        }
        for key, value in (changes or {}).items():
            *parents, last = key.split(".")
            inner = config
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[last] = value
        path = tmp_path / name
        path.write_text(yaml.safe_dump(config))
        return path

    return write


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[str, str]]]:
    """Run `cpt ARGUMENTS` in this process, on one thread, inside ``tmp_path``; returns stdout and stderr."""
    from lightning_cpt.cli import main

    (tmp_path / "recorder.py").write_text(RECORDER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "recorder", raising=False)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # and so put back what Lightning sets
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(*arguments: str | Path, status: int = 0) -> tuple[str, str]:
        found = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert found == status, err
        return out, err

    yield run
    torch.set_num_threads(threads)


@pytest.fixture
def cpt(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `cpt ARGUMENTS` in a process of its own."""
    (tmp_path / "recorder.py").write_text(RECORDER)

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        command = [sys.executable, "-m", "lightning_cpt.cli", *map(str, arguments)]
        # Files, not pipes: workers of a killed process hold a pipe open until they notice, seconds later.
        out, err = tmp_path / "stdout.txt", tmp_path / "stderr.txt"
        with out.open("w") as stdout, err.open("w") as stderr:
            done = subprocess.run(command, cwd=tmp_path, env=env, stdout=stdout, stderr=stderr, timeout=300)
        return subprocess.CompletedProcess(command, done.returncode, out.read_text(), err.read_text())

    return run
