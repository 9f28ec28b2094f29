"""Attention without padding equals the padded backbone, or is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_cpt.attention import NAME, attend, check_padding_free, kernel_runs, padding_free
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
NO_DROPOUT = {"attention_dropout": 0.0, "attention_probs_dropout_prob": 0.0, "attn_pdrop": 0.0}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {**SMALL, "num_key_value_heads": 2},
    "qwen3": {**SMALL, "num_key_value_heads": 2, "head_dim": 16},
    "gpt_neox": SMALL,
    "gpt2": {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
    },
    "mistral": {**SMALL, "num_key_value_heads": 2},
    "gemma2": {**SMALL, "num_key_value_heads": 2, "head_dim": 16},
    "codegen": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 48,
        "word_embed_proj_dim": 32,
        "dropout": 0.0,
    },
    "bert": {**SMALL, "attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0},
    "roberta": {**SMALL, "attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0},
}
KNOWN = [kind for kind in KINDS if kind not in ("mistral", "gemma2", "codegen")]
TEXTS = ["a", "some longer text, in bytes", "", "x" * 90, "def f():\n    return 1", "one more"]


def build(kind: str, tokenizer: str, **options: Any) -> TextEncoder:
    torch.manual_seed(0)
    config = {"model_type": kind, "vocab_size": 300, **KINDS[kind], **options.pop("config", {})}
    return TextEncoder(config=config, tokenizer=tokenizer, max_length_x=64, max_length_y=64, **options)


def outcome(encoder: TextEncoder) -> tuple[Tensor, Tensor]:
    encoder.zero_grad()
    vectors = encoder(encoder.tokenization(TEXTS, "x"))
    (vectors * torch.arange(vectors.numel()).view_as(vectors).sin()).sum().backward()
    return vectors.detach(), torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])


@pytest.mark.parametrize("memory", ["all", 0])
@pytest.mark.parametrize("attention", ["backbone", "causal", "bidirectional"])
@pytest.mark.parametrize("kind", KNOWN)
def test_equals_the_padded_backbone(kind: str, attention: str, memory: Any, tokenizer_folder: str) -> None:
    options: dict[str, Any] = {"attention": attention, "activation_memory": memory, "chunk_tokens": 150}
    try:
        padded = build(kind, tokenizer_folder, padding_free=False, **options)
    except ConfigError:
        pytest.skip(f"{kind} cannot be {attention}")
    free = build(kind, tokenizer_folder, padding_free=True, **options)
    for mine, theirs in zip(outcome(free), outcome(padded), strict=True):
        assert float((mine - theirs).norm() / theirs.norm()) < 1e-5
    assert free.work is not None
    assert padded.work is not None
    assert free.work.padded_tokens == free.work.tokens < padded.work.padded_tokens
    assert free.backbone.config._attn_implementation != NAME  # put back


REFUSED = [
    ("mistral", {"sliding_window": 8}, "within 8 tokens"),
    ("gemma2", {}, "within 4096 tokens"),
    ("llama", {"attention_dropout": 0.1}, "attention dropout"),
    ("codegen", {}, "differs from one sequence at a time"),
]


@pytest.mark.parametrize(("kind", "config", "reason"), REFUSED)
def test_what_it_does_not_know_is_refused(
    kind: str, config: dict[str, Any], reason: str, tokenizer_folder: str
) -> None:
    encoder = build(kind, tokenizer_folder, padding_free=True, config=config)
    with pytest.raises(ConfigError, match=reason):
        encoder(encoder.tokenization(TEXTS, "x"))


@pytest.mark.parametrize("asked", [{"softcap": 50.0}, {"s_aux": torch.ones(2)}, {"sliding_window": 8}])
def test_what_reaches_the_attention_function_is_refused_by_name(asked: dict[str, Any]) -> None:
    heads = torch.zeros(1, 2, 5, 4)  # (1, heads, total, width)
    bounds: dict[str, Any] = {"cu_seq_lens_q": torch.tensor([0, 5]), "max_length_q": 5, "packed_causal": True}
    attend(torch.nn.Identity(), heads, heads, heads, None, **bounds)
    with pytest.raises(ConfigError, match=next(iter(asked))):
        attend(torch.nn.Identity(), heads, heads, heads, None, **bounds, **asked)


def test_a_model_that_loses_the_places_is_found_out(tokenizer_folder: str) -> None:
    model = build("gpt2", tokenizer_folder).backbone
    forward = model.forward

    def forgetful(*args: Any, position_ids: Tensor | None = None, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    model.forward = forgetful
    with pytest.raises(ConfigError, match="differs from one sequence at a time"):
        check_padding_free(model, causal=True, first_position=0, longest=64)


@pytest.mark.parametrize(
    ("kind", "config", "reason"),
    [
        # Its attention is its own: a comparison alone would find nothing wrong.
        (
            "codegen",
            {"n_embd": 32, "n_layer": 1, "n_head": 4, "rotary_dim": 4, "n_positions": 80},
            "codegen|CodeGen",
        ),
        (
            "gpt_neo",
            {
                "hidden_size": 32,
                "num_layers": 1,
                "num_heads": 2,
                "attention_types": [[["global"], 1]],
                "max_position_embeddings": 80,
            },
            "does not run without padding|of its own",
        ),
        (
            "llama4_text",
            {
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "intermediate_size": 32,
                "intermediate_size_mlp": 32,
                "num_local_experts": 2,
                "attention_chunk_size": 128,
                "max_position_embeddings": 512,
            },
            "within 128 tokens",
        ),
    ],
)
def test_auto_falls_back_and_says_why(
    kind: str, config: dict[str, Any], reason: str, tokenizer_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on CUDA, where `auto` tries every backbone: no traceback, a warning, and padding."""
    monkeypatch.setattr("lightning_cpt.encoder.kernel_runs", lambda device: True)
    encoder = TextEncoder(
        config={"model_type": kind, **config}, tokenizer=tokenizer_folder, max_length_x=48, max_length_y=48
    )
    with pytest.warns(UserWarning, match=reason):
        encoder(encoder.tokenization(TEXTS, "x"))
    assert encoder.work is not None
    assert encoder.work.padded_tokens > encoder.work.tokens


def test_auto_pads_where_there_is_no_kernel(tokenizer_folder: str) -> None:
    encoder = build("llama", tokenizer_folder)
    encoder(encoder.tokenization(TEXTS, "x"))
    assert not kernel_runs(torch.device("cpu"))
    assert encoder.work is not None
    assert encoder.work.padded_tokens > encoder.work.tokens


def test_the_check_leaves_mode_and_random_state(tokenizer_folder: str) -> None:
    model = build("bert", tokenizer_folder).backbone.train()
    before = torch.get_rng_state()
    check_padding_free(model, causal=False, first_position=0, longest=64)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training


def test_the_attention_is_put_back_after_an_error(tokenizer_folder: str) -> None:
    model = build("llama", tokenizer_folder).backbone
    before = model.config._attn_implementation  # type: ignore[union-attr]
    with pytest.raises(RuntimeError), padding_free(model):
        raise RuntimeError
    assert model.config._attn_implementation == before  # type: ignore[union-attr]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KNOWN)
def test_the_kernel_equals_the_padded_backbone_on_cuda(kind: str, tokenizer_folder: str) -> None:
    found = []
    for free in (True, False):
        encoder = build(kind, tokenizer_folder, padding_free=free).cuda()
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            vectors = encoder(encoder.tokenization(TEXTS, "x").to("cuda"))
        found.append(vectors)
    assert float((found[0] - found[1]).norm() / found[1].norm()) < 2e-2
