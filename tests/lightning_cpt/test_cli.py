"""The `cpt` command: light to start, and each mistake ends in one line that names the key and the cure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_cpt.cli import MISTAKE, VERBS, main
from lightning_cpt.config import known_keys

HEAVY = ("torch", "lightning", "transformers", "sklearn", "jsonargparse")


@pytest.fixture()
def mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run `cpt ARGUMENTS`, which must fail with exactly one line on stderr; returns its message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # and so put back what Lightning sets

    def run(*arguments: str | Path) -> str:
        status = main([str(argument) for argument in arguments])
        error = capfd.readouterr().err.splitlines()
        assert status == MISTAKE
        assert [line.startswith("cpt: error: ") for line in error] == [True], "\n".join(error)
        return error[0].removeprefix("cpt: error: ")

    return run


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["trian"], ["prep", "--help"], ["eval", "--help"]])
def test_no_heavy_import_before_it_is_needed(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom lightning_cpt.cli import main\n"
        f"try:\n    main({arguments})\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {verb} " in out for verb in VERBS)


def test_an_unknown_command(mistake: Callable[..., str]) -> None:
    assert mistake("fti").startswith("unknown command 'fti'; did you mean 'fit'? commands: prep, fit, ")
    assert mistake("xyz").startswith("unknown command 'xyz'; commands: prep, fit, ")
    assert "see `cpt prep --help`" in mistake("prep", "cdoe")


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt at the top": ({"modle.learning_rate": 1.0}, "modle: no such key; did you mean model?"),
    "misspelt in the model": (
        {"model.learnig_rate": 1.0},
        "model.learnig_rate: no such key; did you mean model.learning_rate?",
    ),
    "misspelt in the encoder": (
        {"model.encoder.max_lenght_x": 8},
        "model.encoder.max_lenght_x: no such key; did you mean model.encoder.max_length_x?",
    ),
    "misspelt in the loss": (
        {"model.loss.initial_temprature": 0.1},
        "model.loss.initial_temprature: no such key; did you mean model.loss.initial_temperature?",
    ),
    "misspelt in the data": ({"data.batchsize": 8}, "data.batchsize: no such key; did you mean data.batch_size?"),
    "misspelt in the trainer": (
        {"trainer.max_step": 8},
        "trainer.max_step: no such key; did you mean trainer.max_steps?",
    ),
    "misspelt in the run": ({"run.fodler": "x"}, "run.fodler: no such key; did you mean run.folder?"),
    "like nothing": ({"data.zzz": 1}, "data.zzz: no such key; known: data.folder, data.batch_size, "),
    "wrong type": ({"data.batch_size": "many"}, "data.batch_size: expected int. Got value: many"),
    "wrong type in the encoder": (
        {"model.encoder.max_length_x": "long"},
        "model.encoder.max_length_x: expected int. Got value: long",
    ),
    "wrong choice": (
        {"model.encoder.attention": "sideways"},
        "model.encoder.attention: expected one of 'backbone', 'causal', 'bidirectional'. Got value: sideways",
    ),
    "no data folder": ({"data.folder": "nowhere"}, "data.folder: there is no folder nowhere; `cpt prep ..."),
    "no such tokenizer": ({"model.encoder.tokenizer": "./nowhere"}, "model.encoder.tokenizer: "),
    "too small": ({"data.batch_size": 0}, "data.batch_size: 0 is too small; use 1 or more"),
    "too large": ({"data.batch_size": 999}, "data.batch_size: 999 pairs a batch, but only 345 to train on; use at "),
    "a share above 1": ({"data.token_dropout": 1.5}, "data.token_dropout: 1.5 is not a share from 0 to below 1"),
    "not for the ranks": (
        {"trainer.devices": 3, "trainer.strategy": "ddp"},
        "data.batch_size: 16 is not divisible by 3 ranks; use 15 or 18",
    ),
    "16-bit weights": ({"trainer.precision": "bf16-true"}, "trainer.precision: bf16-true keeps weights"),
    "no end": ({"trainer.max_steps": -1}, "trainer.max_steps: missing; say for how many steps"),
    "refused by Lightning": ({"trainer.val_check_interval": 99}, "trainer: `val_check_interval` (99) must be less"),
    "longer than the positions": (
        {"model.encoder.max_length_y": 64},
        "model.encoder.max_length_y: 64 is more than the backbone's 32 positions; use 32 or less",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_a_recipe(case: str, mistake: Callable[..., str], recipe: Callable[..., Path]) -> None:
    changes, message = MISTAKES[case]
    assert mistake("fit", "--config", recipe(changes)).startswith(message)
