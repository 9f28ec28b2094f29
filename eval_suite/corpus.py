"""A search set: a corpus that is read as a stream, queries, judgements; and the stream's blocks as vectors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import xxhash

from eval_suite.encoder import Encoder, encode_texts
from eval_suite.errors import EvalError

BLOCK = 1024  # documents; fixed, since a batch's shape can move the last bit of a vector
Document = tuple[str, str]  # id, text


@dataclass(frozen=True)
class SearchSet:
    """documents: a function that begins the stream of (id, text) anew; text is title and text with one space between.

    queries: id -> text, in the order that per-query scores stand in. qrels: query id -> document id -> grade,
    relevant from 1 up; its queries are those that count. expected: what a complete copy has, by name
    ("queries", "documents"). notes: what a reader of the score should know, one line each.
    """

    documents: Callable[[], Iterator[Document]]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    expected: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def document_text(title: str | None, text: str | None) -> str:
    """Title and text with one space between, as BEIR and mteb join them; a null or missing one is left out."""
    return f"{title or ''} {text or ''}".strip()


def blocks(documents: Iterable[Document], name: str) -> Iterator[list[Document]]:
    """Blocks of 1,024 documents, the last one smaller. Raises EvalError for a repeated id or a corpus of no documents."""
    stream = iter(documents)
    seen: list[np.ndarray] = []
    while block := list(islice(stream, BLOCK)):
        seen.append(
            np.fromiter((xxhash.xxh3_64_intdigest(i.encode()) for i, _ in block), np.uint64, len(block))
        )
        yield block
    if not seen:
        raise EvalError(f"{name}: the corpus holds no document; copy the set there again")
    hashes = np.concatenate(
        seen
    )  # eight bytes a document: the ids of millions would weigh more than their scores
    if len(np.unique(hashes)) < len(hashes):
        raise EvalError(
            f"{name}: {len(hashes) - len(np.unique(hashes))} document ids are there twice; make them unique"
        )


@dataclass(frozen=True)
class BlockVectors:
    """Encodes blocks of texts; with a folder it keeps each block's vectors, and never encodes a kept block again.

    A file's name is a hash of encoder, side and texts, so that another checkpoint's vectors, or those of
    other texts, can never come back. Ranks and later runs may share the folder.
    """

    encoder: Encoder
    side: str
    folder: Path | None = None

    def __call__(self, texts: list[str]) -> np.ndarray:
        """float32 (len(texts), d)."""
        path = self.folder / f"{self._key(texts)}.npy" if self.folder else None
        kept = _load(path, len(texts)) if path else None
        if kept is not None:
            return kept
        vectors = encode_texts(self.encoder, texts, self.side)
        if path:
            _save(path, vectors)
        return vectors

    def _key(self, texts: list[str]) -> str:
        digest = hashlib.sha256(f"{self.encoder.fingerprint}\n{self.side}\n".encode())
        for text in texts:
            raw = text.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        return digest.hexdigest()[:40]


def _load(path: Path, n: int) -> np.ndarray | None:
    """The vectors in a file; None where there is none, or one that was not written to its end."""
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    right = vectors.dtype == np.float32 and vectors.ndim == 2 and len(vectors) == n
    return vectors if right and np.isfinite(vectors).all() else None


def _save(path: Path, vectors: np.ndarray) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.save(file, vectors)
        os.replace(part, path)
    except OSError as error:
        raise EvalError(
            f"work {path.parent}: cannot be written ({error.strerror}); give another --work"
        ) from error
