"""A TextEncoder as eval_suite asks for one: its name, its weights' hash, its facts, no progress bar of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.tokenization import Side


@dataclass(frozen=True)
class QuietEncoder:
    """A TextEncoder by eval_suite's protocol.

    Args:
        encoder: What encodes.
        name: Its name in results.
        fingerprint: What stands for its weights in results and caches.
    """

    encoder: TextEncoder
    name: str
    fingerprint: str

    @property
    def facts(self) -> dict[str, Any]:
        """What results say of it: parameters, step, most tokens of a text, how the vector is read off."""
        return facts(self.encoder)

    @property
    def max_length(self) -> dict[str, int]:
        """The most tokens of each side, delimiters included."""
        return self.encoder.tokenization.max_length

    def token_count(self, texts: list[str]) -> list[int]:
        """How many tokens each text has uncut, delimiters included."""
        return token_count(self.encoder, texts)

    def encode(self, texts: list[str], side: Side) -> np.ndarray:
        return self.encoder.encode(texts, side, progress=False)


def facts(encoder: TextEncoder) -> dict[str, Any]:
    """What results and model cards say of an encoder."""
    known = {
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "step": encoder.steps,
        "max_length": max(encoder.tokenization.max_length.values()),
        "pooling": "last token",
    }
    return {key: value for key, value in known.items() if value is not None}


def token_count(encoder: TextEncoder, texts: list[str]) -> list[int]:
    """How many tokens each text has uncut: its own, with repeats dropped where the encoder drops them, and two delimiters."""
    return [len(ids) + 2 for ids in encoder.tokenization.text_ids(texts)]


def quiet(encoder: TextEncoder) -> QuietEncoder:
    """The encoder under its own name and the hash of its weights as they are now."""
    return QuietEncoder(encoder, encoder.name, encoder.fingerprint)


def checkpoint_encoder(rest: str) -> QuietEncoder:
    """What eval_suite loads for ``ckpt:PATH``: the encoder named after its run's folder and step."""
    return quiet(TextEncoder.load(rest))
