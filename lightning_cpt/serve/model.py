"""The model behind the server: a checkpoint, or a sentence-transformers model, that encodes token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch

from eval_suite.adapters import SentenceTransformerEncoder
from eval_suite.encoder import Encoder, load_encoder
from eval_suite.vectors import unit_rows
from lightning_cpt.chunks import plan_chunks
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.ragged import Ragged
from lightning_cpt.scored import QuietEncoder
from lightning_cpt.serve.tokens import Card, Form

_CPU_TOKENS, _GPU_TOKENS = 2048, 16384  # padded tokens of a chunk
_CHECKED = ["a", "Sort a list; then reverse it.", "def mean(values):\n    return sum(values) / len(values)"]
_TOLERANCE = 1e-4  # of a served vector, against the encoder's own
_OURS = {"query": "x", "document": "y", "plain": "x"}


class Served(Protocol):
    """Encodes token ids; ``sided``: texts of different sides must not share a batch."""

    card: Card
    sided: bool

    def encode(self, rows: Sequence[Sequence[int]], side: str) -> np.ndarray:
        """Unit vectors float32 ``(n, d)`` of rows that the card's ``ids`` made."""


def load_served(spec: str, name: str | None, device: str) -> Served:
    """The model of ``ckpt:FILE`` or ``st:NAME``, checked against its own way of encoding.

    Raises:
        ConfigError: a kind of encoder that has no tokens, or a model whose texts are more than their tokens.
        EvalError: it cannot be loaded.
    """
    encoder = load_encoder(spec)
    served: Served
    if isinstance(encoder, QuietEncoder):
        served = _Checkpoint(encoder, device)
    elif isinstance(encoder, SentenceTransformerEncoder):
        served = _SentenceTransformer(encoder, device)
    else:
        raise ConfigError(
            f"--encoder {spec}: a server counts tokens, and this has none; give ckpt:FILE or st:NAME"
        )
    _check(served, encoder)
    served.card = replace(served.card, name=name or encoder.name)
    return served


def _check(served: Served, encoder: Encoder) -> None:
    """Raise a ConfigError where the served vectors are not those of the encoder itself."""
    sides = {"query": "x", "document": "y", "plain": getattr(encoder, "symmetric_side", "x")}
    for side, own in sides.items():
        rows = served.card.ids(_CHECKED, side, truncate=True)
        found, right = served.encode(rows, side), unit_rows(encoder.encode(_CHECKED, own), np.float32)
        off = float(np.abs(found - right).max())
        if not off < _TOLERANCE:
            raise ConfigError(
                f"{encoder.name}: its {side} vectors from token ids are {off:.1e} off its own; this kind of model, "
                "whose texts are more than their tokens, is not served"
            )


class _Checkpoint:
    """An encoder of this package: both sides differ in their delimiters only, and may share a batch."""

    sided = False

    def __init__(self, quiet: QuietEncoder, device: str) -> None:
        self.encoder: TextEncoder = quiet.encoder.to(device)
        tokens = self.encoder.tokenization.to_dict()
        forms = {side: _form(self.encoder, own) for side, own in _OURS.items()}
        most = _CPU_TOKENS if self.encoder.device.type == "cpu" else self.encoder.chunk_tokens
        self.card = Card(
            quiet.name,
            quiet.fingerprint,
            self.encoder.dim,
            forms,
            [tokens["tokenizer"]],
            tokens["drop_repeats"],
            True,
            most,
        )

    def encode(self, rows: Sequence[Sequence[int]], side: str) -> np.ndarray:
        return self.encoder.encode_tokens(Ragged.from_lists(rows))


def _form(encoder: TextEncoder, side: str) -> Form:
    tokens = encoder.tokenization
    start, end = tokens([""], side)[0].tolist()  # type: ignore[arg-type]
    return Form("", [start], [end], tokens.max_length[side] - 2)


class _SentenceTransformer:
    """A sentence-transformers model over one fast tokenizer a side, its prompts and special tokens as it has them."""

    def __init__(self, encoder: SentenceTransformerEncoder, device: str) -> None:
        self.model = encoder.model.to(device)
        firsts = {side: _first(self.model, side) for side in _OURS}
        # A Router anywhere, first or behind the pooling, sends a whole batch one way.
        self.sided = any(hasattr(module, "sub_modules") for module in self.model)
        tokenizers: list[str] = []
        forms = {side: self._form(side, first, tokenizers, encoder.name) for side, first in firsts.items()}
        most = _CPU_TOKENS if self.model.device.type == "cpu" else _GPU_TOKENS
        self.pad = {side: first.tokenizer.pad_token_id or 0 for side, first in firsts.items()}
        dim = self.model.get_embedding_dimension()
        self.card = Card(encoder.name, encoder.fingerprint, dim, forms, tokenizers, False, False, most)

    def _form(self, side: str, first: Any, tokenizers: list[str], name: str) -> Form:
        tokenizer = getattr(first, "tokenizer", None)
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(
                f"{name}: has no fast (tokenizer.json) tokenizer, which a server counts tokens with"
            )
        assert tokenizer is not None
        lead, tail = _ends(tokenizer)
        length = first.max_seq_length or tokenizer.model_max_length
        fast = tokenizer.backend_tokenizer
        text = type(fast).from_str(fast.to_str())
        text.no_truncation()
        text.no_padding()
        if text.to_str() not in tokenizers:
            tokenizers.append(text.to_str())
        at = tokenizers.index(text.to_str())
        return Form(_prompt(self.model, side), lead, tail, length - len(lead) - len(tail), at)

    def encode(self, rows: Sequence[Sequence[int]], side: str) -> np.ndarray:
        batch = Ragged.from_lists(rows)
        out = np.empty((len(rows), self.card.dim), np.float32)
        task = {} if side == "plain" else {"task": side}
        with torch.inference_mode():
            for index in plan_chunks(batch.lengths, self.card.rounds):
                chunk = batch.select(index)
                features = {
                    "input_ids": chunk.pad(self.pad[side]).to(self.model.device),
                    "attention_mask": chunk.mask().long().to(self.model.device),
                    "modality": "text",
                    **task,
                }
                vectors = self.model(features, **task)["sentence_embedding"]
                out[index.numpy()] = unit_rows(vectors.float().cpu().numpy(), np.float32)
        return out


def _first(model: Any, side: str) -> Any:
    """The module that reads the texts of a side."""
    first = model[0]
    if not hasattr(first, "sub_modules"):
        return first
    task = None if side == "plain" else side
    return first.sub_modules[first._resolve_route(task=task, modality="text")][0]


def _prompt(model: Any, side: str) -> str:
    """What the model's encode, encode_query and encode_document put in front of a text."""
    names = {"plain": [], "query": ["query"], "document": ["document", "passage", "corpus"]}[side]
    own = next((model.prompts[name] for name in names if name in model.prompts), None)
    usual = model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None
    return str(own if own is not None else usual or "")


def _ends(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Special tokens in front of a text and behind it."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    at = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
    return list(full[:at]), list(full[at + len(bare) :])
