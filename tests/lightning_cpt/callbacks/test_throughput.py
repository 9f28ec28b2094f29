"""The callback: hand-computed numbers on a fake clock, two ranks, and what a real run logs and leaves."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from lightning_cpt.callbacks import throughput
from lightning_cpt.callbacks.throughput import Throughput, summary_lines
from lightning_cpt.data.datamodule import PairDataModule
from lightning_cpt.data.reader import TrainingReader
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.flops import Costs
from lightning_cpt.module import ContrastiveModule
from lightning_cpt.stopwatch import Stopwatch

NAMES = ["pairs_per_second", "tokens_per_second", "mfu", "hfu", "padding", "recomputed", "waiting"]


class Batch:
    """Four pairs of 40 tokens in all."""

    def __len__(self) -> int:
        return 4

    def parts(self) -> list[Any]:
        return [SimpleNamespace(ids=torch.zeros(25)), SimpleNamespace(ids=torch.zeros(15))]


WORK = SimpleNamespace(
    tokens=40,
    padded_tokens=50,
    recomputed_tokens=20,
    squares=300,
    padded_squares=500,
    recomputed_squares=200,
    skipped_tokens=0,
    padded_skipped_tokens=0,
    recomputed_skipped_tokens=0,
)


def drive(steps: int, accumulate: int = 1, lag: float = 0.0, **module: Any) -> tuple[list[Any], Any]:
    """The callback's hooks as a trainer calls them, on a clock of its own; what is logged, and its summary.

    A batch waits 1 second for data, is worked on for 1 (and ``lag`` more), and 10 pass behind it.
    """
    clock, logged = SimpleNamespace(time=0.0), []
    callback = Throughput(peak_tflops=20_400e-12)
    encoder = SimpleNamespace(**{"work": WORK, **module})
    model: Any = SimpleNamespace(encoder=encoder, log_dict=lambda values, batch_size: logged.append(values))
    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        precision="32-true",
        global_step=7,
        log_every_n_steps=2,
        world_size=1,
        is_global_zero=True,
        train_dataloader=SimpleNamespace(wait=None),
    )
    callback.setup(trainer, model, "fit")
    callback._costs = Costs(per_token=100, per_square=2)
    callback.on_train_start(trainer, model)
    callback._stopwatch = Stopwatch(torch.device("cpu"), lambda: clock.time)
    for number in range(steps * accumulate):
        trainer.train_dataloader.wait = (clock.time, clock.time + 1)
        clock.time += 1
        callback.on_train_batch_start(trainer, model, Batch(), number)  # type: ignore[arg-type]
        clock.time += 1 + lag
        trainer.global_step += (number + 1) % accumulate == 0
        callback.on_train_batch_end(trainer, model, None, Batch(), number)  # type: ignore[arg-type]
        clock.time += 10
    callback.on_train_end(trainer, model)
    return logged, callback._summary(trainer)


def test_each_log_is_about_the_steps_since_the_last() -> None:
    """Steps 8 to 12: logged at 8, 10 and 12, the summary over all five."""
    logged, summary = drive(steps=5)
    one = {
        "train/pairs_per_second": 2.0,
        "train/tokens_per_second": 20.0,
        "train/mfu": pytest.approx(13_800 / 40_800),
        "train/hfu": pytest.approx(0.5),
        "train/padding": pytest.approx(0.2),
        "train/recomputed": pytest.approx(2_400 / 20_400),
        "train/waiting": 0.5,
    }
    assert logged == [one] * 3
    assert {f"train/{name}": summary[name] for name in NAMES} == one
    assert (summary["steps"], summary["pairs"], summary["tokens"], summary["seconds"]) == (5, 20, 200, 10)
    assert (summary["model_flops"], summary["hardware_flops"]) == (5 * 13_800, 5 * 20_400)
    assert (summary["peak_tflops"], summary["peak_source"]) == (pytest.approx(20_400e-12), "given")


def test_accumulated_batches_make_one_step() -> None:
    logged, summary = drive(steps=4, accumulate=3)
    assert [values["train/pairs_per_second"] for values in logged] == [2.0, 2.0]
    assert (summary["steps"], summary["pairs"], summary["seconds"]) == (4, 48, 24)


def test_steps_behind_the_last_log_are_in_the_summary() -> None:
    logged, summary = drive(steps=6)
    assert len(logged) == 3
    assert (summary["steps"], summary["pairs"]) == (6, 24)


def test_an_encoder_that_reports_no_work_has_rates_only() -> None:
    logged, summary = drive(steps=1, work=None)
    assert set(logged[0]) == {"train/pairs_per_second", "train/tokens_per_second", "train/waiting"}
    unknown = {name for name, value in summary.items() if value is None}
    assert unknown == {"mfu", "hfu", "padding", "recomputed", "model_flops", "hardware_flops"}
    assert json.loads(throughput.json_text(summary))["mfu"] is None


def test_the_summary_leaves_out_what_is_unknown() -> None:
    _, summary = drive(steps=1)
    assert summary_lines(summary) == [
        "trained  1 steps, 2.0 s",
        "speed    2 pairs/s, 20 tokens/s",
        "FLOP/s   33.8% of the peak on real tokens (MFU), 50.0% in all (HFU), peak 2.04e-08 TFLOP/s (given)",
        "shares   20.0% padding, 11.8% recomputed, 50.0% waiting for data",
    ]
    unknown = dict.fromkeys(summary) | {"steps": 1, "seconds": 2.0, "waiting": 0.25}
    assert summary_lines(unknown) == ["trained  1 steps, 2.0 s", "shares   25.0% waiting for data"]


def rank_run() -> tuple[list[Any], Any]:
    """The same steps on each rank; rank 1 works a second longer on each."""
    return drive(steps=3, lag=float(torch.distributed.get_rank()))


def test_two_ranks_are_summed(gloo_pool: Any) -> None:
    """Both rank's pairs in the shorter time: the longer one has waited for something that is no training."""
    (first, one), (second, two) = gloo_pool.run(2, rank_run)
    assert first == second
    assert one == two
    assert len(first) == 2
    assert first[0]["train/pairs_per_second"] == pytest.approx(8 / 2)
    assert first[0]["train/mfu"] == pytest.approx(2 * 13_800 / (2 * 20_400 * 2))
    assert first[0]["train/waiting"] == pytest.approx(2 / (2 + 3))
    assert (one["steps"], one["pairs"], one["seconds"]) == (3, 24, 6)
    assert one["peak_tflops"] == pytest.approx(2 * 20_400e-12)


@pytest.mark.parametrize("peak", [0, -1.0, float("nan")])
def test_a_peak_that_cannot_be(peak: float) -> None:
    with pytest.raises(ConfigError, match=r"^Throughput\.peak_tflops: "):
        Throughput(peak_tflops=peak)


def constant(token: str) -> None:
    raise ValueError(token)


def test_a_run_logs_and_leaves_it(
    here: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    own = {"class_path": "lightning_cpt.callbacks.throughput.Throughput", "init_args": {"peak_tflops": 0.5}}
    changes = {"trainer.max_steps": 5, "trainer.log_every_n_steps": 2, "trainer.accumulate_grad_batches": 2}
    _, err = here("fit", "--config", recipe({**changes, "trainer.callbacks": [own]}))
    said = [line for line in err.splitlines() if line.startswith("cpt: ")]
    assert said[-4].startswith("cpt: trained  5 steps, ")
    assert said[-2].endswith("peak 0.5 TFLOP/s (given)")
    summary = json.loads((tmp_path / "run" / "throughput.json").read_text(), parse_constant=constant)
    assert (summary["steps"], summary["pairs"], summary["ranks"]) == (5, 5 * 2 * 16, 1)
    assert None not in summary.values()
    assert 0 < summary["mfu"] < summary["hfu"] < 1
    assert 0 < summary["padding"] < 0.5
    assert 0 < summary["waiting"] < 1
    assert summary["tokens"] == pytest.approx(summary["tokens_per_second"] * summary["seconds"], rel=1e-4)
    (metrics,) = (tmp_path / "run" / "logs").glob("*/metrics.csv")
    with metrics.open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert [row["step"] for row in rows] == ["1", "3"]
    assert all(float(row[f"train/{name}"]) >= 0 for row in rows for name in NAMES)


def test_a_trial_run_leaves_no_file(
    here: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    _, err = here("fit", "--config", recipe(), "--trainer.fast_dev_run", "2")
    assert "cpt: trained  2 steps, " in err
    assert not (tmp_path / "run").exists()


class Slow(Callback):
    """Takes its time where no training happens."""

    slept = 0.0

    def sleep(self) -> None:
        start = time.perf_counter()
        time.sleep(0.05)
        self.slept += time.perf_counter() - start

    def on_train_batch_end(self, *_: Any) -> None:
        self.sleep()

    def on_validation_batch_end(self, *_: Any) -> None:
        self.sleep()

    def on_save_checkpoint(self, *_: Any) -> None:
        self.sleep()


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fit(tmp_path: Path, encoder: dict[str, Any], folder: Path, *callbacks: Callback) -> tuple[Any, float]:
    """Four steps with two validations; the summary, and the seconds that the whole call took."""
    mine = Throughput(str(tmp_path / "made"), peak_tflops=1.0)
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        callbacks=[mine, *callbacks],
        logger=False,
        max_steps=4,
        val_check_interval=2,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = ContrastiveModule(TextEncoder(**encoder))
    start = time.perf_counter()
    trainer.fit(module, PairDataModule(16, str(folder), workers=0, window_chunks=4, pool_size=40))
    seconds = time.perf_counter() - start
    return json.loads((tmp_path / "made" / "throughput.json").read_text()), seconds


@pytest.mark.usefixtures("one_thread")
def test_other_callbacks_validation_and_checkpoints_are_no_training(
    tmp_path: Path, tiny_encoder: dict[str, Any], pair_folder: Path
) -> None:
    slow = Slow()
    summary, seconds = fit(tmp_path, tiny_encoder, pair_folder, slow)
    assert slow.slept > 6 * 0.05
    assert summary["seconds"] < seconds - slow.slept


@pytest.mark.usefixtures("one_thread")
def test_waiting_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_encoder: dict[str, Any], pair_folder: Path
) -> None:
    load = TrainingReader.__getitem__

    def slowly(self: TrainingReader, key: tuple[int, int]) -> Any:
        time.sleep(0.1)
        return load(self, key)

    monkeypatch.setattr(TrainingReader, "__getitem__", slowly)
    summary, _ = fit(tmp_path, tiny_encoder, pair_folder)
    assert 0.4 < summary["waiting"] * summary["seconds"] < summary["seconds"]


@pytest.mark.slow
def test_two_ranks_of_a_run(cpt: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path) -> None:
    done = cpt("fit", "--config", recipe({"trainer.devices": 2, "trainer.strategy": "ddp"}))
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "throughput.json").read_text())
    assert (summary["steps"], summary["pairs"], summary["ranks"]) == (4, 4 * 16, 2)
    assert summary["peak_source"] == "measured"
    assert done.stderr.count("cpt: trained ") == 1
