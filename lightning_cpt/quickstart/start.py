"""Writes the weights that the quickstart's encoder starts from: one GPT layer that averages its tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2Model


def write_start(folder: Path, *, vocabulary: int, width: int, heads: int, positions: int, seed: int) -> None:
    """Save a one-layer GPT-2 in ``folder`` whose last state is close to the mean of its tokens' vectors.

    A GPT's usual start mixes the tokens through two random matrices, and a short training spends its time on
    undoing that. Here values and output projection are the identity, all positions begin equal, and the queries
    are near zero: the attention begins uniform and learns which tokens count. In trials this start found
    more after 35 steps (MRR 0.55 on the tuning packages) than the usual one after 70 (0.47).

    Args:
        folder: Gets config.json and model.safetensors, as ``AutoModel.from_pretrained`` reads them.
        vocabulary: Rows of the embedding table.
        width: Width of the states and of the embeddings.
        heads: Attention heads; must divide ``width``.
        positions: Longest sequence in tokens.
        seed: Seed of the token vectors.
    """
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=width,
        n_layer=1,
        n_head=heads,
        n_inner=width // 8,
        n_positions=positions,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = GPT2Model(config)
        block: Any = model.h[0]
        model.wpe.weight.zero_()
        queries, values = slice(0, width), slice(2 * width, 3 * width)
        block.attn.c_attn.weight[:, queries] *= 0.1  # (width, 3 width)
        block.attn.c_attn.weight[:, values] = torch.eye(width)
        block.attn.c_attn.bias[queries].normal_(std=0.1)  # lets each head learn weights of its own
        block.attn.c_proj.weight.copy_(torch.eye(width))
        block.mlp.c_proj.weight.zero_()
    model.save_pretrained(folder)
