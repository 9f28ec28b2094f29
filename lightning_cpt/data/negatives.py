"""Looks, before the first step, whether the training pairs have the hard negatives that the recipe asks for."""

from __future__ import annotations

import numpy as np

from data_prep.shards import PairShards
from lightning_cpt.errors import ConfigError

_CHUNKS = 32  # looked into before data counts as being without negatives


def check_negatives(shards: PairShards, wanted: int) -> str | None:
    """One line on pairs with fewer negatives than ``wanted``; None where each of those looked at has enough.

    Fewer are no mistake: the loss takes any number from each pair, exactly. The pairs looked at are those of one
    chunk, in most data a random sample; more chunks are read only while no negative has been seen.

    Raises:
        ConfigError: no negatives at all.
    """
    if not wanted:
        return None
    last = len(shards.chunk_counts) - 1
    places = np.unique(np.linspace(0, last, min(_CHUNKS, last + 1)).round().astype(int))
    seen = 0
    for chunk in places.tolist():
        counts = [len(record["negatives"][:wanted]) for record in shards.read_chunk(chunk)]
        seen += len(counts)
        if any(counts):
            return _note(counts, wanted)
    raise ConfigError(
        f"data.hard_negatives: {wanted}, but none of {seen} training pairs looked at has negatives; set it to 0, or "
        "prepare pairs that have some (`cpt prep nli`, `cpt prep triples`)"
    )


def _note(counts: list[int], wanted: int) -> str | None:
    short = sum(count < wanted for count in counts)
    if not short:
        return None
    return (
        f"data.hard_negatives: {short} of the {len(counts)} training pairs looked at have fewer than {wanted} "
        f"(mean {np.mean(counts):.1f}); all they have is used"
    )
