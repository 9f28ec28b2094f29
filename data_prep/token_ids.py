"""Texts to token ids as training makes them, without delimiters or truncation; and the hash that names a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What decides the ids of a text. Truncation, padding, decoder and post-processor do not: they are switched off, or
# add special tokens, which nobody asks for.
_DECISIVE = ("normalizer", "pre_tokenizer", "model", "added_tokens")


def text_tokenizer(serialised: str) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``, set up for :func:`text_ids`.

    Args:
        serialised: The file's content.
    """
    from tokenizers import Tokenizer

    fast = Tokenizer.from_str(serialised)
    set_up(fast)
    return fast


def set_up(fast: Tokenizer) -> None:
    """Switch off what cuts or fills texts; special tokens spelt out in a text stay text."""
    fast.no_truncation()
    fast.no_padding()
    fast.encode_special_tokens = True


def text_ids(fast: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text alone: no special tokens, all of the text.

    Args:
        fast: Set up by :func:`set_up`.
        texts: Valid Unicode.
    """
    return [encoded.ids for encoded in fast.encode_batch_fast(list(texts), add_special_tokens=False)]


def rows_needed(fast: Tokenizer) -> int:
    """Rows of an embedding table: the highest token id + 1."""
    return max(fast.get_vocab(with_added_tokens=True).values()) + 1


def tokenizer_hash(serialised: str) -> str:
    """xxh3_128 of what decides a text's ids, 32 hex digits: the same for one vocabulary however it is wrapped.

    Args:
        serialised: The content of a ``tokenizer.json``.
    """
    content = json.loads(serialised)
    text = json.dumps({key: content.get(key) for key in _DECISIVE}, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode())
