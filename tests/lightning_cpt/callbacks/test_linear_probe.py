"""The probe inside `fit`: the training goes on as if it had not been there, and its score can be monitored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from eval_suite.errors import EvalError
from eval_suite.results import read_result
from eval_suite.run import run_task
from lightning_cpt.callbacks.linear_probe import LinearProbe
from lightning_cpt.data.datamodule import PairDataModule
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.module import ContrastiveModule

STEPS = 8


class Watch(Callback):
    """Keeps what a probe could disturb, after each batch; stands behind the probe in the list of callbacks."""

    def __init__(self) -> None:
        self.losses: list[str] = []
        self.modes: list[dict[str, bool]] = []
        self.random: list[bytes] = []
        self.probed: list[float | None] = []

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(outputs["loss"]).hex())
        self.modes.append({name: part.training for name, part in pl_module.named_modules()})
        self.random.append(torch.get_rng_state().numpy().tobytes() + np.random.get_state()[1].tobytes())  # type: ignore[index]
        score = trainer.callback_metrics.get("probe/CR")
        self.probed.append(None if score is None else float(score))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SentEval's folder with a small CR: 40 good and 40 bad reviews."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("senteval")
    folder = root / "downstream" / "CR"
    folder.mkdir(parents=True)
    for name, words in (("custrev.pos", ["great", "fun", "warm"]), ("custrev.neg", ["dull", "cold", "flat"])):
        lines = [" ".join([*rng.choice(["the", "a", "it", "is"], 3), rng.choice(words)]) for _ in range(40)]
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return root


@pytest.fixture
def fit(
    tmp_path: Path, tiny_encoder: dict[str, Any], pair_folder: Path
) -> Callable[..., tuple[Watch, ContrastiveModule]]:
    """Train for a few steps with these callbacks; the frozen backbone part must stay in eval mode."""

    def fit(*callbacks: Callback, **options: Any) -> tuple[Watch, ContrastiveModule]:
        seed_everything(0, verbose=False)
        watch, module = Watch(), ContrastiveModule(TextEncoder(**tiny_encoder), learning_rate=1e-2)
        data = PairDataModule(
            16, str(pair_folder), workers=0, window_chunks=4, pool_size=40, token_dropout=0.2
        )
        trainer = Trainer(
            accelerator="cpu",
            default_root_dir=tmp_path,
            callbacks=[*callbacks, watch],
            logger=False,
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
            **{"max_steps": STEPS, "limit_val_batches": 0, **options},
        )
        trainer.fit(module, data)
        return watch, module

    return fit


def test_training_is_the_same_with_and_without_it(fit: Callable[..., Any], reviews: Path) -> None:
    plain, _ = fit()
    probed, _ = fit(LinearProbe(["CR"], str(reviews), every_n_steps=2, kfold=3, workers=1))
    assert len(plain.losses) == STEPS
    assert probed.losses == plain.losses
    assert probed.random == plain.random
    assert probed.modes == plain.modes
    assert any(plain.modes[0].values())


def test_every_submodule_gets_its_own_mode_back(fit: Callable[..., Any], reviews: Path) -> None:
    class Freeze(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            pl_module.encoder.backbone.wte.eval()

    watch, _ = fit(
        Freeze(), LinearProbe(["CR"], str(reviews), every_n_steps=1, kfold=3, workers=1), max_steps=2
    )
    frozen = {name for name, training in watch.modes[-1].items() if not training}
    assert frozen == {"encoder.backbone.wte"}


def test_it_scores_every_n_optimizer_steps_as_eval_suite_does(fit: Callable[..., Any], reviews: Path) -> None:
    probe = LinearProbe(["CR"], str(reviews), every_n_steps=2, kfold=3, workers=1)
    watch, module = fit(probe, max_steps=4, accumulate_grad_batches=2)
    seen = [score is not None for score in watch.probed]
    assert seen == [False] * 3 + [True] * 5  # two batches a step: first after batch 4
    score = run_task(module.encoder, "CR", reviews, kfold=3, workers=1).score
    assert watch.probed[-1] == pytest.approx(score, abs=1e-4)


def test_without_time_there_is_no_mean_and_the_next_begins_with_what_was_left_out(
    fit: Callable[..., Any], reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = LinearProbe(["CR"], str(reviews), every_n_steps=2, kfold=3, workers=1, max_seconds=1e-9)
    watch, _ = fit(probe, max_steps=4)
    assert watch.probed == [None] * 4
    out = "".join(capsys.readouterr())
    assert "LinearProbe: no time for CR" in out


def test_its_results_are_kept_by_step(fit: Callable[..., Any], reviews: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    fit(LinearProbe(["CR"], str(reviews), 2, kfold=3, workers=1, out=str(out)), max_steps=4)
    found = [read_result(path) for path in out.glob("*.json")]
    assert sorted(one.model["step"] for one in found) == [2, 4]
    assert {one.encoder for one in found} == {f"{tmp_path.name}/step-{step}" for step in (2, 4)}


def test_a_checkpoint_can_monitor_it(fit: Callable[..., Any], reviews: Path, tmp_path: Path) -> None:
    probe = LinearProbe(["CR"], str(reviews), every_n_steps=2, kfold=3, workers=1)
    best = ModelCheckpoint(
        tmp_path, filename="best", monitor="probe/CR", mode="max", every_n_train_steps=2, save_top_k=1
    )
    watch, _ = fit(probe, best)
    assert float(best.best_model_score) == max(watch.probed[1::2])  # type: ignore[arg-type]
    encoder = TextEncoder.load(tmp_path / "best.ckpt")
    assert run_task(encoder, "CR", reviews, kfold=3, workers=1).score == pytest.approx(
        float(best.best_model_score), abs=1e-4
    )


def test_its_mean_is_over_the_tasks(fit: Callable[..., Any], reviews: Path) -> None:
    (reviews / "downstream" / "MR").mkdir(exist_ok=True)
    for old, new in (("custrev.pos", "rt-polarity.pos"), ("custrev.neg", "rt-polarity.neg")):
        text = (reviews / "downstream" / "CR" / old).read_text()
        (reviews / "downstream" / "MR" / new).write_text("".join(text.splitlines(keepends=True)[:30]))
    seen: dict[str, float] = {}

    class Look(Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            seen.update({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("probe/")})

    fit(LinearProbe(["CR", "MR"], str(reviews), every_n_steps=1, kfold=3, workers=1), Look(), max_steps=1)
    assert seen["probe/mean"] == pytest.approx((seen["probe/CR"] + seen["probe/MR"]) / 2)


@pytest.mark.parametrize(
    ("tasks", "complaint"), [(["CRR"], "unknown task 'CRR'"), (["TREC"], "TREC")], ids=["unknown", "no data"]
)
def test_what_it_lacks_is_missed_before_the_first_step(
    fit: Callable[..., Any], reviews: Path, tasks: list[str], complaint: str
) -> None:
    watch = Watch()
    with pytest.raises(EvalError, match=complaint):
        fit(LinearProbe(tasks, str(reviews), every_n_steps=1), watch)
    assert watch.losses == []


def test_an_option_that_cannot_be_is_missed_before_the_first_step(
    fit: Callable[..., Any], reviews: Path
) -> None:
    watch = Watch()
    with pytest.raises(EvalError, match="probe 'fasst'"):
        fit(LinearProbe(["CR"], str(reviews), every_n_steps=1, probe="fasst"), watch)
    assert watch.losses == []


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_on_two_ranks(
    cpt: Callable[..., Any], recipe: Callable[..., Path], reviews: Path, tmp_path: Path, strategy: str
) -> None:
    """Both encode, rank 0 probes and both log; the losses are those of a run without probes, and a checkpoint monitors it."""
    probe = {
        "class_path": "lightning_cpt.callbacks.linear_probe.LinearProbe",
        "init_args": {"tasks": ["CR"], "data": str(reviews), "every_n_steps": 2, "kfold": 3, "workers": 1},
    }
    monitor = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {
            "dirpath": str(tmp_path / "best"),
            "monitor": "probe/CR",
            "mode": "max",
            "every_n_train_steps": 2,
        },
    }
    record = {"class_path": "recorder.Recorder", "init_args": {"folder": str(tmp_path)}}
    losses = []
    for callbacks in ([record], [probe, monitor, record]):
        changes = {"trainer.devices": 2, "trainer.strategy": strategy, "trainer.callbacks": callbacks}
        done = cpt("fit", "--config", recipe(changes))
        assert done.returncode == 0, done.stderr
        files = [tmp_path / f"losses-{rank}.txt" for rank in (0, 1)]
        losses.append([file.read_text() for file in files])
        for file in files:
            file.unlink()
    assert losses[0] == losses[1]
    assert len(losses[0][0].splitlines()) == 4
    assert len(list((tmp_path / "best").glob("*.ckpt"))) == 1
    assert "probe/CR" in next((tmp_path / "run-2" / "logs").rglob("metrics.csv")).read_text()
