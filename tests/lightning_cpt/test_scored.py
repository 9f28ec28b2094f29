"""What eval_suite learns of an encoder of ours beside its vectors."""

from __future__ import annotations

from typing import Any

from eval_suite.diagnostics import truncated_share
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.scored import quiet


def test_it_counts_uncut_tokens_and_names_each_sides_limit(tiny_encoder: dict[str, Any]) -> None:
    encoder = quiet(TextEncoder(**{**tiny_encoder, "max_length_x": 6, "max_length_y": 12}))
    texts = ["abcd", "abcde", "x" * 30]  # a token a byte, and two delimiters
    assert encoder.token_count(texts) == [6, 7, 32]
    assert encoder.max_length == {"x": 6, "y": 12}
    assert truncated_share(encoder, texts, "x") == 2 / 3
    assert truncated_share(encoder, texts, "y") == 1 / 3


def test_repeats_that_are_dropped_are_not_counted(tiny_encoder: dict[str, Any]) -> None:
    encoder = quiet(TextEncoder(**tiny_encoder, drop_repeats=True))
    assert encoder.token_count(["xxxxxxxx", "xyxy"]) == [3, 4]


def test_its_facts(tiny_encoder: dict[str, Any]) -> None:
    encoder = TextEncoder(**tiny_encoder)
    assert quiet(encoder).facts == {
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "max_length": 24,
        "pooling": "last token",
    }
    encoder.steps = 7
    assert quiet(encoder).facts["step"] == 7
