"""A chunk of pre-tokenised pairs: its columns, their bytes and checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import xxhash

from data_prep.pairs import Pair, packed

TOKENS_FORMAT = "cpt-tokens-1"
TOKENIZER = "tokenizer.json"
DTYPES = ("<u2", "<u4")


@dataclass(frozen=True, slots=True)
class TokenHead:
    """What all chunks of a folder of pre-tokenised pairs have in common.

    Args:
        tokenizer: Hash of the tokenizer (data_prep.token_ids.tokenizer_hash).
        dtype: Of the ids: ``<u2``, or ``<u4`` where the vocabulary is larger.
        max_tokens: Most ids kept of a text; None is all.
        origin: Fingerprint of the text shards that they were made from.
    """

    tokenizer: str
    dtype: str
    max_tokens: int | None
    origin: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, obj: dict[str, Any]) -> TokenHead:
        """That of a manifest's ``tokens`` or of a chunk.

        Raises:
            KeyError, ValueError: keys that are missing or wrong.
        """
        head = cls(*(obj[name] for name in ("tokenizer", "dtype", "max_tokens", "origin")))
        if head.dtype not in DTYPES:
            raise ValueError(f"ids of type {head.dtype!r}")
        return head


@dataclass(slots=True)
class TokenChunk:
    """``n`` pairs with ``m`` negatives in all.

    Args:
        head: Of the folder.
        pairs: id, source and meta of each pair, ``n`` each.
        lengths: Ids of the x's, then of the y's, then of the negatives: uint32 ``(2 n + m,)``.
        negatives: Negatives of each pair, uint32 ``(n,)``.
        tokens: All ids, in the order of ``lengths``.
        hashes: xxh64 of x, of y and of the document's name, uint64 ``(n, 3)``.
        negative_hashes: xxh64 of the negatives' texts, uint64 ``(m,)``.
        cut: Texts of which ids are missing.
    """

    head: TokenHead
    pairs: dict[str, list[Any]]
    lengths: np.ndarray
    negatives: np.ndarray
    tokens: np.ndarray
    hashes: np.ndarray
    negative_hashes: np.ndarray
    cut: int

    @classmethod
    def of(cls, pairs: Sequence[Pair], ids: Sequence[Sequence[int]], head: TokenHead) -> TokenChunk:
        """Out of pairs and the ids of :func:`texts_of` them."""
        kept = [one[: head.max_tokens] for one in ids]
        negatives = [text for pair in pairs for text in pair.negatives]
        return cls(
            head,
            {name: [getattr(pair, name) for pair in pairs] for name in ("id", "source", "meta")},
            np.array([len(one) for one in kept], np.uint32),
            np.array([len(pair.negatives) for pair in pairs], np.uint32),
            np.fromiter(chain.from_iterable(kept), head.dtype, sum(map(len, kept))),
            np.array([[_hash(t) for t in (p.x, p.y, p.document)] for p in pairs], np.uint64).reshape(-1, 3),
            np.array([_hash(text) for text in negatives], np.uint64),
            sum(len(one) > len(short) for one, short in zip(ids, kept, strict=True)),
        )

    @property
    def sides(self) -> np.ndarray:
        """Lengths of x and y, uint32 ``(n, 2)``."""
        return self.lengths[: 2 * len(self.negatives)].reshape(2, -1).T

    def to_bytes(self) -> bytes:
        """Before compression."""
        columns = {
            "lengths": self.lengths.astype("<u4"),
            "negatives": self.negatives.astype("<u4"),
            "tokens": self.tokens.astype(self.head.dtype),
            "hashes": self.hashes.astype("<u8"),
            "negative_hashes": self.negative_hashes.astype("<u8"),
        }
        data = {name: column.tobytes() for name, column in columns.items()}
        head = {"format": TOKENS_FORMAT, **self.head.to_dict(), "cut": self.cut}
        return packed({**head, **self.pairs, **data}, zip(self.pairs["id"], self.pairs["meta"], strict=True))

    @classmethod
    def from_object(cls, obj: Any) -> TokenChunk:
        """Out of what msgpack has unpacked.

        Raises:
            ValueError: no such chunk, or columns that do not fit together.
        """
        if not isinstance(obj, dict) or obj.get("format") != TOKENS_FORMAT:
            raise ValueError("no chunk of token ids")
        try:
            head = TokenHead.of(obj)
            found = cls(
                head,
                {name: obj[name] for name in ("id", "source", "meta")},
                np.frombuffer(obj["lengths"], "<u4"),
                np.frombuffer(obj["negatives"], "<u4"),
                np.frombuffer(obj["tokens"], head.dtype),
                np.frombuffer(obj["hashes"], "<u8").reshape(-1, 3),
                np.frombuffer(obj["negative_hashes"], "<u8"),
                obj["cut"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"a column of token ids is missing or wrong ({error})") from None
        if not found._is_sound():
            raise ValueError("columns of token ids that do not fit together")
        return found

    def _is_sound(self) -> bool:
        n, m = len(self.negatives), int(self.negatives.sum())
        return (
            all(len(column) == n for column in self.pairs.values())
            and len(self.hashes) == n
            and len(self.negative_hashes) == m
            and len(self.lengths) == 2 * n + m
            and int(self.lengths.sum()) == len(self.tokens)
        )

    def records(self) -> list[dict[str, Any]]:
        """As those of texts, with ids (views, not to be written to) in the place of texts, and ``negative_hashes``."""
        n = len(self.negatives)
        ends = np.cumsum(self.lengths, dtype=np.int64).tolist()
        parts = [self.tokens[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        stops = np.cumsum(self.negatives, dtype=np.int64).tolist()
        wrong = [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]
        negatives, hashes = parts[2 * n :], self.negative_hashes.tolist()
        return [
            {
                "id": name,
                "x": x,
                "y": y,
                "negatives": negatives[span],
                "source": source,
                "meta": meta,
                "negative_hashes": hashes[span],
            }
            for name, x, y, span, source, meta in zip(
                self.pairs["id"],
                parts[:n],
                parts[n : 2 * n],
                wrong,
                self.pairs["source"],
                self.pairs["meta"],
                strict=True,
            )
        ]


def texts_of(pairs: Sequence[Pair]) -> list[str]:
    """All x, all y, all negatives: the order in which a chunk has their ids."""
    sides = [getattr(pair, side) for side in "xy" for pair in pairs]
    return sides + [text for pair in pairs for text in pair.negatives]


def _hash(text: str) -> int:
    return int(xxhash.xxh64_intdigest(text.encode()))
