"""Counts what a global batch holds, source by source: duplicates, false negatives, negatives, truncation, padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any

import numpy as np

from lightning_cpt.data.batch import PairBatch

UNNAMED = "(no name)"  # the source of pairs that do not say
HASHES = ("x", "y", "document")  # what the columns of the hashes stand for


@dataclass(frozen=True, slots=True)
class Share:
    """One rank's pairs of a global batch, as far as they are counted.

    Args:
        sources: Of each pair, ``n``.
        hashes: Of x, y and document, int64 ``(n, 3)``; ``(0, 3)`` where there is no index.
        negative_hashes: Of the hard negatives' texts, int64 ``(m,)``.
        cut: Whether x and y lost tokens to truncation, bool ``(n, 2)``; ``(0, 2)`` where that is not known.
        lengths: Tokens of x and y, int64 ``(n, 2)``.
        tokens: Tokens of the pairs and of their hard negatives together.
        padded: The same with padding, as they went through the model; 0 where it does not say.
    """

    sources: list[str]
    hashes: np.ndarray
    negative_hashes: np.ndarray
    cut: np.ndarray
    lengths: np.ndarray
    tokens: int
    padded: int

    @classmethod
    def of(cls, batch: PairBatch, padded: int) -> Share:
        return cls(
            names_of(batch),
            batch.hashes.cpu().numpy(),
            batch.negative_hashes.cpu().numpy(),
            batch.cut.numpy(),
            np.stack([batch.x.lengths.numpy(), batch.y.lengths.numpy()], axis=1),
            sum(int(part.lengths.sum()) for part in batch.parts()),
            padded,
        )


def names_of(batch: PairBatch) -> list[str]:
    """The source of each pair."""
    return batch.sources or [UNNAMED] * len(batch)


@dataclass(slots=True)
class Tally:
    """Sums over audited pairs; two of them add up.

    Args:
        pairs: Pairs.
        tokens_x, tokens_y: Tokens of their sides, truncated and without padding.
        known_cut: Pairs of which truncation is known.
        cut_x, cut_y: Those that lost tokens to it.
        hashed: Pairs whose hashes are known.
        duplicate_x, duplicate_y, duplicate_document: Those that repeat the x (y, document) of a pair before them.
        compared: Wrong answers that the x were compared with, hard negatives included and masked ones left out.
        masked: Answers of others that were left out as right ones too.
        tokens, padded: Tokens of batches of this source alone, without and with padding.
    """

    pairs: int = 0
    tokens_x: int = 0
    tokens_y: int = 0
    known_cut: int = 0
    cut_x: int = 0
    cut_y: int = 0
    hashed: int = 0
    duplicate_x: int = 0
    duplicate_y: int = 0
    duplicate_document: int = 0
    compared: int = 0
    masked: int = 0
    tokens: int = 0
    padded: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def tally(shares: Sequence[Share], mask: Sequence[int] | None) -> dict[str, Tally]:
    """The counts of one global batch by source.

    Args:
        shares: Of every rank.
        mask: By which hashes, numbers of :data:`HASHES`, the loss leaves out false negatives; None where it does
            not say, and they are not counted.
    """
    sources = np.array([name for share in shares for name in share.sources])
    columns = _columns(shares, len(sources), mask)
    found = {}
    for name in dict.fromkeys(sources.tolist()):
        own = sources == name
        found[name] = Tally(pairs=int(own.sum()), **{k: int(v[own].sum()) for k, v in columns.items()})
    if len(found) == 1 and all(share.padded for share in shares):
        only = next(iter(found.values()))
        only.tokens, only.padded = (sum(getattr(s, key) for s in shares) for key in ("tokens", "padded"))
    return found


def padding(shares: Sequence[Share]) -> tuple[int, int]:
    """Tokens of the whole batch without and with padding; (0, 0) where a rank's is not known."""
    if not all(share.padded for share in shares):
        return 0, 0
    return sum(share.tokens for share in shares), sum(share.padded for share in shares)


def _columns(shares: Sequence[Share], count: int, mask: Sequence[int] | None) -> dict[str, np.ndarray]:
    """A number for each pair of the batch and each thing that is counted, ``(count,)`` each; what is known."""
    lengths = np.concatenate([share.lengths for share in shares])
    columns = {"tokens_x": lengths[:, 0], "tokens_y": lengths[:, 1]}
    cut = np.concatenate([share.cut for share in shares])
    if len(cut) == count:
        columns |= {"known_cut": np.ones(count, int), "cut_x": cut[:, 0], "cut_y": cut[:, 1]}
    hashes = np.concatenate([share.hashes for share in shares])
    negatives = np.concatenate([share.negative_hashes for share in shares])
    if len(hashes) == count:
        columns["hashed"] = np.ones(count, int)
        columns |= {f"duplicate_{n}": repeats(hashes[:, at]) for at, n in enumerate(HASHES)}
        if mask is not None:
            columns["masked"] = false_negatives(hashes, negatives, mask)
            columns["compared"] = count - 1 + len(negatives) - columns["masked"]
    return columns


def repeats(values: np.ndarray) -> np.ndarray:
    """Whether a value stands among those before it, bool ``(n,)``."""
    found = np.ones(len(values), bool)
    found[np.unique(values, return_index=True)[1]] = False
    return found


def false_negatives(hashes: np.ndarray, negatives: np.ndarray, mask: Sequence[int]) -> np.ndarray:
    """How many answers of others are right ones too for each x, int64 ``(n,)``.

    Those are pairs that agree with it in any of the ``mask``'s hashes and, where y is among them, hard negatives
    that are its own y's text. The first are counted by inclusion and exclusion, in n log n and not in n x n.

    Args:
        hashes: Of x, y and document, ``(n, 3)``.
        negatives: Of the hard negatives, ``(m,)``.
        mask: Numbers of :data:`HASHES`.
    """
    found = np.zeros(len(hashes), np.int64)
    for some in _subsets(mask):
        sign = 1 if len(some) % 2 else -1
        found += sign * (_alike(hashes[:, list(some)]) - 1)
    if HASHES.index("y") in mask and len(negatives):
        inorder = np.sort(negatives)
        own = hashes[:, HASHES.index("y")]
        found += np.searchsorted(inorder, own, side="right") - np.searchsorted(inorder, own)
    return found


def _subsets(mask: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for size in range(1, len(mask) + 1):
        yield from combinations(mask, size)


def _alike(rows: np.ndarray) -> np.ndarray:
    """How many rows, itself among them, equal each row, ``(n,)``."""
    _, which, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    return np.asarray(counts[which.reshape(-1)])


def row(name: str, done: Tally, seen: Mapping[str, int], wanted: Mapping[str, float]) -> dict[str, Any]:
    """What the counts of a source come to, shares in 0..1; null is what is not known.

    Args:
        name: The source's, or "all" of them.
        done: Its audited pairs.
        seen: Pairs of each source in all steps, audited or not.
        wanted: Share of the pairs that each source is to have, where it is known.
    """
    total = sum(seen.values())
    whole = name not in seen
    return {
        "pairs": total if whole else seen[name],
        "share_wanted": None if whole else wanted.get(name),
        "share_had": _ratio(total if whole else seen[name], total),
        "audited_pairs": done.pairs,
        **{f"duplicate_{n}": getattr(done, f"duplicate_{n}") if done.hashed else None for n in HASHES},
        "masked_per_query": _ratio(done.masked, done.hashed if done.compared else 0),
        "negatives_per_query": _ratio(done.compared, done.hashed if done.compared else 0),
        "cut_x": _ratio(done.cut_x, done.known_cut),
        "cut_y": _ratio(done.cut_y, done.known_cut),
        "tokens_x": _ratio(done.tokens_x, done.pairs),
        "tokens_y": _ratio(done.tokens_y, done.pairs),
        "padding": None if not done.padded else 1 - done.tokens / done.padded,
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
