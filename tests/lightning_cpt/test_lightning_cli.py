"""The life of a run: fit, validate, test and predict from the checkpoint alone, run folders, Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from data_prep.shards import PairShards
from lightning_cpt import TextEncoder
from lightning_cpt.cli import INTERRUPTED, TERMINATED, main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def trained(
    tmp_path: Path, recipe: Callable[..., Path], tokenizer_folder: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A checkpoint, all that is left of a run but its shards: recipe and tokenizer are gone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # and so put back what Lightning sets
    shutil.copytree(tokenizer_folder, tmp_path / "tokenizer")
    path = recipe({"model.encoder.tokenizer": "tokenizer", "trainer.val_check_interval": 4})
    assert main(["fit", "--config", str(path)]) == 0
    path.unlink()
    shutil.rmtree(tmp_path / "tokenizer")
    return tmp_path / "run" / "last.ckpt"


def logged(folder: Path) -> dict[str, float]:
    """The last value of each number in a run's CSV log."""
    values: dict[str, float] = {}
    for path in sorted(folder.glob("logs/version_*/metrics.csv")):
        for row in csv.DictReader(path.open()):
            values |= {key: float(value) for key, value in row.items() if value}
    return values


def scores(printed: str) -> dict[str, float]:
    """The numbers in the table that Lightning prints."""
    return {key: float(value) for key, value in re.findall(r"((?:val|test)/\w+)\W+([\d.]+)", printed)}


def texts_of(split: Path) -> tuple[list[str], list[str], list[str]]:
    records = list(PairShards.open(split))
    return tuple([record[key] for record in records] for key in ("id", "x", "y"))  # type: ignore[return-value]


def check_predictions(folder: Path, encoder: TextEncoder, split: Path) -> None:
    """Each record once, in input order, with its own embedding."""
    ids, x, y = texts_of(split)
    assert [json.loads(line) for line in (folder / "ids.jsonl").read_text().splitlines()] == ids
    for name, texts in (("x", x), ("y", y)):
        array = np.load(folder / f"{name}.npy")
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, encoder.encode(texts, name, progress=False), atol=1e-5)  # type: ignore[arg-type]
    assert sorted(p.name for p in folder.iterdir()) == ["ids.jsonl", "x.npy", "y.npy"]


def test_a_checkpoint_is_enough_for_the_other_commands(
    trained: Path, pair_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = ["--ckpt_path", str(trained)]
    capsys.readouterr()
    assert main(["validate", *checkpoint]) == 0
    validation = scores(capsys.readouterr().out)
    assert validation["val/mrr"] == pytest.approx(logged(trained.parent)["val/mrr"], abs=1e-5)
    assert validation["val/loss"] == pytest.approx(logged(trained.parent)["val/loss"], abs=1e-3)
    assert main(["test", *checkpoint]) == 0
    test = scores(capsys.readouterr().out)
    assert set(test) == {"test/mrr", "test/mrr_y_to_x", "test/loss"}
    assert test["test/mrr"] != validation["val/mrr"]
    assert main(["predict", *checkpoint]) == 0
    check_predictions(trained.parent / "embeddings", TextEncoder.load(trained), pair_folder / "test")


def test_a_run_goes_on_with_other_memory_settings_from_the_checkpoint_alone(
    trained: Path, here: Callable[..., Any], tmp_path: Path
) -> None:
    """What the line after running out of memory proposes, with the tokenizer's folder gone."""
    saved = torch.load(trained, weights_only=True)
    config = yaml.safe_load(saved["config"])
    config["model"]["encoder"]["init_args"]["tokenizer"] = str(tmp_path / "gone")
    saved["config"] = yaml.safe_dump(config)
    moved = tmp_path / "moved" / "last.ckpt"
    moved.parent.mkdir()
    torch.save(saved, moved)
    smaller = ["--model.encoder.activation_memory", "0", "--model.encoder.chunk_tokens", "100"]
    _, err = here("validate", "--ckpt_path", moved, *smaller)
    assert "model.encoder.chunk_tokens" in err
    _, err = here("validate", "--ckpt_path", moved, "--model.encoder.max_length_x", "20", status=2)
    assert "gone" in err


def test_predicting_texts_of_ones_own(trained: Path, tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(37)]
    lines = "".join(json.dumps({"x": text, "id": f"é{n}"}) + "\n" for n, text in enumerate(texts))
    (tmp_path / "mine.jsonl").write_text(lines)
    out = tmp_path / "out"
    arguments = ["--data.predict", "mine.jsonl", "--run.predictions", str(out)]
    for _ in range(2):  # the second time over the files of the first
        assert main(["predict", "--ckpt_path", str(trained), *arguments]) == 0
    ids = [json.loads(line) for line in (out / "ids.jsonl").read_text(encoding="utf-8").splitlines()]
    assert ids == [f"é{n}" for n in range(37)]
    encoder = TextEncoder.load(trained)
    np.testing.assert_allclose(np.load(out / "x.npy"), encoder.encode(texts, progress=False), atol=1e-5)
    assert not (out / "y.npy").exists()


@pytest.mark.slow
def test_predictions_of_two_ranks(
    trained: Path, cpt: Callable[..., Any], pair_folder: Path, tmp_path: Path
) -> None:
    ranks = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = cpt(
        "predict", "--ckpt_path", trained, *ranks, "--data.predict", "train", "--data.batch_size", "24"
    )
    assert done.returncode == 0, done.stderr
    check_predictions(tmp_path / "run" / "embeddings", TextEncoder.load(trained), pair_folder / "train")


def test_what_a_run_leaves(trained: Path, tmp_path: Path) -> None:
    saved = torch.load(trained, weights_only=True)
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert saved["config"] == text
    assert yaml.safe_load(text)["trainer"]["max_steps"] == saved["global_step"] == 4
    files = sorted(p.name for p in (tmp_path / "run").iterdir())
    assert files == ["config.yaml", "last.ckpt", "logs", "throughput.json"]
    assert {"train/loss", "train/scale", "train/pairs_per_second", "val/mrr"} <= set(logged(tmp_path / "run"))


def test_going_on_with_other_settings_says_so(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["fit", "--ckpt_path", str(trained), "--trainer.max_steps", "6", "--model.weight_decay", "0.5"])
        == 0
    )
    said = [line for line in capsys.readouterr().err.splitlines() if "other than in the checkpoint" in line]
    assert said == [
        "cpt: other than in the checkpoint: trainer.max_steps: 4 -> 6",
        "cpt: other than in the checkpoint: model.weight_decay: 0.01 -> 0.5",
    ]
    assert torch.load(trained, weights_only=True)["global_step"] == 6


def test_a_new_run_never_writes_into_an_old_one(
    trained: Path, tmp_path: Path, recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = trained.read_bytes()
    assert main(["fit", "--config", str(recipe())]) == 0
    assert (
        f"cpt: {tmp_path}/run holds another run; this one goes to {tmp_path}/run-2" in capsys.readouterr().err
    )
    assert trained.read_bytes() == before
    assert (tmp_path / "run-2" / "last.ckpt").exists()


def wait_for(path: Path, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    assert path.exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
def test_a_signal_ends_in_one_line_that_says_how_to_go_on(
    number: int, status: int, tmp_path: Path, recipe: Callable[..., Path]
) -> None:
    path = recipe({"trainer.max_steps": 100000, "run.checkpoint_every": 5, "data.workers": 2})
    command = [sys.executable, "-m", "lightning_cpt.cli", "fit", "--config", str(path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (tmp_path / "stderr.txt").open("w") as stderr:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            # A shell's background jobs ignore SIGINT, and their children with them.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        wait_for(tmp_path / "run" / "last.ckpt", process)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: to the workers, too
        else:
            process.send_signal(number)
        assert process.wait(timeout=60) == status
    said = (tmp_path / "stderr.txt").read_text()
    assert "Traceback" not in said
    assert "error" not in said.lower()
    step = re.search(
        r"^cpt: stopped; go on from step (\d+) with: cpt fit --ckpt_path run/last.ckpt$", said, re.M
    )
    assert step is not None, said
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == int(step[1])
    assert json.loads((tmp_path / "run" / "throughput.json").read_bytes())["steps"] > 0


def test_ctrl_c_before_the_first_checkpoint_says_so(
    recipe: Callable[..., Path], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A continuation that has written nothing goes on from where it began."""

    callbacks = [{"class_path": "interrupter.Interrupter"}]
    (Path.cwd() / "interrupter.py").write_text(
        "from lightning.pytorch import Callback\n\n"
        "class Interrupter(Callback):\n"
        "    def on_train_batch_end(self, *_):\n"
        "        raise KeyboardInterrupt\n"
    )
    assert main(["fit", "--config", str(recipe({"trainer.callbacks": callbacks}))]) == INTERRUPTED
    assert (
        "\ncpt: stopped before the first checkpoint (run.checkpoint_every: 500)\n" in capsys.readouterr().err
    )
    again = ["--trainer.max_steps", "9", f"--trainer.callbacks={json.dumps(callbacks)}"]
    assert main(["fit", "--ckpt_path", str(trained), *again]) == INTERRUPTED
    assert "; go on as this time: cpt fit --ckpt_path run/last.ckpt\n" in capsys.readouterr().err


def test_a_reading_process_that_is_killed_is_one_line(
    tmp_path: Path, cpt: Callable[..., Any], recipe: Callable[..., Path]
) -> None:
    (tmp_path / "killer.py").write_text(
        "from lightning.pytorch import Callback\n\n"
        "class Killer(Callback):\n"
        "    def on_train_batch_end(self, trainer, *_):\n"
        "        if trainer.global_step == 3:\n"
        "            trainer.train_dataloader._stream._workers[0].kill()\n"
    )
    changes = {
        "trainer.callbacks": [{"class_path": "killer.Killer"}],
        "trainer.max_steps": 500,
        "data.workers": 2,
    }
    done = cpt("fit", "--config", recipe(changes))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert re.match(
        r"cpt: error: a process that reads training data was killed \(.*\); fewer data\.workers", last
    )


def test_an_unusable_folder_or_strategy_is_named_before_anything_is_built(
    here: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for folder in ("notes.txt", "notes.txt/run"):
        _, err = here("fit", "--config", recipe({"run.folder": folder}), status=2)
        assert err.splitlines()[-1].startswith("cpt: error: run.folder: ")
        assert err.splitlines()[-1].endswith("notes.txt is a file; name a folder")
    sharded = {
        "class_path": "lightning.pytorch.strategies.ModelParallelStrategy",
        "init_args": {"data_parallel_size": 1, "tensor_parallel_size": 1},
    }
    _, err = here("fit", "--config", recipe({"trainer.strategy": sharded}), status=2)
    assert "checkpoints would be folders" in err.splitlines()[-1]


def test_a_run_that_has_ended_says_so(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = trained.read_bytes()
    assert main(["fit", "--ckpt_path", str(trained)]) == 2
    assert re.search(
        r"trainer.max_steps: \d+, and the checkpoint is at step \d+ already", capsys.readouterr().err
    )
    assert trained.read_bytes() == before


def test_a_run_goes_on_in_its_own_folder_from_wherever_it_is_called(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.load(trained, weights_only=True)["global_step"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["fit", "--ckpt_path", "../run/last.ckpt", f"--trainer.max_steps={step + 1}"]) == 0
    assert torch.load(trained, weights_only=True)["global_step"] == step + 1
    assert not list(elsewhere.iterdir())


def test_another_tokenisation_is_no_continuation(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = torch.load(trained, weights_only=True)["global_step"]
    other = ["--data.hard_negatives=2", f"--trainer.max_steps={step + 1}"]
    assert main(["fit", "--ckpt_path", str(trained), *other]) == 2
    assert "data.hard_negatives: 2, but the checkpoint was made with 0" in capsys.readouterr().err


def test_a_run_reads_its_shards_from_an_address(
    here: Callable[..., tuple[str, str]],
    recipe: Callable[..., Path],
    pair_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    serve: Callable[[Path], Any],
) -> None:
    """The same losses as from the folder, through a real server and the node's cache."""
    pytest.importorskip("aiohttp")
    recorder = [{"class_path": "recorder.Recorder", "init_args": {"folder": str(tmp_path)}}]
    changes = {"trainer.callbacks": recorder, "trainer.max_steps": 6}
    here("fit", "--config", recipe(changes))
    local = (tmp_path / "losses-0.txt").read_text()
    (tmp_path / "losses-0.txt").unlink()
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))
    far = {"data.folder": serve(pair_folder).url, "run.folder": str(tmp_path / "far")}
    here("fit", "--config", recipe({**changes, **far}))
    assert (tmp_path / "losses-0.txt").read_text() == local
    assert list((tmp_path / "cache").rglob("*"))
    _, err = here("fit", "--config", recipe({"data.folder": "https://localhost:1/none"}), status=2)
    assert err.strip().splitlines()[-1].startswith("cpt: error: https://localhost:1/none")
