"""Near-duplicates by us and by datasketch on the same texts, and what each finds of what was planted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from data_prep.minhash import PERMUTATIONS, jaccard, signatures
from data_prep.near import NearFiles, NearIndex
from data_prep.shingles import SHINGLE, batches, shingle_hashes, shingles

THRESHOLD = 0.8
OURS, BATCH, BULK = "ours", "datasketch update_batch", "datasketch bulk"
FOR_RECALL = (0.1, 0.9)  # datasketch's weights of false positives and false negatives
_BLOCK = 512  # documents that are sketched at a time


def signature_sides(texts: list[str]) -> dict[str, Callable[[], Any]]:
    """The signatures alone, of shingles that are hashed: ours 64 bits wide, datasketch's 32, as each wants them."""
    hashed = [shingle_hashes(texts[part]) for part in batches(texts)]
    ready = [[xxhash.xxh32_intdigest(one) for one in _shingles(text)] for text in texts]
    return {
        OURS: lambda: [signatures(part) for part in hashed],
        BATCH: lambda: [_sketch(one) for one in ready],
        BULK: lambda: _bulk(ready, int),
    }


def _shingles(text: str) -> list[bytes]:
    words = text.split()
    return [" ".join(words[i : i + SHINGLE]).encode() for i in range(len(words) - SHINGLE + 1)]


def _sketch(hashes: list[int]) -> Any:
    from datasketch import MinHash

    sketch = MinHash(num_perm=PERMUTATIONS, hashfunc=int)
    sketch.update_batch(hashes)
    return sketch


def _bulk(tokens: list[Any], hashfunc: Callable[[Any], int]) -> list[Any]:
    from datasketch import MinHash

    made: list[Any] = MinHash.bulk(tokens, num_perm=PERMUTATIONS, hashfunc=hashfunc)
    return made


def stage(texts: list[str]) -> np.ndarray:
    """From texts to groups, on disk as in `cpt prep clean`."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "near")
        files = NearFiles(place, THRESHOLD)
        for begin in range(0, len(texts), _BLOCK):
            files.add(list(texts[begin : begin + _BLOCK]))
        return NearIndex([place], [0], len(texts), THRESHOLD, lambda number: b"%012d" % number).groups()


def peers_stage(texts: list[str], weights: tuple[float, float] = (0.5, 0.5)) -> set[int]:
    """From texts to those that datasketch finds a twin for among those before them, by its quickest way."""
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, weights=weights)
    found, number = set[int](), 0
    for begin in range(0, len(texts), _BLOCK):
        tokens = [_shingles(text) for text in texts[begin : begin + _BLOCK]]
        for sketch in _bulk(tokens, xxhash.xxh32_intdigest):
            if index.query(sketch):
                found.add(number)
            index.insert(number, sketch)
            number += 1
    return found


def recall(texts: list[str]) -> dict[str, float]:
    """Of the copies that truly share enough with their original, the part that each finds."""
    first = len(texts) - len(texts) // 10
    true = [
        number
        for number in range(first, len(texts))
        if jaccard(shingles(texts[number]), shingles(texts[number - first])) >= THRESHOLD
    ]
    groups, theirs, eager = stage(texts), peers_stage(texts), peers_stage(texts, FOR_RECALL)
    return {
        OURS: sum(groups[number] == groups[number - first] for number in true) / len(true),
        "datasketch": sum(number in theirs for number in true) / len(true),
        "datasketch, weights for recall": sum(number in eager for number in true) / len(true),
        "of planted": len(true) / (len(texts) - first),
    }
