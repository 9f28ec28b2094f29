"""Looks, before the first step, whether the training pairs have the hard negatives that the recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_prep.errors import CorruptChunk
from data_prep.shards import PairShards
from lightning_cpt.data.sources import Pairs
from lightning_cpt.errors import ConfigError

_CHUNKS = 32  # of a source, looked into before it counts as being without negatives


def check_negatives(sources: Mapping[str, Pairs], wanted: int) -> list[str]:
    """A line on each source whose pairs have fewer negatives than ``wanted``.

    Fewer are no mistake: the loss takes any number from each pair, exactly. The pairs looked at are those of one
    chunk, in most data a random sample; more chunks are read only while no negative has been seen.

    Args:
        sources: The training split of each source; one that is alone needs no name.

    Raises:
        ConfigError: no negatives at all, in any source.
    """
    if not wanted:
        return []
    counts = {name: _look(shards, wanted) for name, shards in sources.items()}
    if not any(map(any, counts.values())):
        raise ConfigError(
            f"data.hard_negatives: {wanted}, but none of {sum(map(len, counts.values()))} training pairs looked at has "
            "negatives; set it to 0, or prepare pairs that have some (`cpt prep nli`, `cpt prep triples`)"
        )
    return [_note(name, found, wanted) for name, found in counts.items() if min(found) < wanted]


def _look(shards: Pairs, wanted: int) -> list[int]:
    """Negatives of the pairs looked at, ``wanted`` at the most; of a plug-in those are its sample."""
    if not isinstance(shards, PairShards):
        return [len(record["negatives"][:wanted]) for record in shards.sample]
    last = len(shards.chunk_counts) - 1
    places = np.unique(np.linspace(0, last, min(_CHUNKS, last + 1)).round().astype(int))
    seen: list[int] = []
    damage: CorruptChunk | None = None
    for chunk in places.tolist():
        try:
            counts = [len(record["negatives"][:wanted]) for record in shards.read_chunk(chunk)]
        except CorruptChunk as error:  # `data.on_corrupt` has to say what becomes of it
            damage = error
            continue
        seen += counts
        if any(counts):
            return counts
    if damage and not seen:
        raise damage
    return seen


def _note(name: str, counts: list[int], wanted: int) -> str:
    short = sum(count < wanted for count in counts)
    of = f" of {name}" if name else ""
    return (
        f"data.hard_negatives: {short} of the {len(counts)} training pairs looked at{of} have fewer than {wanted} "
        f"(mean {np.mean(counts):.1f}); all they have is used"
    )
