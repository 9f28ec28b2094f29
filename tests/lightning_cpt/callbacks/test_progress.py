"""What a run shows: the numbers that matter, once per logged step."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_cpt.callbacks.progress import RunProgress


def test_lines_where_no_terminal_is(here: Callable[..., Any], recipe: Callable[..., Path]) -> None:
    changes = {"trainer.max_steps": 6, "trainer.log_every_n_steps": 2, "trainer.val_check_interval": 3}
    out, _ = here("fit", "--config", recipe({**changes, "trainer.accumulate_grad_batches": 2}))
    lines = [line for line in out.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == ["2/6", "4/6", "6/6"]
    number = r"\d+(\.\d+)?"
    assert re.fullmatch(
        rf"step 6/6  loss {number}  acc {number}  scale {number}  pairs/s {number}  val mrr {number}",
        lines[-1],
    )


def test_one_bar_over_all_steps_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, here: Callable[..., Any], recipe: Callable[..., Path]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    path = recipe({"trainer.max_steps": 30})  # more than an epoch of 21
    out, _ = here("fit", "--config", path)
    last = out.replace("\r", "\n").strip().splitlines()[-1]
    assert "30/30" in last
    assert "loss=" in last
    assert "pairs/s=" in last
    assert "step 30/30" not in out


def test_a_bar_of_the_recipe_replaces_ours(here: Callable[..., Any], recipe: Callable[..., Path]) -> None:
    other = {"class_path": "lightning.pytorch.callbacks.TQDMProgressBar"}
    out, _ = here("fit", "--config", recipe({"trainer.callbacks": [other]}))
    assert "step " not in out
    assert "Epoch 0" in out
    out, _ = here("fit", "--config", recipe({"trainer.enable_progress_bar": False}))
    assert out == ""


def test_ranks_other_than_0_show_nothing() -> None:
    bar = RunProgress()
    bar.disable()  # what Lightning does there
    assert bar.init_train_tqdm().disable
