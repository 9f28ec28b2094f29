"""The second stage's recipes: parsed by the real command, their encoder started from a tiny checkpoint."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from data_prep.cli import add_commands
from lightning_cpt import TextEncoder
from lightning_cpt.config import recipes
from lightning_cpt.lightning_cli import CptCLI

ROOT = Path(__file__).parents[2]
NAMES = ["cpt-text-nli", "cpt-text-msmarco"]


@pytest.fixture
def checkpoint(tmp_path: Path, bracket_tokenizer_folder: str) -> Path:
    """What `cpt fit --config cpt-text-s` leaves, as far as a second stage looks at it."""
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = TextEncoder(config={"model_type": "gpt_neox", **shape}, tokenizer=bracket_tokenizer_folder)
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    path = tmp_path / "runs" / "cpt-text-s" / "last.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({"encoder": encoder.to_dict(), "state_dict": state, "global_step": 7}, path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_it_starts_from_the_first_stages_checkpoint_where_that_lies(
    name: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CptCLI, "_run_subcommand", lambda self, verb: None)
    monkeypatch.setattr(CptCLI, "after_instantiate_classes", lambda self: None)  # looks for the data
    cli = CptCLI(["fit", "--config", name])
    encoder = cli.model.encoder
    assert encoder.name == "cpt-text-s-step7"
    assert encoder.tokenization.delimiters == {"x": ["[", "]"], "y": ["{", "}"]}
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(value, weights[f"encoder.{key}"]) for key, value in encoder.state_dict().items())
    assert cli.datamodule.hard_negatives > 0
    assert cli.trainer.max_steps > cli.model.warmup_steps


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_explained_and_the_encoders_are_all_there(name: str) -> None:
    text = Path(recipes()[name]).read_text()
    recipe: dict[str, Any] = yaml.safe_load(text)
    first: dict[str, Any] = yaml.safe_load(Path(recipes()["cpt-text-s"]).read_text())
    assert "Everything else is ours" in text
    for part in ("trainer", "model", "data"):
        assert set(first[part]) <= set(recipe[part])
    assert set(recipe["model"]["encoder"]) == set(first["model"]["encoder"])
    assert recipe["model"]["encoder"]["backbone"] == "runs/cpt-text-s/last.ckpt"
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if value.strip() and not key.startswith("#"):
            assert "#" in value, f"{key.strip()} has no comment"


def lines() -> list[str]:
    pages = [ROOT / "docs" / "second-stage.md", *(Path(recipes()[name]) for name in NAMES)]
    found = [line.lstrip("# ") for page in pages for line in page.read_text().splitlines()]
    return [line for line in found if line.startswith("cpt prep ")]


@pytest.mark.parametrize("line", lines())
def test_the_commands_of_the_page_and_the_recipes_are_taken(line: str) -> None:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(shlex.split(line)[1:])
    assert args.prep_command in ("nli", "triples")
    assert args.out.parent.name == "data"


def test_the_page_and_the_recipes_name_the_same_folders() -> None:
    outs = {line.split("--out ")[1].split()[0] for line in lines()}
    assert outs == {yaml.safe_load(Path(recipes()[name]).read_text())["data"]["folder"] for name in NAMES}
