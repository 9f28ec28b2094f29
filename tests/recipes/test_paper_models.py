"""The paper's recipes: parsed by the real command, their models built in their real size, on the meta device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_cpt.config import recipes
from lightning_cpt.lightning_cli import CptCLI

# Width, batch and depth (Table 1 of the paper; GPT-3's depths), and weights outside the embedding table.
PAPER = {
    "cpt-text-s": (1024, 12288, 24, 302e6),
    "cpt-text-m": (2048, 6912, 24, 1.208e9),
    "cpt-text-l": (4096, 5896, 32, 6.44e9),
    "cpt-text-xl": (12288, 4976, 96, 173.9e9),
    "cpt-code-s": (1024, 12288, 20, 252e6),
    "cpt-code-m": (2048, 6912, 24, 1.214e9),
}


@pytest.fixture
def built(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    bracket_tokenizer_folder: str,
) -> CptCLI:
    """`cpt fit --config RECIPE`, stopped before the first step; the hub's parts replaced by local stand-ins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CptCLI, "_run_subcommand", lambda self, verb: None)
    monkeypatch.setattr(CptCLI, "after_instantiate_classes", lambda self: None)  # looks for the data
    stand_ins = {"backbone": "null", "pretrained": "false", "tokenizer": bracket_tokenizer_folder}
    options = [f"--model.encoder.{key}={value}" for key, value in stand_ins.items()]
    with torch.device("meta"):
        return CptCLI(["fit", "--config", request.param, *options])


@pytest.mark.parametrize(("built", "name"), [(name, name) for name in PAPER], indirect=["built"])
def test_the_model_has_the_papers_size(built: CptCLI, name: str) -> None:
    width, batch, depth, weights = PAPER[name]
    encoder = built.model.encoder
    assert encoder.dim == width
    assert built.datamodule.batch_size == batch
    assert encoder.backbone.config.num_hidden_layers == depth
    tables = encoder.backbone.get_input_embeddings().weight.numel()
    assert sum(p.numel() for p in encoder.parameters()) - tables == pytest.approx(weights, rel=0.005)
    assert all(p.is_meta for p in encoder.parameters())
    assert encoder.tokenization.delimiters == {"x": ["[", "]"], "y": ["{", "}"]}


@pytest.mark.parametrize("name", list(PAPER))
def test_a_recipe_says_where_it_starts_and_what_is_ours(name: str) -> None:
    text = Path(recipes()[name]).read_text()
    encoder: dict[str, Any] = yaml.safe_load(text)["model"]["encoder"]
    assert encoder["pretrained"] == (encoder["backbone"] is not None) == (name != "cpt-text-xl")
    assert "Everything else is ours" in text
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if value.strip() and not key.startswith("#"):
            assert "#" in value, f"{key.strip()} has no comment"
