"""Batches across clients: what waits when the model is free goes through it together, sorted by length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

Encode = Callable[[Sequence[Sequence[int]], str], np.ndarray]

PART_TEXTS = 128  # a request goes through the queue in parts, so that a long one does not hold up the others
PART_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a request's texts.

    Args:
        side: Of SIDES.
        rows: Token ids.
    """

    side: str
    rows: list[list[int]]

    def pack(self) -> tuple[str, bytes, bytes]:
        """Small and quick to send between processes."""
        lengths = np.array([len(row) for row in self.rows], np.int32)
        return (
            self.side,
            np.concatenate([np.array(row, np.int32) for row in self.rows]).tobytes(),
            lengths.tobytes(),
        )

    @classmethod
    def unpack(cls, packed: tuple[str, bytes, bytes]) -> Part:
        side, ids, lengths = packed
        ends = np.frombuffer(lengths, np.int32).cumsum()[:-1]
        return cls(side, [row.tolist() for row in np.split(np.frombuffer(ids, np.int32), ends)])

    @property
    def tokens(self) -> int:
        return sum(map(len, self.rows))


def split(side: str, rows: Sequence[list[int]]) -> list[Part]:
    """A request in parts of at most PART_TEXTS texts and PART_TOKENS tokens, in its order."""
    parts: list[Part] = []
    held: list[list[int]] = []
    tokens = 0
    for row in rows:
        if held and (len(held) == PART_TEXTS or tokens + len(row) > PART_TOKENS):
            parts.append(Part(side, held))
            held, tokens = [], 0
        held.append(row)
        tokens += len(row)
    return [*parts, Part(side, held)]


def encode_parts(encode: Encode, parts: Sequence[Part], sided: bool) -> list[np.ndarray | Exception]:
    """Vectors ``(n, d)`` of each part, or what went wrong with it; one part's fault does not touch the others.

    Args:
        encode: Rows of ids and a side -> vectors; it sorts them by length itself.
        parts: From any clients.
        sided: Sides must not share a batch.
    """
    done: list[np.ndarray | Exception] = [RuntimeError("not encoded")] * len(parts)
    key: Callable[[int], Any] = lambda at: parts[at].side if sided else ""  # noqa: E731
    for _, group in groupby(sorted(range(len(parts)), key=key), key=key):
        places = list(group)
        for at, result in zip(places, _together(encode, [parts[i] for i in places]), strict=True):
            done[at] = result
    return done


def _together(encode: Encode, parts: Sequence[Part]) -> list[np.ndarray | Exception]:
    try:
        vectors = encode([row for part in parts for row in part.rows], parts[0].side)
    except Exception as error:  # out of memory, or whatever a model raises: find out whose fault it is
        if len(parts) == 1:
            return [error]
        return [result for part in parts for result in _together(encode, [part])]
    ends = np.cumsum([len(part.rows) for part in parts])[:-1]
    return [_finite(block) for block in np.split(vectors, ends)]


def _finite(block: np.ndarray) -> np.ndarray | Exception:
    return block if np.isfinite(block).all() else ValueError("the model's vectors are not finite")
