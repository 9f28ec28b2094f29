"""Makes an index: encodes the texts block by block, builds FAISS's index, measures its recall, writes all whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from eval_suite.encoder import Encoder, encode_texts, load_encoder
from eval_suite.vectors import unit_rows
from lightning_cpt.errors import ConfigError
from lightning_cpt.search import ann
from lightning_cpt.search.folder import ItemWriter, generation, publish, refuse_foreign
from lightning_cpt.search.index import ITEM_SIDE, QUERY_SIDE, SearchIndex
from lightning_cpt.search.texts import Item

_BLOCK = 8192  # texts that are held at a time
_SAMPLE = 500  # texts that stand for queries where nobody gives any


def build_index(
    folder: str | Path,
    encoder: Encoder | str,
    items: Iterable[Item],
    *,
    kind: ann.Kind = "exact",
    queries: Sequence[str] = (),
    seed: int = 0,
    progress: bool = False,
) -> SearchIndex:
    """Encode ``items`` (side y) and write their index into ``folder``; an index that is there is replaced.

    Args:
        folder: A new folder, or one that holds an index.
        encoder: An encoder, or how one is named: ``ckpt:FILE``, ``st:NAME``, ``py:MODULE:FUNCTION``.
        items: What is to be found.
        kind: ``exact`` compares a query with all; ``ivf`` and ``hnsw`` with a few, and their recall is measured.
        queries: Texts to measure the recall with (side x); by default 500 of the items.
        seed: Of k-means and of that choice.
        progress: Show a progress bar.

    Raises:
        ConfigError: faiss is missing, an unknown kind, nothing to index, a folder that holds something else.
        EvalError: the encoder cannot be loaded, or fails.
        DataError: an item cannot be read.
    """
    folder = Path(folder).expanduser()
    ann.faiss()
    if kind not in ann.KINDS:
        raise ConfigError(f"--kind {kind}: is none of {', '.join(ann.KINDS)}")
    refuse_foreign(folder)
    spec = encoder if isinstance(encoder, str) else ""
    encoder = load_encoder(encoder) if isinstance(encoder, str) else encoder
    items = iter(items)
    first = next(items, None)
    if first is None:
        raise ConfigError("nothing to index: no text was found")
    with generation(folder) as parts:
        parts.pop("files")
        vectors = _write_items(encoder, chain([first], items), parts, progress)
        index = ann.make(kind, vectors, seed)
        recall = _recall(index, kind, vectors, encoder, queries, seed) if kind != "exact" else []
        ann.save(index, parts["vectors"])
        publish(folder, parts, head(spec, encoder, kind, vectors.shape, recall))
    return SearchIndex.open(folder, encoder)


def head(
    spec: str, encoder: Encoder, kind: ann.Kind, shape: tuple[int, ...], recall: Sequence[ann.Recall] = ()
) -> dict[str, Any]:
    """What index.json says beside its files."""
    return {
        "encoder": spec,
        "encoder_name": encoder.name,
        "fingerprint": encoder.fingerprint,
        "kind": kind,
        "count": shape[0],
        "dim": shape[1],
        "sides": {"query": QUERY_SIDE, "items": ITEM_SIDE},
        "recall": [asdict(one) for one in recall],
    }


def _write_items(
    encoder: Encoder, items: Iterator[Item], parts: dict[str, Path], progress: bool
) -> np.ndarray:
    """Write the items; their unit vectors, float32 ``(n, d)``, as a map of a file that has no name any more."""
    writer = ItemWriter(parts["items"], parts["offsets"])
    raw = parts["vectors"].with_suffix(".raw")
    bar = tqdm(unit="text", desc="index", disable=None if progress else True)
    try:
        with open(raw, "wb") as file:
            count = dim = 0
            while block := list(islice(items, _BLOCK)):
                writer.add(block)
                vectors = unit_rows(
                    encode_texts(encoder, [item.text for item in block], ITEM_SIDE), np.float32
                )
                file.write(vectors.tobytes())
                count, dim = count + len(block), vectors.shape[1]
                bar.update(len(block))
        return np.memmap(raw, np.float32, "r", shape=(count, dim))
    finally:
        bar.close()
        writer.close()
        raw.unlink(missing_ok=True)  # the map keeps the bytes


def _recall(
    index: Any, kind: ann.Kind, vectors: np.ndarray, encoder: Encoder, queries: Sequence[str], seed: int
) -> list[ann.Recall]:
    if queries:
        asked = unit_rows(encode_texts(encoder, queries, QUERY_SIDE), np.float32)
    else:
        rows = np.random.default_rng(seed).permutation(len(vectors))[:_SAMPLE]
        asked = np.ascontiguousarray(vectors[np.sort(rows)])
    return list(ann.recalls(index, kind, vectors, asked))
