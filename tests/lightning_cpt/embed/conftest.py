"""A checkpoint of a tiny encoder, and texts of unequal length."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
import yaml

from lightning_cpt.encoder import TextEncoder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: str) -> Path:
    """RUN/last.ckpt of an encoder with random weights."""
    torch.manual_seed(0)
    shape = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
    encoder = TextEncoder(config=shape, tokenizer=tokenizer_folder, max_length_x=24, max_length_y=24)
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    whole = {
        "encoder": encoder.to_dict(),
        "state_dict": state,
        "global_step": 7,
        "config": yaml.safe_dump({}),
    }
    torch.save(whole, path)
    return path


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """150 texts, all different, one of them empty."""
    rng = random.Random(0)
    return ["", *(f"{i} " + "".join(rng.choices("abcdefgh ", k=rng.randint(0, 40))) for i in range(149))]
