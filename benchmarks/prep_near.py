"""Near-duplicates by us and by datasketch on the same texts, and what each finds of what was planted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.minhash import PERMUTATIONS, jaccard, signatures
from data_prep.near import NearFiles, NearIndex
from data_prep.shingles import SHINGLE, batches, shingle_hashes, shingles

THRESHOLD = 0.8
OURS, BATCH, BULK = "ours", "datasketch update_batch", "datasketch bulk"


def signature_sides(texts: list[str]) -> dict[str, Callable[[], Any]]:
    """The signatures alone, of shingles that are ready."""
    hashed = [shingle_hashes(texts[part]) for part in batches(texts)]
    tokens = [_shingles(text) for text in texts]
    return {
        OURS: lambda: [signatures(part) for part in hashed],
        BATCH: lambda: [_sketch(one) for one in tokens],
        BULK: lambda: _bulk(tokens),
    }


def _shingles(text: str) -> list[bytes]:
    words = text.split()
    return [" ".join(words[i : i + SHINGLE]).encode() for i in range(len(words) - SHINGLE + 1)]


def _sketch(tokens: list[bytes]) -> Any:
    from datasketch import MinHash

    sketch = MinHash(num_perm=PERMUTATIONS)
    sketch.update_batch(tokens)
    return sketch


def _bulk(tokens: list[list[bytes]]) -> list[Any]:
    from datasketch import MinHash

    made: list[Any] = MinHash.bulk(tokens, num_perm=PERMUTATIONS)
    return made


def stage(texts: list[str]) -> np.ndarray:
    """From texts to groups, on disk as in `cpt prep clean`."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "near")
        files = NearFiles(place, THRESHOLD)
        for begin in range(0, len(texts), 512):
            files.add(list(texts[begin : begin + 512]))
        return NearIndex([place], [0], len(texts), THRESHOLD, lambda number: b"%012d" % number).groups()


def peers_stage(texts: list[str]) -> set[int]:
    """From texts to those that datasketch finds a twin for among those before them."""
    from datasketch import MinHashLSH

    index, found = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS), set()
    for number, text in enumerate(texts):
        sketch = _sketch(_shingles(text))
        if index.query(sketch):
            found.add(number)
        index.insert(number, sketch)
    return found


def recall(texts: list[str]) -> dict[str, float]:
    """Of the copies that truly share enough with their original, the part that each finds."""
    first = len(texts) - len(texts) // 10
    true = [
        number
        for number in range(first, len(texts))
        if jaccard(shingles(texts[number]), shingles(texts[number - first])) >= THRESHOLD
    ]
    groups, theirs = stage(texts), peers_stage(texts)
    return {
        OURS: sum(groups[number] == groups[number - first] for number in true) / len(true),
        "datasketch": sum(number in theirs for number in true) / len(true),
        "of planted": len(true) / (len(texts) - first),
    }
