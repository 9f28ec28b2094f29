"""Checkpoints of small encoders of several kinds, as `cpt fit` leaves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_cpt.encoder import TextEncoder

SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "bert": {
        "model_type": "bert",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    },
    "qwen3": {
        "model_type": "qwen3",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "intermediate_size": 32,
    },
}


@pytest.fixture
def checkpoint(tmp_path: Path, tokenizer_folder: str) -> Callable[..., Path]:
    """``checkpoint("gpt2", drop_repeats=True)``: path of a checkpoint with random weights, RUN/last.ckpt."""

    def make(kind: str = "gpt2", *, config: dict[str, Any] | None = None, **options: Any) -> Path:
        torch.manual_seed(0)
        lengths = {"max_length_x": 24, "max_length_y": 40} | options
        encoder = TextEncoder(config=dict(SHAPES[kind]), tokenizer=tokenizer_folder, **lengths)
        with torch.no_grad():
            for weight in encoder.parameters():  # away from the start's small numbers, as training does
                weight.add_(0.05 * torch.randn_like(weight))
        folder = tmp_path / f"run-{kind}"
        folder.mkdir(exist_ok=True)
        state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
        recipe = {"model": {"encoder": {"max_length_x": 24}}, "data": {"folder": str(tmp_path / "data")}}
        whole = {"encoder": encoder.to_dict(), "state_dict": state, "global_step": 7}
        torch.save({**whole, "config": yaml.safe_dump(config or recipe)}, folder / "last.ckpt")
        return folder / "last.ckpt"

    return make
