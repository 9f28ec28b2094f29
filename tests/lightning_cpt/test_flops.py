"""FLOPs by formula against torch's own counter, and the numbers made of them against hand-computed ones."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel

from lightning_cpt.callbacks.throughput import add_work
from lightning_cpt.data.batch import PairBatch
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.flops import (
    Costs,
    Totals,
    count_costs,
    hardware_flops,
    model_flops,
    over_ranks,
    rates,
    recomputed_flops,
)

MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "llama": {"num_key_value_heads": 2, "head_dim": 16},
    "bert": {"max_position_embeddings": 64},
    "qwen3": {"head_dim": 16, "num_key_value_heads": 4},
    "opt": {"word_embed_proj_dim": 16, "ffn_dim": 48, "max_position_embeddings": 64},
    "albert": {"embedding_size": 8, "num_hidden_layers": 3, "max_position_embeddings": 64},
}
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def tiny(kind: str, **changes: Any) -> nn.Module:
    keys = {} if kind == "gpt2" else SHAPE
    config = AutoConfig.for_model(kind, vocab_size=50, **{**keys, **MODELS.get(kind, {}), **changes})
    model: nn.Module = AutoModel.from_config(config, attn_implementation="eager").eval()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # as the encoder does it
    return model


def counted(model: nn.Module, tokens: Tensor, mask: Tensor | None = None, backward: bool = False) -> int:
    """FLOPs by torch's counter."""
    with FlopCounterMode(display=False) as counter:
        states = model(input_ids=tokens, attention_mask=mask).last_hidden_state
        if backward:
            states.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", MODELS)
def test_forward_is_what_torch_counts(kind: str) -> None:
    """Exactly so; where positions are rotary, torch also counts their angles, one product per token."""
    model = tiny(kind)
    costs = count_costs(model)
    assert costs is not None
    for rows, length in ((1, 7), (3, 20)):
        ours, theirs = costs.forward(rows * length, rows * length**2), counted(model, ids(rows, length))
        if kind in ("llama", "qwen3"):
            assert ours == pytest.approx(theirs, rel=0.002)
            assert ours <= theirs
        else:
            assert ours == theirs


def ids(rows: int, length: int) -> Tensor:
    return (torch.arange(rows * length) % 40 + 3).view(rows, length)


def test_a_padded_forward_costs_its_padding() -> None:
    model, lengths = tiny("bert"), torch.tensor([4, 20])
    costs = count_costs(model)
    assert costs is not None
    mask = (torch.arange(20) < lengths[:, None]).long()
    assert costs.forward(2 * 20, 2 * 20**2) == counted(model, ids(2, 20), mask)


def test_backward_is_twice_the_forward() -> None:
    model = tiny("gpt2")
    costs = count_costs(model)
    assert costs is not None
    done = Totals(tokens=40, squares=800, padded_tokens=40, padded_squares=800)
    assert model_flops(done, costs) == counted(model, ids(2, 20), backward=True)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_a_step_of_the_encoder_is_what_torch_counts(kind: str, tokenizer_folder: str) -> None:
    """Padding, chunks, recomputation and backward pass, by what the encoder reports of its work."""
    shape = MODELS[kind] if kind == "gpt2" else {**SHAPE, **MODELS[kind]}
    options: dict[str, Any] = {"config": {"model_type": kind, **shape}, "chunk_tokens": 100}
    encoder = TextEncoder(
        tokenizer=tokenizer_folder, max_length_x=40, max_length_y=40, activation_memory=0, **options
    )
    batch = encoder.tokenization(["a" * (3 * i + 1) for i in range(12)], "x")
    with FlopCounterMode(display=False) as counter:
        encoder(batch).sum().backward()
    costs, window = count_costs(encoder.backbone), Totals()
    assert costs is not None
    add_work(window, PairBatch(batch, batch, None, [], torch.empty(0), torch.empty(0)), encoder.work)
    assert window.padded_tokens > window.recomputed_tokens > 0
    assert hardware_flops(window, costs) == counter.get_total_flops()


def test_experts_count_as_often_as_a_token_meets_them() -> None:
    model = tiny("mixtral", num_local_experts=8, num_experts_per_tok=2, num_key_value_heads=4)
    costs = count_costs(model)
    attention, expert = 4 * 32 * 32, 3 * 32 * 48
    assert costs is not None
    assert costs[:2] == (2 * 2 * (attention + 2 * expert), 4 * 2 * 32)
    model.config = SimpleNamespace(hidden_size=32, num_attention_heads=4)  # type: ignore[assignment]
    assert count_costs(model) is None


def test_listed_experts_share_the_tokens() -> None:
    model = nn.Module()
    model.experts = nn.ModuleList(nn.Linear(4, 6) for _ in range(8))
    outer = nn.Module()
    outer.layer = model
    outer.config = SimpleNamespace(num_experts_per_tok=2)  # type: ignore[assignment]
    assert count_costs(outer) == Costs(per_token=2 * 2 * 24, per_square=0)


def test_linear_attention_has_no_squares() -> None:
    model = nn.Linear(8, 8)
    model.config = SimpleNamespace(  # type: ignore[assignment]
        hidden_size=8,
        num_attention_heads=2,
        num_hidden_layers=4,
        layer_types=["linear_attention", "sliding_attention", "full_attention", "mamba"],
    )
    assert count_costs(model) == Costs(per_token=2 * 64, per_square=4 * 2 * 8)


@pytest.mark.parametrize("model", [None, "text", nn.Linear(2, 2), nn.Embedding(2, 2)])
def test_what_is_no_transformer_has_unknown_costs(model: Any) -> None:
    assert count_costs(model) is None


COSTS = Costs(per_token=100, per_square=2)
# 40 of 50 tokens are real; 20 of the 50 are computed again.
DONE = Totals(
    steps=2,
    pairs=8,
    tokens=40,
    padded_tokens=50,
    recomputed_tokens=20,
    squares=300,
    padded_squares=500,
    recomputed_squares=200,
    nanoseconds=2 * 10**9,
    rank_nanoseconds=4 * 10**9,
    waited=10**9,
)


def test_numbers_by_hand() -> None:
    assert model_flops(DONE, COSTS) == 3 * (40 * 100 + 300 * 2) == 13_800
    assert recomputed_flops(DONE, COSTS) == 20 * 100 + 200 * 2 == 2_400
    assert hardware_flops(DONE, COSTS) == 3 * (50 * 100 + 500 * 2) + 2_400 == 20_400
    assert rates(DONE, COSTS, peak=20_400.0) == {
        "pairs_per_second": 4.0,
        "tokens_per_second": 20.0,
        "mfu": pytest.approx(13_800 / 40_800),
        "hfu": 0.5,
        "padding": pytest.approx(0.2),
        "recomputed": pytest.approx(2_400 / 20_400),
        "waiting": 0.25,
    }


def test_nothing_padded_or_repeated_makes_both_utilisations_equal() -> None:
    done = Totals(tokens=40, padded_tokens=40, squares=300, padded_squares=300, nanoseconds=10**9)
    found = rates(done, COSTS, peak=1e6)
    assert found["mfu"] == found["hfu"]
    assert found["padding"] == found["recomputed"] == 0


@pytest.mark.parametrize(
    ("changes", "costs", "peak", "unknown"),
    [
        ({}, None, 1e6, {"mfu", "hfu", "recomputed"}),
        ({}, COSTS, None, {"mfu", "hfu"}),
        ({"unreported": 1}, COSTS, 1e6, {"mfu", "hfu", "recomputed", "padding"}),
        ({"unwatched": 1}, COSTS, 1e6, {"waiting"}),
        (
            {"nanoseconds": 0, "rank_nanoseconds": 0},
            COSTS,
            1e6,
            {"pairs_per_second", "tokens_per_second", "mfu", "hfu", "waiting"},
        ),
    ],
)
def test_unknown_is_none_and_not_0(changes: Any, costs: Any, peak: Any, unknown: set[str]) -> None:
    found = rates(replace(DONE, **changes), costs, peak)
    assert {name for name, value in found.items() if value is None} == unknown


def test_ranks_add_up_but_for_time_and_steps() -> None:
    slow = Totals(steps=2, pairs=8, tokens=30, nanoseconds=3 * 10**9, rank_nanoseconds=3 * 10**9, waited=7)
    fast = Totals(steps=2, pairs=8, tokens=50, nanoseconds=2 * 10**9, rank_nanoseconds=2 * 10**9, waited=1)
    both = over_ranks([slow, fast])
    assert both == Totals(
        steps=2, pairs=16, tokens=80, nanoseconds=2 * 10**9, rank_nanoseconds=5 * 10**9, waited=8
    )
    assert over_ranks([slow]) == slow
