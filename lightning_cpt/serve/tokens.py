"""What the HTTP process knows of a model: how texts become token ids, how long they may be, how wide vectors are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from data_prep.files import write_atomic
from lightning_cpt.serve.errors import ApiError

SIDES = ("query", "document", "plain")  # plain: what a request without input_type gets


@dataclass(frozen=True)
class Form:
    """How a text of one side is put together: ``lead + ids of (prompt + text) + tail``.

    Args:
        prompt: Text in front of each text.
        lead: Token ids in front.
        tail: Token ids behind.
        room: Most token ids between them.
        tokenizer: Which of the card's.
    """

    prompt: str
    lead: list[int]
    tail: list[int]
    room: int
    tokenizer: int = 0


@dataclass(frozen=True)
class Card:
    """A model, as far as requests are concerned.

    Args:
        name: What requests call it.
        fingerprint: Hash of weights and tokenisation.
        dim: Columns of a vector.
        forms: One for each of SIDES.
        tokenizers: Of the tokenizers library, as JSON.
        drop_repeats: Each token of a text counts once.
        special_is_text: A text that spells a special token stays text.
        rounds: Tokens, padding included, that the model takes at once.
    """

    name: str
    fingerprint: str
    dim: int
    forms: dict[str, Form]
    tokenizers: list[str]
    drop_repeats: bool
    special_is_text: bool
    rounds: int

    def write(self, path: Path) -> None:
        write_atomic(path, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, path: Path) -> Card:
        state: dict[str, Any] = json.loads(path.read_bytes())
        state["forms"] = {side: Form(**form) for side, form in state["forms"].items()}
        return cls(**state)

    def ids(self, texts: Sequence[str], side: str, *, truncate: bool = False) -> list[list[int]]:
        """Token ids of texts, as the model wants them.

        Raises:
            ApiError: a text is longer than the model reads, and nobody asked to cut it.
        """
        form = self.forms[side]
        fast = self._fast[form.tokenizer]
        encoded = fast.encode_batch_fast([form.prompt + text for text in texts], add_special_tokens=False)
        return self._framed([one.ids for one in encoded], form, truncate)

    def framed(self, rows: Sequence[Sequence[int]], side: str, *, truncate: bool = False) -> list[list[int]]:
        """As :meth:`ids`, of texts that the client has turned into ids of this model's vocabulary.

        Raises:
            ApiError: an id that is none, or as :meth:`ids`.
        """
        form = self.forms[side]
        fast = self._fast[form.tokenizer]
        most = self._vocabulary[form.tokenizer]
        for at, row in enumerate(rows):
            bad = next((token for token in row if not 0 <= token < most), None)
            if bad is not None:
                raise ApiError(
                    400,
                    f"input[{at}]: {bad} is no token id of {self.name}; its vocabulary has {most}",
                    param="input",
                    code="invalid_token_id",
                )
        prompt = fast.encode(form.prompt, add_special_tokens=False).ids if form.prompt else []
        return self._framed([[*prompt, *row] for row in rows], form, truncate)

    def _framed(self, rows: list[list[int]], form: Form, truncate: bool) -> list[list[int]]:
        if self.drop_repeats:
            rows = [list(dict.fromkeys(row)) for row in rows]
        for at, row in enumerate(rows):
            if len(row) > form.room and not truncate:
                raise ApiError(
                    400,
                    f"input[{at}]: {len(row)} tokens, {self.name} reads {form.room}; shorten it, or ask for it to be "
                    'cut with "truncate": true',
                    param="input",
                    code="context_length_exceeded",
                )
        return [[*form.lead, *row[: form.room], *form.tail] for row in rows]

    @cached_property
    def _fast(self) -> list[Tokenizer]:
        made = [Tokenizer.from_str(text) for text in self.tokenizers]
        for fast in made:
            fast.encode_special_tokens = self.special_is_text
        return made

    @cached_property
    def _vocabulary(self) -> list[int]:
        return [max(fast.get_vocab(with_added_tokens=True).values()) + 1 for fast in self._fast]
