"""Trains a byte-level BPE tokenizer with delimiter tokens for the two sides, and saves it for transformers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import DataError
from data_prep.files import write_atomic

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Ids 0 to 4: padding, then the delimiters of x and of y.
SPECIAL_TOKENS = ("<pad>", "<x>", "</x>", "<y>", "</y>")
_SMALLEST = 256 + len(SPECIAL_TOKENS)


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, identifiers: bool) -> Tokenizer:
    """Train on ``texts``.

    Args:
        texts: Both sides of the training pairs.
        vocab_size: Tokens in all, the five special ones and the 256 bytes among them.
        identifiers: Take identifiers apart (camelCase, ``_``, digits), lower-case, drop spaces, keep
            punctuation: ``readCSVFile_2`` is ``read csv file 2``. Not reversible; made for search in code.

    Raises:
        DataError: the vocabulary is smaller than the special tokens and the bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocab_size < _SMALLEST:
        raise DataError(
            f"--vocab-size {vocab_size}: at least {_SMALLEST} (256 bytes and {len(SPECIAL_TOKENS)} special tokens)"
        )
    tokenizer = Tokenizer(models.BPE())
    if identifiers:
        _take_identifiers_apart(tokenizer)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _take_identifiers_apart(tokenizer: Tokenizer) -> None:
    from tokenizers import Regex, normalizers, pre_tokenizers

    tokenizer.normalizer = normalizers.Sequence(
        [
            # fooBar -> foo Bar, then CSVFile -> CSV File
            normalizers.Replace(Regex(r"(?<=[a-z0-9])(?=[A-Z])"), " "),
            normalizers.Replace(Regex(r"(?<=[A-Z])(?=[A-Z][a-z])"), " "),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\s_]+"), "removed"),
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split(Regex(r"[^\w]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``; ``AutoTokenizer.from_pretrained(folder)`` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": SPECIAL_TOKENS[0],
        "extra_special_tokens": list(SPECIAL_TOKENS[1:]),
        "clean_up_tokenization_spaces": False,
        # A text that happens to hold "<x>" must not be read as a delimiter.
        "split_special_tokens": True,
    }
    write_atomic(folder / "tokenizer.json", tokenizer.to_str(pretty=True).encode())
    write_atomic(folder / "tokenizer_config.json", (json.dumps(config, indent=1) + "\n").encode())
