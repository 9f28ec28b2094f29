"""The module under a real Trainer: schedule, scale, seeds, scores, precision, and exact continuation."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from data_prep.shards import PairShards
from eval_suite.metrics import reciprocal_ranks
from lightning_cpt.data.datamodule import PairDataModule
from lightning_cpt.data.evaluation import fixed_pool
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.losses import InfoNCE
from lightning_cpt.module import ContrastiveModule

BATCHES = 21


class Watch(Callback):
    """Keeps each batch's loss and what else the tests look at."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.ids: list[list[str]] = []
        self.rates: list[float] = []
        self.logged: dict[str, float] = {}

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(outputs["loss"]))
        self.ids.append(batch.ids)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.logged = {key: float(value) for key, value in trainer.callback_metrics.items()}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make(
    tiny_encoder: dict[str, Any], pair_folder: Path
) -> Callable[..., tuple[ContrastiveModule, PairDataModule]]:
    def make(batch_size: int = 16, **changes: Any) -> tuple[ContrastiveModule, PairDataModule]:
        data = {
            key: changes.pop(key)
            for key in list(changes)
            if key in ("hard_negatives", "pool_size", "workers")
        }
        torch.manual_seed(1)
        module = ContrastiveModule(TextEncoder(**tiny_encoder), **{"learning_rate": 1e-3, **changes})
        options = {"workers": 0, "window_chunks": 4, "pool_size": 40, **data}
        return module, PairDataModule(batch_size, str(pair_folder), **options)

    return make


def trainer(tmp_path: Path, *callbacks: Callback, **options: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    own = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    return Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        callbacks=list(callbacks),
        log_every_n_steps=1,
        **{"enable_checkpointing": own, **quiet, **options},
    )


def test_training_learns_to_find_the_pairs(tmp_path: Path, make: Callable[..., Any]) -> None:
    module, data = make(learning_rate=1e-2)
    watch = Watch()
    fit = trainer(tmp_path, watch, max_epochs=8, limit_val_batches=0)
    before = trainer(tmp_path).test(module, data, verbose=False)[0]
    fit.fit(module, data)
    after = trainer(tmp_path).test(module, data, verbose=False)[0]
    assert np.mean(watch.losses[-10:]) < 0.7 * np.mean(watch.losses[:10])
    assert after["test/mrr"] > 1.5 * before["test/mrr"]


def test_what_is_logged(tmp_path: Path, make: Callable[..., Any]) -> None:
    watch = Watch()
    module, data = make(hard_negatives=1)
    trainer(tmp_path, watch, max_steps=2).fit(module, data)
    logged = watch.logged
    assert logged["train/loss"] == pytest.approx(watch.losses[-1])
    assert logged["train/negatives_per_query"] == 15 + 16
    assert 0 <= logged["train/accuracy_x_to_y"] <= 1
    assert logged["train/scale"] == pytest.approx(1 / 0.07, rel=0.01)


def test_the_learning_rate_follows_the_whole_run(tmp_path: Path, make: Callable[..., Any]) -> None:
    watch = Watch()
    module, data = make(warmup_steps=10, final_fraction=0.1)
    trainer(tmp_path, watch, max_epochs=2, limit_val_batches=0).fit(module, data)
    peak = watch.rates.index(max(watch.rates))
    assert len(watch.rates) == 2 * BATCHES
    assert (peak, watch.rates[peak]) == (9, pytest.approx(1e-3))
    assert watch.rates[-1] == pytest.approx(1e-4)


def test_a_run_without_an_end_is_refused(tmp_path: Path, make: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"^trainer\.max_steps: "):
        trainer(tmp_path, max_epochs=-1).fit(*make())


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_weights_in_16_bits_are_refused(tmp_path: Path, make: Callable[..., Any], precision: str) -> None:
    with pytest.raises(ConfigError, match=r"^trainer\.precision: .*-true .* use b?f?16-mixed or 32-true$"):
        trainer(tmp_path, max_steps=1, precision=precision).fit(*make())


def test_mixed_precision_keeps_weights_and_loss_in_float32(tmp_path: Path, make: Callable[..., Any]) -> None:
    module, data = make()
    watch, full = Watch(), Watch()
    trainer(tmp_path, watch, max_steps=3, precision="bf16-mixed").fit(module, data)
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    trainer(tmp_path, full, max_steps=3).fit(*make())
    assert watch.losses == pytest.approx(full.losses, rel=0.02)
    assert watch.losses != full.losses


def test_accumulation_says_that_negatives_do_not_grow(tmp_path: Path, make: Callable[..., Any]) -> None:
    with pytest.warns(UserWarning, match="negatives of one data.batch_size only"):
        trainer(tmp_path, max_steps=1, accumulate_grad_batches=2).fit(*make())


def test_the_scale_is_bounded_before_it_is_saved(tmp_path: Path, make: Callable[..., Any]) -> None:
    module, data = make(loss=InfoNCE(initial_temperature=0.0101), learning_rate=0.5)
    # Whatever the gradient says, the scale is driven upwards.
    module.loss.log_scale.register_hook(lambda gradient: -torch.ones_like(gradient))
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer(tmp_path, keep, max_steps=3, limit_val_batches=0).fit(module, data)
    for path in tmp_path.glob("*.ckpt"):
        saved = torch.load(path, weights_only=True)["state_dict"]["loss.log_scale"]
        assert float(saved.exp()) == pytest.approx(100)


def test_dropout_depends_on_seed_step_and_micro_batch_alone(
    tmp_path: Path, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(seed: str, noise: int) -> list[float]:
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        module, data = make(learning_rate=0.0)
        torch.manual_seed(noise)
        watch = Watch()
        trainer(tmp_path, watch, max_steps=3, limit_val_batches=0).fit(module, data)
        return watch.losses

    assert run("0", 5) == run("0", 6) != run("1", 5)


def test_validation_changes_no_step(tmp_path: Path, make: Callable[..., Any]) -> None:
    def run(**options: Any) -> list[float]:
        watch = Watch()
        trainer(tmp_path, watch, max_steps=8, **options).fit(*make())
        return watch.losses

    assert run(limit_val_batches=0) == run(val_check_interval=2)


def test_the_scores_are_those_of_the_whole_pool(
    tmp_path: Path, make: Callable[..., Any], pair_folder: Path
) -> None:
    module, data = make(pool_size=33)
    scores = trainer(tmp_path).validate(module, data, verbose=False)[0]
    pool = fixed_pool(PairShards.open(pair_folder / "validation"), 0, 33)
    x = module.encoder.encode([r["x"] for r in pool], "x", progress=False)
    y = module.encoder.encode([r["y"] for r in pool], "y", progress=False)
    logits = torch.from_numpy(x @ y.T) / 0.07
    loss = sum(torch.nn.functional.cross_entropy(m, torch.arange(33)) for m in (logits, logits.T)) / 2
    assert scores["val/mrr"] == pytest.approx(reciprocal_ranks(x, y).mean(), abs=1e-6)
    assert scores["val/mrr_y_to_x"] == pytest.approx(reciprocal_ranks(y, x).mean(), abs=1e-6)
    assert scores["val/loss"] == pytest.approx(float(loss), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "every", "keep"),
    [
        ({"max_epochs": 3}, {"every_n_epochs": 1, "save_on_train_epoch_end": True}, "epoch=1-step=42.ckpt"),
        ({"max_epochs": 3}, {"every_n_train_steps": 30}, "epoch=1-step=30.ckpt"),
        ({"max_steps": 60}, {"every_n_epochs": 1, "save_on_train_epoch_end": True}, "epoch=0-step=21.ckpt"),
        ({"max_epochs": 3, "val_check_interval": 10}, {"every_n_epochs": 1}, "epoch=1-step=41.ckpt"),
        ({"max_epochs": 4, "limit_train_batches": 10}, {"every_n_train_steps": 15}, "epoch=1-step=15.ckpt"),
    ],
    ids=["epoch's end", "inside", "epoch's end, by steps", "after validation", "limited epochs"],
)
def test_any_checkpoint_of_lightnings_continues_exactly(
    tmp_path: Path, make: Callable[..., Any], options: Any, every: Any, keep: str
) -> None:
    """Also those at an epoch's end, where Lightning does not restore a loader's own state."""
    whole, rest = Watch(), Watch()
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, **every)
    trainer(tmp_path, whole, saver, **options).fit(*make())
    assert (tmp_path / keep).exists(), list(tmp_path.iterdir())
    trainer(tmp_path, rest, **options).fit(*make(), ckpt_path=tmp_path / keep, weights_only=True)
    start = len(whole.losses) - len(rest.losses)
    assert start == int(keep.split("step=")[1].removesuffix(".ckpt"))
    assert rest.ids == whole.ids[start:]
    assert rest.losses == whole.losses[start:]


def test_a_chain_of_continuations_from_epochs_ends_trains_no_epoch_too_many(
    tmp_path: Path, make: Callable[..., Any]
) -> None:
    class Stop(Callback):
        def __init__(self, step: int) -> None:
            self.step = step

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == self.step:
                raise RuntimeError

    def part(start: int, end: int) -> list[float]:
        saver = ModelCheckpoint(
            tmp_path,
            filename="{step}",
            every_n_train_steps=BATCHES,
            save_top_k=-1,
            enable_version_counter=False,
        )
        watch = Watch()
        path = tmp_path / f"step={start}.ckpt" if start else None
        with contextlib.suppress(RuntimeError):
            trainer(tmp_path, watch, saver, Stop(end), max_epochs=3).fit(*make(), ckpt_path=path)
        return watch.losses

    whole = Watch()
    trainer(tmp_path, whole, max_epochs=3).fit(*make())
    parts = [part(start, end) for start, end in ((0, 23), (21, 44), (42, 0))]
    assert [len(losses) for losses in parts] == [23, 23, BATCHES]
    assert parts[0][:BATCHES] + parts[1][:BATCHES] + parts[2] == whole.losses


def test_other_data_settings_do_not_pass_for_a_continuation(tmp_path: Path, make: Callable[..., Any]) -> None:
    saver = ModelCheckpoint(tmp_path, filename="some", every_n_train_steps=2)
    trainer(tmp_path, saver, max_steps=2).fit(*make())
    with pytest.raises(ConfigError, match=r"data\.batch_size: 8, but the checkpoint was made with 16"):
        trainer(tmp_path, max_steps=4).fit(*make(batch_size=8), ckpt_path=tmp_path / "some.ckpt")
    # ... but it may be scored on anything.
    trainer(tmp_path).validate(*make(batch_size=8), ckpt_path=tmp_path / "some.ckpt", verbose=False)


def test_a_loader_with_state_brings_no_warning(
    tmp_path: Path,
    make: Callable[..., Any],
    recwarn: pytest.WarningsRecorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    saver = ModelCheckpoint(tmp_path, filename="some", every_n_train_steps=3)
    trainer(tmp_path, saver, max_steps=3).fit(*make())
    with caplog.at_level(logging.WARNING):
        trainer(tmp_path, max_steps=5).fit(*make(), ckpt_path=tmp_path / "some.ckpt")
    assert not [w for w in recwarn if "resum" in str(w.message).lower()]
    assert "resum" not in caplog.text.lower()


@pytest.mark.parametrize(
    ("batches", "parts", "factors"),
    [(4, 1, [1, 1, 1, 1]), (4, 2, [1, 1, 1, 1]), (5, 2, [1, 1, 1, 1, 2]), (5, 3, [1, 1, 1, 1.5, 1.5])],
)
def test_an_epochs_last_step_with_fewer_batches_is_their_mean_too(
    batches: int, parts: int, factors: list[float]
) -> None:
    trainer = SimpleNamespace(accumulate_grad_batches=parts, num_training_batches=batches)
    module: Any = SimpleNamespace(trainer=trainer)
    assert [ContrastiveModule._of_short_step(module, i) for i in range(batches)] == factors
    trainer.num_training_batches = float("inf")  # a stream has no end
    assert ContrastiveModule._of_short_step(module, 7) == 1


class Gradients(Callback):
    """Keeps the encoder's gradient of each optimizer step, as one vector."""

    def __init__(self) -> None:
        self.found: list[torch.Tensor] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        parts = [p.grad.flatten() for p in pl_module.encoder.parameters() if p.grad is not None]
        self.found.append(torch.cat(parts).clone())


@pytest.mark.filterwarnings("ignore:.*negatives of one data.batch_size only")
def test_the_gradient_of_an_epochs_short_step_is_that_of_its_batch(
    tmp_path: Path, make: Callable[..., Any]
) -> None:
    steps = {}
    for parts in (1, 2):
        module, data = make(learning_rate=1e-12)  # the weights stay where they are
        for part in module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0  # each step draws its own
        kept = Gradients()
        limits = {"max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 0}
        trainer(tmp_path, kept, accumulate_grad_batches=parts, **limits).fit(module, data)
        steps[parts] = kept.found
    one, two = steps[1], steps[2]
    assert (len(one), len(two)) == (3, 2)
    torch.testing.assert_close(two[0], (one[0] + one[1]) / 2)
    torch.testing.assert_close(two[1], one[2])


@pytest.mark.parametrize(
    ("memory", "line"),
    [
        ("all", r"(\d+) of \1 chunks keep their activations \([\d.]+ GiB\)"),
        ("8GiB", r"(\d+) of \1 chunks keep their activations \([\d.]+ GiB of 8\.00\)"),
        ("0", r"1 of \d+ chunks keep .* of 0\.00\); computing the others again is (\d+)% more work"),
    ],
)
def test_the_log_says_once_what_is_kept_and_what_recomputing_costs(
    memory: str, line: str, here: Callable[..., Any], recipe: Callable[..., Path]
) -> None:
    changes = {"model.encoder.chunk_tokens": 64, "model.encoder.activation_memory": memory}
    out, err = here("fit", "--config", recipe(changes))
    said = re.findall(r".*chunks keep their activations.*", out + err)
    assert len(said) == 1
    found = re.search(line, said[0])
    assert found
    assert memory != "0" or 20 <= int(found[1]) <= 33  # a third of a step, less the one that is kept
