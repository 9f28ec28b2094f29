"""The start: an encoder whose vector is close to the mean of its tokens' vectors, and that can learn from there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.quickstart.start import write_start


@pytest.fixture
def encoder(tmp_path: Path, tokenizer_folder: str) -> TextEncoder:
    from lightning_cpt.tokenization import PairTokenizer

    vocabulary = len(PairTokenizer(tokenizer_folder))
    write_start(tmp_path, vocabulary=vocabulary, width=64, heads=4, positions=32, seed=0)
    return TextEncoder(str(tmp_path), tokenizer=tokenizer_folder, max_length_x=32, max_length_y=32)


def test_the_vector_is_near_the_mean_of_the_tokens(encoder: TextEncoder) -> None:
    batch = encoder.tokenization(["read the file and close it", "sort a list"], "y")
    with torch.no_grad():
        found = encoder(batch)
        table = encoder.backbone.get_input_embeddings().weight
        normed = F.layer_norm(table, table.shape[1:])
        means = torch.stack([normed[batch[i]].mean(0) for i in range(2)])
        cosines = F.cosine_similarity(found, means)
    assert (cosines > 0.9).all()


def test_every_weight_is_reached_by_the_gradient(encoder: TextEncoder) -> None:
    batch = encoder.tokenization(["read the file", "sort a list of numbers", "close"], "x")
    encoder(batch)[:, 0].sum().backward()
    dead = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # Behind the zero projection of the feed-forward part; they move from the second step on.
    assert all(".mlp.c_fc." in name or ".ln_2." in name for name in dead)


def test_the_same_seed_gives_the_same_file_and_leaves_the_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    for name in ("a", "b"):
        write_start(tmp_path / name, vocabulary=50, width=16, heads=2, positions=8, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second
