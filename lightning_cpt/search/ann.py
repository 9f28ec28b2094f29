"""FAISS: an exact, an IVF or an HNSW index over unit vectors, and the recall of the latter two against exact."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np

from lightning_cpt.errors import ConfigError

Kind = Literal["exact", "ivf", "hnsw"]
KINDS: tuple[Kind, ...] = get_args(Kind)
RECALL_AT = 10
_ROWS = 65536  # vectors that are added, or compared, at a time
_LINKS = 32  # HNSW's M
_BUILD_EFFORT = 200  # HNSW's efConstruction
_EFFORT = {"ivf": 16, "hnsw": 64}  # lists that are looked at (nprobe); candidates that are kept (efSearch)
_PER_LIST = 39  # k-means of fewer vectors a list is warned of by FAISS


def faiss() -> ModuleType:
    """The library.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import faiss as library
    except ImportError as error:
        raise ConfigError("search needs faiss: pip install 'lightning-cpt[search]'") from error
    module: ModuleType = library
    return module


def make(kind: Kind, vectors: np.ndarray, seed: int = 0) -> Any:
    """An index over all rows of ``vectors`` (float32 ``(n, d)``, unit rows; may be a memory map)."""
    library, (count, dim) = faiss(), vectors.shape
    product = library.METRIC_INNER_PRODUCT
    if kind == "exact":
        index = library.IndexFlatIP(dim)
    elif kind == "hnsw":
        index = library.IndexHNSWFlat(dim, _LINKS, product)
        index.hnsw.efConstruction = _BUILD_EFFORT
    else:
        lists = max(1, min(round(4 * math.sqrt(count)), count // _PER_LIST))
        index = library.IndexIVFFlat(library.IndexFlatIP(dim), dim, lists, product)
        index.cp.seed = seed
        sample = np.random.default_rng(seed).permutation(count)[: 256 * lists]
        index.train(np.ascontiguousarray(vectors[np.sort(sample)]))
    for start in range(0, count, _ROWS):
        index.add(np.ascontiguousarray(vectors[start : start + _ROWS]))
    return index


def set_effort(index: Any, kind: Kind, effort: int | None) -> int | None:
    """How far the index looks: lists of IVF, candidates of HNSW; returns what is set, None for exact."""
    if kind == "exact":
        return None
    library = faiss()
    effort = effort or _EFFORT[kind]
    inner = library.downcast_index(index)
    if kind == "ivf":
        inner.nprobe = effort = min(effort, inner.nlist)
    else:
        inner.hnsw.efSearch = effort
    return effort


def save(index: Any, path: Path) -> None:
    """Write the index.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        faiss().write_index(index, str(path))
    except RuntimeError as error:  # FAISS tells of a full disk in many lines
        raise ConfigError(f"{path.parent}: cannot be written; make room, or name another folder") from error


def load(path: Path) -> Any:
    """The index, its vectors mapped from the file where FAISS can (all kinds but HNSW's links).

    Raises:
        ConfigError: it cannot be read.
    """
    library = faiss()
    for flags in (getattr(library, "IO_FLAG_MMAP_IFC", 0), library.IO_FLAG_MMAP, 0):
        try:
            return library.read_index(str(path), flags)
        except (RuntimeError, TypeError):  # a kind that FAISS cannot map
            continue
    raise ConfigError(f"{path}: not a readable FAISS index; build it again")


def vectors_of(index: Any, start: int, count: int) -> np.ndarray:
    """Rows of an exact index, float32 ``(count, d)``."""
    rows: np.ndarray = index.reconstruct_n(start, count) if count else np.empty((0, index.d), np.float32)
    return rows


@dataclass(frozen=True)
class Recall:
    """Shares of the exact nearest that an index found.

    Args:
        at: How many nearest.
        queries: Mean over so many.
        effort: The search's setting.
        value: From 0 to 1.
    """

    at: int
    queries: int
    effort: int
    value: float


def recalls(index: Any, kind: Kind, vectors: np.ndarray, queries: np.ndarray) -> Iterator[Recall]:
    """Recall against exact at a quarter of the default effort, at the default, and at four times it.

    Args:
        vectors: What was indexed, ``(n, d)``.
        queries: Unit rows ``(q, d)``.
    """
    at = min(RECALL_AT, len(vectors))
    exact = _exact(vectors, queries, at)
    seen = set()
    for effort in (_EFFORT[kind] // 4, _EFFORT[kind], 4 * _EFFORT[kind]):
        used = set_effort(index, kind, effort)
        if used is None or used in seen:
            continue
        seen.add(used)
        _, found = index.search(queries, at)
        shared = [len(set(row) & set(truth)) for row, truth in zip(found.tolist(), exact, strict=True)]
        yield Recall(at, len(queries), used, sum(shared) / (at * len(queries)))
    set_effort(index, kind, None)


def _exact(vectors: np.ndarray, queries: np.ndarray, at: int) -> list[list[int]]:
    """Rows of the ``at`` largest inner products of each query, never more than a block of scores in memory."""
    best: np.ndarray = np.full((len(queries), at), -np.inf, np.float32)
    rows: np.ndarray = np.zeros((len(queries), at), np.int64)
    for start in range(0, len(vectors), _ROWS):
        scores = queries @ np.asarray(vectors[start : start + _ROWS]).T  # (q, block)
        places = np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)
        scores, places = np.concatenate([best, scores], 1), np.concatenate([rows, places], 1)
        top = np.argpartition(-scores, at - 1, axis=1)[:, :at]
        best, rows = np.take_along_axis(scores, top, 1), np.take_along_axis(places, top, 1)
    found: list[list[int]] = rows.tolist()
    return found
