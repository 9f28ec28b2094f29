"""What is compared: ways to run one batch that must all give the same gradient, and the batches themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightning_cpt.gradients.twin import FIRST_ID, LAST_ID
from lightning_cpt.losses import Keys
from lightning_cpt.ragged import Ragged

PAIRS = 16  # of one batch, all ranks together; more where the ranks would get unequal shares
LONGEST = 24  # tokens
WHOLE = 1 << 30  # tokens in a chunk: all of them
SMALL_TILE = 128  # bytes: a row or two of the matrix of cosines


@dataclass(frozen=True)
class Case:
    """One way to run a batch.

    Args:
        name: What the table calls it.
        negatives: Hard negatives of each pair; uneven gives 0 to 3.
        micro: Batches whose gradients are accumulated.
        masked: The batch has false negatives, and their hashes are known.
        chunk_tokens: Most tokens in the model at once.
        recompute: Compute the chunks' activations again in the backward pass.
        tiled: Work on a few rows of the matrix of cosines at a time.
        longest: Tokens of the longest sequence.
    """

    name: str
    negatives: Literal[0, 3, "uneven"] = 0
    micro: int = 1
    masked: bool = False
    chunk_tokens: int = WHOLE
    recompute: bool = False
    tiled: bool = False
    longest: int = LONGEST

    @property
    def data(self) -> tuple[object, ...]:
        """What the full batch's gradient depends on: cases that agree in it share one reference."""
        return self.negatives, self.micro, self.masked, self.longest


CASES = (
    Case("one chunk"),
    Case("chunks, recomputed", chunk_tokens=40, recompute=True),
    Case("chunks, kept", chunk_tokens=40),
    Case("accumulation of 2", micro=2),
    Case("3 hard negatives", negatives=3),
    Case("uneven negatives", negatives="uneven"),
    Case("false negatives masked", negatives="uneven", masked=True),
    Case("loss in tiles", negatives=3, tiled=True),
    Case("all of these", "uneven", 2, True, 40, True, True),
)


@dataclass(frozen=True)
class Batch:
    """The pairs of one rank.

    Args:
        x: Token ids, ``n`` sequences.
        y: Their partners, ``n`` sequences.
        negatives: Hard negatives of these pairs, any number of sequences.
        keys: Hashes to find false negatives by, or None.
    """

    x: Ragged
    y: Ragged
    negatives: Ragged
    keys: Keys | None


def pairs_for(world_size: int, least: int = PAIRS) -> int:
    """Pairs of a batch that the ranks can share evenly."""
    return -(-least // world_size) * world_size


def batches(case: Case, pairs: int, rank: int, world_size: int) -> Iterator[Batch]:
    """This rank's share of each of the case's batches; the whole batches do not depend on the world size."""
    generator = torch.Generator().manual_seed(pairs)
    for _ in range(case.micro):
        x, y = (_texts(pairs, case.longest, generator) for _ in "xy")
        counts = [i % 4 if case.negatives == "uneven" else case.negatives for i in range(pairs)]
        hard = [_texts(count, case.longest, generator) for count in counts]
        hashes = torch.arange(3 * pairs).view(pairs, 3)  # (pairs, 3) of x, y and document: all different
        hard_hashes = [torch.arange(count) + 4 * pairs + 4 * i for i, count in enumerate(counts)]
        if case.masked:
            _repeat(hashes, hard_hashes)
        own = range(rank * pairs // world_size, (rank + 1) * pairs // world_size)
        index = torch.tensor(own)
        keys = Keys(hashes[index], torch.cat([hard_hashes[i] for i in own])) if case.masked else None
        yield Batch(x.select(index), y.select(index), Ragged.cat([hard[i] for i in own]), keys)


def _texts(count: int, longest: int, generator: torch.Generator) -> Ragged:
    lengths = torch.randint(2, longest, (count,), generator=generator)
    ids = torch.randint(FIRST_ID, LAST_ID, (int(lengths.sum()),), generator=generator)
    return Ragged(ids, lengths)


def _repeat(hashes: Tensor, hard: list[Tensor]) -> None:
    """Let pairs far apart, so of different ranks, share an x, a y or a document, and a negative be another's y."""
    last = len(hashes) - 1
    hashes[last, 0] = hashes[0, 0]
    hashes[last // 2, 1] = hashes[1, 1]
    hashes[1 :: max(2, last // 3), 2] = hashes[1, 2]
    for texts in hard[::3]:
        texts[:1] = hashes[1, 1]
