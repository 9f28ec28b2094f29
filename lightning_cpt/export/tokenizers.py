"""One ordinary tokenizer for each side: its delimiters as a template around the truncated text."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import PairTokenizer, Side


def plain_tokenizer(tokenization: PairTokenizer) -> Tokenizer:
    """A copy of the tokenizer without any template: the ids of texts alone."""
    try:
        fast = Tokenizer.from_str(tokenization.to_dict()["tokenizer"])
    except Exception as error:  # the library raises bare Exceptions for parts that are Python code
        raise ConfigError(
            f"export: the tokenizer cannot be written as tokenizer.json ({error}); train with one that can"
        ) from error
    fast.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    fast.no_truncation()
    fast.no_padding()
    fast.encode_special_tokens = True
    return fast


def side_tokenizer(tokenization: PairTokenizer, side: Side) -> Tokenizer:
    """The tokenizer that puts a side's delimiters around a text; whoever truncates must leave room for the two."""
    fast = plain_tokenizer(tokenization)
    fast.post_processor = TemplateProcessing(
        single="START $A END",
        special_tokens=[
            {"id": name, "ids": [fast.token_to_id(token)], "tokens": [token]}
            for name, token in zip(("START", "END"), tokenization.delimiters[side], strict=True)
        ],
    )
    return fast


def as_transformers(fast: Tokenizer, tokenization: PairTokenizer, max_length: int | None) -> Any:
    """The tokenizer as a class of transformers.

    It is no class of a model family's: those put their own template back when they are loaded.

    Args:
        fast: with or without a template.
        tokenization: whose padding token it gets.
        max_length: tokens after which it truncates, the delimiters included; None never does.
    """
    from transformers import PreTrainedTokenizerFast

    limit = {} if max_length is None else {"model_max_length": max_length}
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        pad_token=fast.id_to_token(tokenization.pad_id),
        padding_side="right",
        truncation_side="right",
        split_special_tokens=True,  # "</y>" inside a text is text, not a delimiter
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **limit,
    )
