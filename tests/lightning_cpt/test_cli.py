"""The `cpt` command: light to start, and each mistake ends in one line that names the key and the cure."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_cpt.cli import MISTAKE, VERBS, main
from lightning_cpt.data.datamodule import PairDataModule
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.lightning_cli import RunSettings
from lightning_cpt.losses import InfoNCE
from lightning_cpt.module import ContrastiveModule

HEAVY = ("torch", "lightning", "transformers", "sklearn", "jsonargparse")


@pytest.fixture
def mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run `cpt ARGUMENTS`, which must fail with one line and nothing else but notes; returns its message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # and so put back what Lightning sets

    def run(*arguments: str | Path) -> str:
        status = main([str(argument) for argument in arguments])
        lines = capfd.readouterr().err.splitlines()
        assert status == MISTAKE
        assert all(line.startswith("cpt: ") for line in lines), "\n".join(lines)
        errors = [line for line in lines if line.startswith("cpt: error: ")]
        assert errors == lines[-1:]
        return errors[0].removeprefix("cpt: error: ")

    return run


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["--version"], ["trian"], ["prep", "--help"], ["eval", "--help"]]
)
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


PROBE = {"class_path": "lightning_cpt.callbacks.linear_probe.LinearProbe"}
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "negative learning rate": ({"model.learning_rate": -1.0}, "model.learning_rate: -1.0 is not 0 or more"),
    "negative decay": ({"model.weight_decay": -1.0}, "model.weight_decay: -1.0 is not 0 or more"),
    "beta of two": ({"model.betas": [0.9, 2.0]}, "model.betas: (0.9, 2.0) is not from 0 to below 1"),
    "never log": ({"trainer.log_every_n_steps": 0}, "trainer.log_every_n_steps: 0 is not above 0"),
    "never save": ({"run.checkpoint_every": 0}, "run.checkpoint_every: 0 is not 1 or more"),
    "overfit": (
        {"trainer.overfit_batches": 1},
        "trainer.overfit_batches: does not go with a resumable stream",
    ),
    "reload": (
        {"trainer.reload_dataloaders_every_n_epochs": 1},
        "trainer.reload_dataloaders_every_n_epochs: does not go with a resumable stream",
    ),
    "misspelt at the top": (
        {"modle.learning_rate": 1.0},
        "modle.learning_rate: no such key; did you mean model.learning_rate?",
    ),
    "misspelt without keys below it": (
        {"seed_everythin": 1},
        "seed_everythin: no such key; did you mean seed_everything?",
    ),
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
    "misspelt in the data": (
        {"data.batchsize": 8},
        "data.batchsize: no such key; did you mean data.batch_size?",
    ),
    "misspelt in the trainer": (
        {"trainer.max_step": 8},
        "trainer.max_step: no such key; did you mean trainer.max_steps?",
    ),
    "misspelt in the run": ({"run.fodler": "x"}, "run.fodler: no such key; did you mean run.folder?"),
    "like nothing": ({"data.zzz": 1}, "data.zzz: no such key; known: data.batch_size, data.folder, "),
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
    "no such tokenizer": (
        {"model.encoder.tokenizer": "./nowhere"},
        "model.encoder.tokenizer: './nowhere' is no folder",
    ),
    "too small": ({"data.batch_size": 0}, "data.batch_size: 0 is too small; use 1 or more"),
    "too large": (
        {"data.batch_size": 999},
        "data.batch_size: 999 pairs a batch, but only 345 to train on; use at ",
    ),
    "a share above 1": (
        {"data.token_dropout": 1.5},
        "data.token_dropout: 1.5 is not a share from 0 to below 1",
    ),
    "not for the ranks": (
        {"trainer.devices": 3, "trainer.strategy": "ddp"},
        "data.batch_size: 16 is not divisible by 3 ranks; use 15 or 18",
    ),
    "16-bit weights": ({"trainer.precision": "bf16-true"}, "trainer.precision: bf16-true keeps weights"),
    "no end": ({"trainer.max_steps": -1}, "trainer.max_steps: missing; say for how many steps"),
    "refused by Lightning": (
        {"trainer.val_check_interval": 99},
        "trainer: `val_check_interval` (99) must be less",
    ),
    "a loss that cannot be": (
        {"model.loss.initial_temperature": 0.001},
        "model.loss.initial_temperature: 0.001 is outside 0.01 to 100",
    ),
    "a callback that cannot be": (
        {"trainer.callbacks": [{**PROBE, "init_args": {"tasks": ["CR"], "data": "x", "every_n_steps": 0}}]},
        "LinearProbe.every_n_steps: 0 is too small; use 1 or more",
    ),
    "an unknown task": (
        {"trainer.callbacks": [{**PROBE, "init_args": {"tasks": ["CX"], "data": "x", "every_n_steps": 1}}]},
        "unknown task 'CX'",
    ),
    "delimiters of more than one token": (
        {"model.encoder.delimiters": {"x": ["<x>", "</x>"], "y": ["<code>", "</y>"]}},
        "model.encoder.delimiters.y: '<code>' is not one token of this tokenizer; name tokens of its vocabulary",
    ),
    "longer than the positions": (
        {"model.encoder.max_length_y": 64},
        "model.encoder.max_length_y: 64 is more than the backbone's 32 positions; use 32 or less",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_a_recipe(case: str, mistake: Callable[..., str], recipe: Callable[..., Path]) -> None:
    changes, message = MISTAKES[case]
    assert mistake("fit", "--config", recipe(changes)).startswith(message)


def test_a_key_without_which_nothing_goes(
    mistake: Callable[..., str], tmp_path: Path, recipe: Callable[..., Path]
) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text("model: {encoder: {}}\n")
    assert mistake("fit") == "model.encoder: missing; write it into the recipe, or give --model.encoder"
    assert mistake("fit", "--config", bare).startswith("data.batch_size: missing; ")
    assert mistake("fit", "--config", recipe({"data.folder": None})).startswith("data.folder: missing; ")


def test_a_recipe_that_is_not_there(mistake: Callable[..., str], tmp_path: Path) -> None:
    message = mistake("fit", "--config", "quickstrat")
    assert message.startswith(
        "--config quickstrat: no such file, and no recipe of that name; did you mean 'quickstart'?"
    )
    assert mistake("fit", "--config=no/such.yaml").startswith("--config no/such.yaml: no such file")
    (tmp_path / "broken.yaml").write_text("model: [1, 2\n")
    assert mistake("fit", "--config", tmp_path / "broken.yaml").startswith("--config: not readable as YAML")


def test_a_mistake_on_the_command_line(mistake: Callable[..., str], recipe: Callable[..., Path]) -> None:
    def run(*arguments: str) -> str:
        return mistake("fit", "--config", recipe(), *arguments)

    assert run("--model.lerning_rate", "1") == (
        "model.lerning_rate: no such key; did you mean model.learning_rate?"
    )
    assert run("--model.encoder.max_lenght_x", "8") == (
        "model.encoder.max_lenght_x: no such key; did you mean model.encoder.max_length_x?"
    )
    assert run("--data.batch_size", "many").startswith("data.batch_size: expected int. Got value: many")


def test_a_tokenizer_without_the_delimiters(
    mistake: Callable[..., str], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1, "[": 2}, unk_token="<pad>"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>").save_pretrained(tmp_path / "words")
    message = mistake("fit", "--config", recipe({"model.encoder.tokenizer": str(tmp_path / "words")}))
    assert message.startswith("model.encoder.delimiters.x: ']' is not one token of this tokenizer; ")


def test_a_checkpoint_that_is_none(mistake: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("nothing")
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04" + bytes(100))
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.ckpt")
    for verb in ("fit", "validate", "test", "predict"):
        for name, complaint in (
            ("absent.ckpt", "no such checkpoint"),
            ("text.ckpt", "not a readable checkpoint (cut off, or another kind of file)"),
            ("cut.ckpt", "not a readable checkpoint (cut off, or another kind of file)"),
            ("other.ckpt", "holds no encoder; give a checkpoint that `cpt fit` wrote"),
            (".", "a folder, not a checkpoint; name a file, such as cut.ckpt"),
        ):
            assert mistake(verb, "--ckpt_path", name) == f"ckpt_path: {name}: {complaint}"


def test_empty_and_damaged_data(
    mistake: Callable[..., str], recipe: Callable[..., Path], pair_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in mistake("fit", "--config", recipe({"data.folder": "empty"}))
    shutil.copytree(pair_folder, tmp_path / "cut")
    shard = next((tmp_path / "cut" / "train").glob("*.tar"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert shard.name in mistake("fit", "--config", recipe({"data.folder": "cut"}))
    damaged = bytearray(whole)
    damaged[600:700] = bytes(100)  # inside the first chunk: nothing shows before it is read
    shard.write_bytes(damaged)
    for workers in (0, 1):
        message = mistake(
            "fit",
            "--config",
            recipe({"data.folder": "cut", "data.workers": workers, "trainer.max_steps": 21}),
        )
        assert shard.name in message
        assert "chunk 0" in message


def test_a_text_file_to_predict_that_is_not_right(
    mistake: Callable[..., str], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    def run(text: str) -> str:
        (tmp_path / "texts.jsonl").write_text(text)
        return mistake("predict", "--config", recipe({"data.predict": "texts.jsonl"}))

    assert run("") == "data.predict: texts.jsonl is empty"
    assert run('{"x": "a"}\nno').startswith("texts.jsonl:2: not JSON")
    assert run('{"x": "a"}\n{"y": "b"}').startswith("texts.jsonl:2: other sides than in line 1")
    assert run('{"z": "a"}').startswith('texts.jsonl:1: needs {"x": text}')
    assert "none.jsonl" in mistake("predict", "--config", recipe({"data.predict": "none.jsonl"}))


def test_a_mistake_shows_no_traceback_in_a_process_of_its_own(
    cpt: Callable[..., Any], recipe: Callable[..., Path]
) -> None:
    done = cpt("fit", "--config", recipe({"data.batchsize": 8}))
    assert done.returncode == MISTAKE
    assert done.stdout == ""
    assert done.stderr == "cpt: error: data.batchsize: no such key; did you mean data.batch_size?\n"


def test_the_help_shows_every_key_with_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0
    entries = re.split(r"\n  (?=-)", capsys.readouterr().out)
    options = {entry.split()[0].rstrip(","): " ".join(entry.split()) for entry in entries}
    for prefix, cls in {
        "model": ContrastiveModule,
        "model.encoder": TextEncoder,
        "model.loss": InfoNCE,
        "data": PairDataModule,
        "run": RunSettings,
    }.items():
        for name in signature(cls).parameters:
            if f"{prefix}.{name}" in ("model.encoder", "model.loss"):
                continue
            entry = options[f"--{prefix}.{name}"]
            assert len(re.findall(r"[a-z]{2,}", entry.split(name, 1)[1])) >= 4, entry
