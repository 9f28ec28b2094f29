"""Checks before the first step that pre-tokenised shards hold the ids that the run's tokenizer would make."""

from __future__ import annotations

from typing import Any

from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import SIDES, PairTokenizer


def check_tokenizer(name: str, source: Any, tokenizer: PairTokenizer) -> None:
    """Refuse token ids of another tokenizer, and such that were cut where this run needs more of them.

    Args:
        name: Of the source, for the message.
        source: Shards or a plug-in; what holds texts is left alone.

    Raises:
        ConfigError: naming the folder and the cure.
    """
    head = source.tokens
    if head is None:
        return
    cure = f"tokenise the texts again (`cpt prep tokenize`), or train on the texts of {name}"
    if head.tokenizer != tokenizer.text_hash:
        raise ConfigError(
            f"{source.folder}: its token ids are of tokenizer {head.tokenizer[:12]}, but model.encoder has "
            f"{tokenizer.text_hash[:12]}; take that one, or {cure}"
        )
    if not source.cut:
        return
    for side in SIDES:
        if tokenizer.max_length[side] - 2 > head.max_tokens or tokenizer.drop_repeats:
            why = (
                "drop_repeats looks at whole texts"
                if tokenizer.drop_repeats
                else f"max_length_{side}: {tokenizer.max_length[side]} needs {tokenizer.max_length[side] - 2}"
            )
            raise ConfigError(
                f"{source.folder}: {source.cut:,} texts were cut at {head.max_tokens} tokens (--max-tokens), but "
                f"model.encoder's {why}; {cure}"
            )
