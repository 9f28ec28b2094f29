"""Batches of equal length against sentence-transformers' own methods, and that a text's vector is its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eval_suite.buckets import _batches, encode_in_buckets

WORDS = ["a", "cat", "dog", "runs", "sits", "in", "the", "sun", "find", ":"]


def texts(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[:8], int(rng.integers(1, 14)))) for _ in range(n)]


def test_batches_hold_one_length_in_one_shape() -> None:
    lengths = np.array([3, 5, 3, 3, 5] * 300)
    seen: list[int] = []
    shapes: dict[int, set[int]] = {}
    for rows, wanted in _batches(lengths):
        (length,) = set(lengths[rows].tolist())
        shapes.setdefault(length, set()).add(len(rows))
        seen += rows[:wanted].tolist()
    assert sorted(seen) == list(range(1500))
    assert all(len(sizes) == 1 for sizes in shapes.values())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A two-layer BERT with random weights behind sentence-transformers, at most 10 tokens, with a query prompt."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    modules = sentence_transformers.sentence_transformer.modules
    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder)
    transformer = modules.Transformer(str(folder), max_seq_length=10)
    return sentence_transformers.SentenceTransformer(
        modules=[transformer, modules.Pooling(32), modules.Normalize()],
        prompts={"query": "find : "},
        device="cpu",
    )


@pytest.mark.slow  # the library alone takes seconds to import
@pytest.mark.parametrize("side", ["plain", "x", "y"])
def test_the_vectors_are_the_models_own(tiny: Any, side: str) -> None:
    own = {"plain": tiny.encode, "x": tiny.encode_query, "y": tiny.encode_document}[side]
    some = texts(200)
    found = encode_in_buckets(tiny, some, side)
    assert found.dtype == np.float32
    assert np.abs(found - own(some)).max() < 1e-5
    assert np.abs(encode_in_buckets(tiny, some, "x") - encode_in_buckets(tiny, some, "plain")).max() > 1e-3


@pytest.mark.slow
def test_a_texts_vector_does_not_depend_on_its_company(tiny: Any) -> None:
    some = texts(60)
    together = encode_in_buckets(tiny, [*texts(500, seed=1), *some], "plain")[-60:]
    assert np.array_equal(encode_in_buckets(tiny, some, "plain"), together)
    assert np.array_equal(encode_in_buckets(tiny, some[:1], "plain")[0], together[0])


@pytest.mark.slow
def test_left_padding_goes_through_the_models_own_method(tiny: Any) -> None:
    tiny.tokenizer.padding_side = "left"
    try:
        some = texts(30)
        assert np.abs(encode_in_buckets(tiny, some, "plain") - tiny.encode(some)).max() < 1e-5
    finally:
        tiny.tokenizer.padding_side = "right"


@pytest.mark.slow
def test_the_adapter_counts_tokens_before_anything_is_cut(tiny: Any) -> None:
    from eval_suite.adapters import SentenceTransformerEncoder
    from eval_suite.diagnostics import truncated_share

    encoder = SentenceTransformerEncoder(tiny, "st-fast:tiny", fast=True)
    slow = SentenceTransformerEncoder(tiny, "st:tiny")
    assert encoder.fingerprint != slow.fingerprint
    assert np.abs(encoder.encode(texts(50), "plain") - slow.encode(texts(50), "plain")).max() < 1e-5
    some = ["a cat", "a cat runs in the sun the sun the sun"]
    assert encoder.token_count(some) == [4, 12]
    assert truncated_share(encoder, some) == 0.5
    assert encoder.facts["pooling"] == "mean"
    assert encoder.facts["max_length"] == encoder.max_length == 10
