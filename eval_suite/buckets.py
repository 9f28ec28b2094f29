"""Encodes with a sentence-transformers model in batches of equal length, whose shape depends on the length alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_TOKENS = 1_024  # a batch: as quick as 2,048 on two cores, and half as much to fill up
TEXTS_AT_ONCE = 16_384  # each length of them has one unfinished batch, which is filled up: the more texts, the less of that
_BATCH = 64  # of the model's own method; fixed: the shape of a batch moves the last bits of a float
_TASKS: dict[str, dict[str, str]] = {"x": {"task": "query"}, "y": {"task": "document"}, "plain": {}}
_PROMPTS: dict[str, tuple[str, ...]] = {"x": ("query",), "y": ("document", "passage", "corpus"), "plain": ()}


def encode_in_buckets(model: Any, texts: list[str], side: str) -> np.ndarray:
    """The vectors that the model's encode_query ("x"), encode_document ("y") or encode ("plain") gives: float32 (n, d).

    Texts are tokenised once and put together with others of exactly their number of tokens: nothing is
    padded, and a text's vector does not depend on its company. Models whose inputs are not rows of
    tokens padded on the right go through the model's own method.
    """
    if not hasattr(model, "preprocess"):
        return own_method(model, texts, side)
    import torch

    features = model.preprocess(texts, prompt=_prompt(model, side), **_TASKS[side])
    if not _plain_rows(features, len(texts)):
        return own_method(model, texts, side)
    out: np.ndarray | None = None
    model.eval()
    with torch.inference_mode():
        for rows, wanted in _batches(features["attention_mask"].sum(1).numpy()):
            vectors = model(_cut(features, rows, model.device), **_TASKS[side])["sentence_embedding"]
            block = vectors[:wanted, : model.truncate_dim].float().cpu().numpy()
            if out is None:
                out = np.empty((len(texts), block.shape[1]), np.float32)
            out[rows[:wanted]] = block
    assert out is not None
    return out


def _batches(lengths: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """(row numbers of texts of one length, how many of them count), the longest first.

    An unfinished batch is filled up with a row of its own, so that every batch of a length has one shape:
    the shape moves the last bits of a float, and those move a probe's digits.
    """
    for length in sorted(set(lengths.tolist()), reverse=True):
        rows = np.flatnonzero(lengths == length)
        size = max(1, _TOKENS // max(1, length))
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            yield np.pad(batch, (0, size - len(batch)), mode="edge"), len(batch)


def _cut(features: dict[str, Any], rows: np.ndarray, device: Any) -> dict[str, Any]:
    import torch

    at = torch.from_numpy(rows)
    width = int(features["attention_mask"][at[0]].sum())
    return {
        key: value[at, :width].to(device) if isinstance(value, torch.Tensor) else value
        for key, value in features.items()
    }


def _plain_rows(features: dict[str, Any], n: int) -> bool:
    """Whether every tensor is (n, width), and the mask that of texts padded on the right."""
    import torch

    mask = features.get("attention_mask")
    if mask is None or "input_ids" not in features or mask.ndim != 2:
        return False
    tensors = [value for value in features.values() if isinstance(value, torch.Tensor)]
    if any(value.shape != (n, mask.shape[1]) for value in tensors):
        return False
    return bool((mask[:, 1:] <= mask[:, :-1]).all() and (mask[:, 0] == 1).all())


def own_method(model: Any, texts: list[str], side: str) -> np.ndarray:
    """The vectors of the model's own method for the side, 64 texts at a time: float32 (n, d)."""
    method = {"x": model.encode_query, "y": model.encode_document, "plain": model.encode}[side]
    made = method(texts, batch_size=_BATCH, show_progress_bar=False, convert_to_tensor=True)
    vectors: np.ndarray = made.float().cpu().numpy()
    return vectors


def _prompt(model: Any, side: str) -> str | None:
    """The prompt that the model's method for the side uses: the first known of its names, else the default one."""
    names = [name for name in _PROMPTS[side] if name in model.prompts] or [model.default_prompt_name]
    prompt: str | None = model.prompts.get(names[0]) if names[0] else None
    return prompt
