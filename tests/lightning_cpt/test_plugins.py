"""What a recipe can bring along: callbacks, loggers, an encoder and a loss of one's own, several ranks."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml


def scores(out: str) -> dict[str, float]:
    return {key: float(value) for key, value in re.findall(r"(\w+/\w+)\s+│\s+([\d.]+)", out)}


def _log(run: Path, version: int = 0) -> list[dict[str, str]]:
    with (run / "logs" / f"version_{version}" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_own_callbacks_and_loggers_stand_beside_ours(
    here: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    own = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"dirpath": "own", "monitor": "val/mrr"},
    }
    out, _ = here(
        "fit",
        "--config",
        recipe({"trainer.callbacks": [own], "trainer.val_check_interval": 4, "run.logger": "tensorboard"}),
    )
    assert "step 4/4" in out
    assert (tmp_path / "run" / "last.ckpt").exists()
    assert len(list((tmp_path / "own").glob("*.ckpt"))) == 1
    assert list((tmp_path / "run" / "logs").rglob("events.*"))


def test_a_probes_scores_stand_in_the_log_at_their_own_step_only(
    here: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    reviews = tmp_path / "downstream" / "CR"
    reviews.mkdir(parents=True)
    for name, word in (("pos", "good"), ("neg", "bad")):
        (reviews / f"custrev.{name}").write_text("".join(f"{word} {number}\n" for number in range(12)))
    options = {"tasks": ["CR"], "data": str(tmp_path), "every_n_steps": 2, "kfold": 2, "workers": 1}
    probe = {"class_path": "lightning_cpt.callbacks.linear_probe.LinearProbe", "init_args": options}
    here("fit", "--config", recipe({"trainer.callbacks": [probe], "trainer.max_steps": 5}))
    rows = _log(tmp_path / "run")
    assert [row["step"] for row in rows if row["probe/CR"]] == ["1", "3"]
    assert [row["step"] for row in rows if row["train/loss"]] == ["0", "1", "2", "3", "4"]


def test_an_encoder_of_ones_own(
    here: Callable[..., Any], recipe: Callable[..., Path], tiny_encoder: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "own_classes.py").write_text(
        "from lightning_cpt.encoder import TextEncoder\n"
        "from lightning_cpt.losses import InfoNCE\n"
        "class Mine(TextEncoder):\n"
        "    def __init__(self, tokenizer: str, width: int = 8):\n"
        '        super().__init__(config={"model_type": "gpt2", "n_embd": width, "n_layer": 1, "n_head": 1,'
        ' "n_positions": 32}, tokenizer=tokenizer, max_length_x=24, max_length_y=24)\n'
        "class Twice(InfoNCE):\n"
        "    def forward(self, *vectors):\n"
        "        contrast = super().forward(*vectors)\n"
        "        return contrast._replace(loss=2 * contrast.loss)\n"
    )
    encoder = {
        "class_path": "own_classes.Mine",
        "init_args": {"tokenizer": tiny_encoder["tokenizer"], "width": 4},
    }
    here(
        "fit",
        "--config",
        recipe({"model.encoder": encoder, "model.loss": {"class_path": "own_classes.Twice"}}),
    )
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert saved["state_dict"]["encoder.backbone.wte.weight"].shape[1] == 4
    assert float(_log(tmp_path / "run")[0]["train/loss"]) > 4.5  # twice about ln 16
    here("test", "--ckpt_path", "run/last.ckpt")


def test_a_shipped_recipe_is_found_by_its_name(here: Callable[..., Any], tmp_path: Path) -> None:
    out, _ = here("fit", "--config", "cpt-text-s", "--print_config")
    assert yaml.safe_load(out)["data"]["batch_size"] == 12288


@pytest.mark.slow
def test_two_ranks_validate_as_one_does(cpt: Callable[..., Any], recipe: Callable[..., Path]) -> None:
    found = []
    for ranks in (1, 2):
        changes = {
            "trainer.devices": ranks,
            "trainer.strategy": "ddp" if ranks > 1 else "auto",
            "data.pool_size": 37,
        }
        done = cpt("validate", "--config", recipe(changes))
        assert done.returncode == 0, done.stderr
        found.append(scores(done.stdout))
    assert found[0].keys() == {"val/mrr", "val/mrr_y_to_x", "val/loss"}
    assert found[0] == pytest.approx(found[1], abs=1e-5)


@pytest.mark.slow
def test_two_ranks_train_as_one_does(
    cpt: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """The same global batches, so the same mean loss, while there is no dropout."""
    still = {f"model.encoder.config.{name}_pdrop": 0.0 for name in ("attn", "embd", "resid")}
    found = []
    for ranks in (1, 2):
        changes = {
            "trainer.devices": ranks,
            "trainer.strategy": "ddp" if ranks > 1 else "auto",
            "run.folder": f"run{ranks}",
        }
        done = cpt("fit", "--config", recipe({**still, **changes, "trainer.max_steps": 8}))
        assert done.returncode == 0, done.stderr
        found.append(
            [float(row["train/loss"]) for row in _log(tmp_path / f"run{ranks}") if row["train/loss"]]
        )
    assert len(found[0]) == 8
    assert found[0] == pytest.approx(found[1], rel=1e-4)
