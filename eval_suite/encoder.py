"""What an encoder is to this package, how one is found by its name, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from eval_suite.adapters import load_callable, load_fast_sentence_transformer, load_sentence_transformer
from eval_suite.bm25 import BM25Encoder
from eval_suite.errors import EvalError, did_you_mean
from eval_suite.untrained import load_random
from eval_suite.vectors import checked

_GROUP = "eval_suite.encoders"
_TEXTS_AT_ONCE = 4096


class Encoder(Protocol):
    """Anything that turns texts into vectors.

    name: what a table shows. fingerprint: a hash that changes when the vectors would (weights,
    pooling, tokenizer). side: "x" for queries, docstrings, first pieces; "y" for documents and code.
    An encoder with a third, neutral way of encoding names it in an attribute `symmetric_side`; one that has
    facts to tell (parameters, step, max_length, pooling) has them in an attribute `facts`, a dictionary; one that
    wants more or fewer than 4,096 texts in a call says so in `texts_at_once`.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def encode(self, texts: list[str], side: Any) -> np.ndarray:
        """float32 (len(texts), d)."""
        ...


def load_encoder(spec: str) -> Encoder:
    """The encoder named `scheme:rest`, such as `st:all-MiniLM-L6-v2`, `py:module:function`, `random:384`,
    `ckpt:last.ckpt`, or `bm25`.

    Schemes come from the entry-point group `eval_suite.encoders`: name -> loader(rest) -> Encoder.
    Raises EvalError for a spec without a scheme, an unknown scheme, or a loader that lacks a package.
    """
    if spec == BM25Encoder.name:
        return BM25Encoder()
    scheme, colon, rest = spec.partition(":")
    loaders = _loaders()
    if not colon or not rest:
        raise EvalError(f"encoder {spec!r}: write it as scheme:rest; schemes: {', '.join(sorted(loaders))}")
    if scheme not in loaders:
        hint = did_you_mean(scheme, sorted(loaders))
        raise EvalError(
            f"encoder {spec!r}: unknown scheme {scheme!r}; {hint} (`pip install -e .` adds the rest)"
        )
    try:
        loader = loaders[scheme]()
    except ImportError as error:
        raise EvalError(f"encoder {spec!r}: its loader cannot be imported ({error})") from error
    encoder: Encoder = loader(rest)
    return encoder


def _loaders() -> dict[str, Callable[[], Callable[[str], Any]]]:
    """Scheme -> a function that imports its loader; those of this package work without an installation too."""
    built_in: dict[str, Callable[[], Callable[[str], Any]]] = {
        "st": lambda: load_sentence_transformer,
        "st-fast": lambda: load_fast_sentence_transformer,
        "py": lambda: load_callable,
        "random": lambda: load_random,
    }
    return built_in | {point.name: point.load for point in entry_points(group=_GROUP)}


def symmetric_side(encoder: Encoder) -> str:
    """The side on which tasks without a query and a document (probe, similarity) encode: "x" unless it says otherwise."""
    return str(getattr(encoder, "symmetric_side", "x"))


def facts(encoder: Encoder) -> dict[str, Any]:
    """What the encoder says of itself in an attribute `facts`: parameters, step, max_length, pooling; else nothing."""
    return dict(getattr(encoder, "facts", {}))


def encode_texts(encoder: Encoder, texts: Iterable[str], side: str, progress: bool = False) -> np.ndarray:
    """Vectors of `texts` in their order, float32 (n, d). Each different text is encoded once.

    Raises EvalError, naming the encoder, for a wrong shape, NaN or infinity.
    """
    texts = list(texts)
    row = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    unique = list(row)
    by_length = sorted(range(len(unique)), key=lambda i: -len(unique[i]))  # even batches, the longest first
    vectors: np.ndarray | None = None
    bar = tqdm(total=len(unique), desc="encode", unit="text", leave=False, disable=None if progress else True)
    at_once = getattr(encoder, "texts_at_once", _TEXTS_AT_ONCE)
    for start in range(0, len(by_length), at_once):
        rows = by_length[start : start + at_once]
        batch = [unique[i] for i in rows]
        block = checked(encoder.name, encoder.encode(batch, side), batch)  # (block, d)
        if vectors is None:
            vectors = np.empty((len(unique), block.shape[1]), dtype=np.float32)
        if block.shape[1] != vectors.shape[1]:
            raise EvalError(f"encoder {encoder.name}: {vectors.shape[1]} columns, then {block.shape[1]}")
        vectors[rows] = block
        bar.update(len(rows))
    bar.close()
    if vectors is None:
        raise EvalError("nothing to encode: the list of texts is empty")
    return vectors[[row[text] for text in texts]]
