"""Turns the two sides' texts into token ids between that side's delimiters."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xxhash
from tokenizers import Tokenizer

from data_prep.token_ids import rows_needed, set_up, text_ids, tokenizer_hash
from lightning_cpt.errors import ConfigError
from lightning_cpt.hub import load_tokenizer
from lightning_cpt.ragged import Ragged

Side = Literal["x", "y"]
SIDES: tuple[Side, Side] = ("x", "y")
OWN = {"x": ["<x>", "</x>"], "y": ["<y>", "</y>"]}  # what `cpt prep tokenizer` puts into its vocabularies
BRACKETS = {"x": ["[", "]"], "y": ["{", "}"]}  # the paper's, section 2.1


class PairTokenizer:
    """``[start] + ids of the text, truncated + [end]``, with other delimiters for x than for y.

    The end token is appended after truncation, so it is never lost; text that spells a delimiter or another
    special token stays text.

    Args:
        tokenizer: hub name or local folder of any fast tokenizer.
        delimiters: ``{"x": [start, end], "y": [start, end]}``, each one token of the vocabulary; ``"auto"``
            takes ``<x> </x> <y> </y>`` where the vocabulary has them, else ``[ ] { }``.
        max_length_x: most tokens of an x, its two delimiters included.
        max_length_y: most tokens of a y, its two delimiters included.
        drop_repeats: keep each token once, at its first place, before truncation: a repeat then weighs nothing,
            as BM25 nearly has it, and long texts get shorter.
        revision: branch, tag or commit of the hub's repository.

    Raises:
        ConfigError: no tokenizer there, a delimiter that is not one token, or a length below 3.
    """

    def __init__(
        self,
        tokenizer: str | Path,
        *,
        delimiters: Literal["auto"] | Mapping[str, Sequence[str]] = "auto",
        max_length_x: int = 512,
        max_length_y: int = 512,
        drop_repeats: bool = False,
        revision: str | None = None,
    ) -> None:
        fast, pad_id = load_tokenizer(str(tokenizer), revision)
        max_length = {"x": max_length_x, "y": max_length_y}
        self._setup(fast, pad_id, _choose(fast, delimiters), max_length, drop_repeats)

    def _setup(
        self,
        fast: Tokenizer,
        pad_id: int,
        delimiters: dict[str, list[str]],
        max_length: dict[str, int],
        drop_repeats: bool,
    ) -> None:
        set_up(fast)
        self._fast = fast
        self.pad_id = pad_id
        self.delimiters = delimiters
        self.max_length = max_length
        self.drop_repeats = drop_repeats
        for side in SIDES:
            if max_length[side] < 3:
                raise ConfigError(
                    f"max_length_{side}: {max_length[side]} leaves no room for text between the two delimiters; "
                    "use 3 or more"
                )
        self._ends = {side: _delimiter_ids(fast, side, delimiters) for side in SIDES}

    def __call__(self, texts: Sequence[str | np.ndarray], side: Side) -> Ragged:
        """Token ids of ``texts``, delimiters included, in order.

        Args:
            texts: Strings; in the place of any of them may stand its ids, as pre-tokenised shards have them.

        Raises:
            ConfigError: unknown side, or something that is neither a string nor ids among the texts.
        """
        return self.encode(texts, side)[0]

    def encode(self, texts: Sequence[str | np.ndarray], side: Side) -> tuple[Ragged, torch.Tensor]:
        """As a call gives them, and which of the texts lost tokens to truncation, bool ``(n,)``."""
        if side not in SIDES:
            raise ConfigError(f"side: {side!r} is none of 'x', 'y'")
        start, end = self._ends[side]
        room = self.max_length[side] - 2
        given = [text for text in texts if isinstance(text, np.ndarray)]
        if len(given) == len(texts) > 0 and not self.drop_repeats:
            return _between(start, given, end, room), _longer(given, room)
        found = self._ids(texts)
        return Ragged.from_lists([[start, *ids[:room], end] for ids in found]), _longer(found, room)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids as far as the vocabulary gives it back, delimiters included."""
        return str(self._fast.decode(list(ids), skip_special_tokens=False))

    def _ids(self, texts: Sequence[str | np.ndarray]) -> list[list[int]]:
        """Ids of texts, or of what is ids already, repeats dropped where that is set."""
        if not any(isinstance(text, np.ndarray) for text in texts):
            return self.text_ids(texts)  # type: ignore[arg-type]
        made = iter(self.text_ids([text for text in texts if not isinstance(text, np.ndarray)]))
        return [
            self._dropped(text.tolist()) if isinstance(text, np.ndarray) else next(made) for text in texts
        ]

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of ``texts`` alone: no delimiters, no truncation; repeats dropped where that is set.

        Raises:
            ConfigError: something that is not a string among the texts.
        """
        _check_texts(texts)
        if torch.utils.data.get_worker_info() is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers themselves are the parallelism
        return [self._dropped(ids) for ids in text_ids(self._fast, texts)]

    def _dropped(self, ids: list[int]) -> list[int]:
        return list(dict.fromkeys(ids)) if self.drop_repeats else ids

    def __len__(self) -> int:
        """Rows an embedding table needs: the highest token id + 1."""
        return rows_needed(self._fast)

    @cached_property
    def text_hash(self) -> str:
        """Hash of what decides a text's ids, and of nothing else: what pre-tokenised shards name their tokenizer by."""
        return tokenizer_hash(self._fast.to_str())

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the ids: vocabulary, delimiters, lengths."""
        return xxhash.xxh3_128_hexdigest(json.dumps(self.to_dict(), sort_keys=True).encode())

    def to_dict(self) -> dict[str, Any]:
        """Plain strings and ints that rebuild this tokenizer without its folder or the hub."""
        return {
            "tokenizer": self._fast.to_str(),
            "pad_id": self.pad_id,
            "delimiters": self.delimiters,
            "max_length": self.max_length,
            "drop_repeats": self.drop_repeats,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> PairTokenizer:
        """The inverse of :meth:`to_dict`."""
        self = cls.__new__(cls)
        fast = Tokenizer.from_str(state["tokenizer"])
        delimiters, max_length = dict(state["delimiters"]), dict(state["max_length"])
        self._setup(fast, state["pad_id"], delimiters, max_length, state["drop_repeats"])
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_dict, (self.to_dict(),)  # to worker processes


def _longer(ids: Sequence[Sequence[int] | np.ndarray], room: int) -> torch.Tensor:
    return torch.tensor([len(one) > room for one in ids], dtype=torch.bool)


def _between(start: int, ids: Sequence[np.ndarray], end: int, room: int) -> Ragged:
    """Ids that are there already between their delimiters, without a look at each of them."""
    first, last = (np.array([token], ids[0].dtype) for token in (start, end))
    kept = [one[:room] for one in ids]
    parts = [part for one in kept for part in (first, one, last)]
    lengths = np.fromiter((len(one) + 2 for one in kept), np.int64, len(kept))
    return Ragged(torch.from_numpy(np.concatenate(parts).astype(np.int64)), torch.from_numpy(lengths))


def _choose(
    fast: Tokenizer, delimiters: Literal["auto"] | Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    if isinstance(delimiters, str):
        if delimiters != "auto":
            raise ConfigError(
                f'delimiters: {delimiters!r} is not "auto" or {{x: [start, end], y: [start, end]}}'
            )
        own = all(fast.token_to_id(token) is not None for pair in OWN.values() for token in pair)
        return {side: list(pair) for side, pair in (OWN if own else BRACKETS).items()}
    if sorted(delimiters) != ["x", "y"] or any(len(pair) != 2 for pair in delimiters.values()):
        raise ConfigError("delimiters: needs {x: [start, end], y: [start, end]}")
    return {side: list(delimiters[side]) for side in SIDES}


def _delimiter_ids(fast: Tokenizer, side: str, delimiters: dict[str, list[str]]) -> tuple[int, int]:
    ids = []
    for token in delimiters[side]:
        found = fast.token_to_id(token)
        if found is None:
            raise ConfigError(
                f"delimiters.{side}: {token!r} is not one token of this tokenizer; name tokens of its vocabulary, "
                "or train a tokenizer of your own with `cpt prep tokenizer`"
            )
        ids.append(found)
    return ids[0], ids[1]


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise ConfigError("texts: a list of strings is needed, not one string")
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise ConfigError(f"texts[{at}]: {type(text).__name__} is not a string")
        if not is_unicode(text):
            raise ConfigError(f"texts[{at}]: holds half of a surrogate pair, which is no character")


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8: JSON's escapes can smuggle in halves of surrogate pairs."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
