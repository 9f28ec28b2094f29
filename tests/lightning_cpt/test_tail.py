"""The last feed-forward at the ends alone: the whole layer's values and gradients, a fraction of its work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.tail import Tail

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
KINDS: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "qwen3": {**SMALL, "head_dim": 16, "num_key_value_heads": 2},
    "gpt_neox": SMALL,
    "gpt2": {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
    },
    "modernbert": SMALL,
}
WITHOUT: dict[str, dict[str, Any]] = {
    "bert": SMALL,  # its feed-forward has two halves of other names
    "albert": {**SMALL, "num_hidden_groups": 1, "embedding_size": 16},  # one layer that runs many times
}
TEXTS = ["a", "some longer text, in bytes", "", "x" * 90, "def f():\n    return 1"]


def build(kind: str, tokenizer: str, **options: Any) -> TextEncoder:
    torch.manual_seed(0)
    config = {"model_type": kind, "vocab_size": 300, **{**KINDS, **WITHOUT}[kind]}
    return TextEncoder(config=config, tokenizer=tokenizer, max_length_x=64, max_length_y=64, **options)


def outcome(encoder: TextEncoder) -> tuple[Tensor, Tensor]:
    encoder.zero_grad()
    vectors = encoder(encoder.tokenization(TEXTS, "x"))
    (vectors * torch.arange(vectors.numel()).view_as(vectors).sin()).sum().backward()
    return vectors.detach(), torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])


@pytest.mark.parametrize("memory", ["all", 0])
@pytest.mark.parametrize("padding_free", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_the_whole_layer(
    kind: str, padding_free: bool, memory: Any, tokenizer_folder: str
) -> None:
    if padding_free and kind == "modernbert":
        pytest.skip("its windows are refused without padding")
    options: dict[str, Any] = {"padding_free": padding_free, "activation_memory": memory, "chunk_tokens": 150}
    encoder = build(kind, tokenizer_folder, **options)
    assert encoder._tail.part is not None
    outcome(encoder)  # what is tried out before the first time
    seen: list[int] = []
    encoder._tail.part.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    found = outcome(encoder)
    assert encoder.work is not None
    forwards = 2 * encoder.work.chunks - encoder.work.kept_chunks
    assert sum(seen[:forwards]) <= 2 * len(TEXTS)  # rows, not tokens
    whole = build(kind, tokenizer_folder, **options)
    whole._tail = Tail(nn.Identity())
    for mine, theirs in zip(found, outcome(whole), strict=True):
        assert float((mine - theirs).norm() / theirs.norm()) < 1e-5


@pytest.mark.parametrize("kind", WITHOUT)
def test_other_models_run_whole(kind: str, tokenizer_folder: str) -> None:
    encoder = build(kind, tokenizer_folder)
    assert encoder._tail.part is None
    assert torch.isfinite(encoder(encoder.tokenization(TEXTS, "x"))).all()


def test_a_feed_forward_that_mixes_tokens_is_left_alone(tokenizer_folder: str) -> None:
    model = build("llama", tokenizer_folder).backbone

    class Mixing(nn.Module):
        def forward(self, states: Tensor) -> Tensor:
            return states + states.roll(1, dims=1)

    model.layers[-1].mlp = Mixing()  # type: ignore[union-attr, index]
    tail = Tail(model)
    assert tail.part is None
    assert not model.layers[-1].mlp._forward_hooks  # type: ignore[union-attr, index]


def test_outside_of_it_all_tokens_are_computed(tokenizer_folder: str) -> None:
    encoder = build("llama", tokenizer_folder)
    tokens = torch.arange(1, 13).view(2, 6)
    before = encoder.backbone(input_ids=tokens).last_hidden_state
    with pytest.raises(RuntimeError), encoder._tail.only(torch.tensor([5])):
        raise RuntimeError
    assert torch.equal(encoder.backbone(input_ids=tokens).last_hidden_state, before)
