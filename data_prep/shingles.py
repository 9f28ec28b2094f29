"""Turns texts into hashes of their tokens and of runs of tokens, many texts at once and without a loop over words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

SHINGLE = 5
BATCH_CHARS = 1 << 16  # texts that are hashed together: their arrays stay within the processor's caches
_SPACE, _WORD, _SIGN = 0, 1, 2
_SMALL, _ALL = (
    0x3000,
    0x110000,
)  # the tables of all characters take 0.2 s to make, those of most texts nothing
# Scripts written without spaces: each character is a token, or a paragraph would be one word.
_SINGLE = ((0x0E00, 0x0E80), (0x3040, 0x3100), (0x3400, 0xA000), (0x20000, 0x32000))
_BORDERS = '.!?…:;\n"“”„«»|•()[]。！？「」'
_MIX = np.uint64(0x9E3779B97F4A7C15)
_BASE = np.uint64(0x5851F42D4C957F2D)  # odd: it has an inverse modulo 2**64
_INVERSE = np.uint64(pow(0x5851F42D4C957F2D, -1, 1 << 64))


@dataclass(slots=True)
class Hashed:
    """Hashes of several texts, one after another.

    Args:
        values: uint64 (n,).
        ends: int64 (texts + 1,): text i has ``values[ends[i] : ends[i + 1]]``.
    """

    values: np.ndarray
    ends: np.ndarray

    def rows(self) -> np.ndarray:
        """int64 (n,): which text each value belongs to."""
        return np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))


def shingles(text: str) -> np.ndarray:
    """Hashes of the text's shingles: uint64 (n,), sorted, each once; one hash for a text under five tokens."""
    return np.unique(shingle_hashes([text]).values)


def shingle_hashes(texts: Sequence[str]) -> Hashed:
    """Hashes of five neighbouring words or signs; a text has one at least, and repeats stay."""
    tokens = token_hashes(texts)
    counts = np.diff(tokens.ends)
    short = counts < SHINGLE
    # A text under five tokens is filled up with zeros, which no token's hash is.
    spare = np.where(short, SHINGLE - counts, 0)
    padded = np.zeros(len(tokens.values) + int(spare.sum()), np.uint64)
    ends = np.concatenate([[0], np.cumsum(counts + spare)])
    padded[np.arange(len(tokens.values)) + np.repeat(ends[:-1] - tokens.ends[:-1], counts)] = tokens.values
    return windows(Hashed(padded, ends), SHINGLE)


def windows(tokens: Hashed, size: int) -> Hashed:
    """Hashes of the runs of ``size`` tokens that lie within one text."""
    counts = np.maximum(np.diff(tokens.ends) - size + 1, 0)
    ends = np.concatenate([[0], np.cumsum(counts)])
    if not ends[-1]:
        return Hashed(np.empty(0, np.uint64), ends)
    runs = np.zeros(len(tokens.values) - size + 1, np.uint64)
    for k in range(size):
        runs = runs * _BASE + tokens.values[k : k + len(runs)]
    at = np.arange(ends[-1]) + np.repeat(tokens.ends[:-1] - ends[:-1], counts)
    return Hashed(_mixed(runs[at]), ends)


def token_hashes(texts: Sequence[str]) -> Hashed:
    """Hashes of the words and of the other visible characters of each text."""
    return _hashed(texts, signs=True)[0]


def word_hashes(texts: Sequence[str]) -> tuple[Hashed, np.ndarray]:
    """Hashes of the words of each text, and bool (n,): whether a sentence or line begins at the word."""
    return _hashed(texts, signs=False)


def _hashed(texts: Sequence[str], *, signs: bool) -> tuple[Hashed, np.ndarray]:
    # utf-32 has a fixed width; half surrogates pass, a text out of a file may hold them.
    codes = np.frombuffer("\n".join([*texts, ""]).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    kind_of, single, border = _tables(_SMALL if codes.max(initial=0) < _SMALL else _ALL)
    kinds = kind_of[codes]
    begins = kinds != _SPACE
    begins[1:] &= (kinds[1:] != _WORD) | (kinds[:-1] != _WORD)
    if not signs:
        begins &= (kinds == _WORD) | single[codes]
    starts = np.flatnonzero(begins)
    stops = _stops(kinds, starts)
    # The sum of value * base**place from start to stop, moved back to place 0: a polynomial of the token alone.
    powers, inverses = _powers(len(codes) + 1)
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(_mixed(codes.astype(np.uint64) + np.uint64(1)) * powers[: len(codes)], out=sums[1:])
    values = _mixed((sums[stops] - sums[starts]) * inverses[starts])
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1  # and the line feed
    ends = np.searchsorted(starts, np.concatenate([[0], np.cumsum(lengths)]))
    borders = np.cumsum(border[codes])
    begin = np.diff(borders[starts], prepend=-1) != 0
    return Hashed(values, ends), begin


def batches(texts: Sequence[str], limit: int = BATCH_CHARS) -> list[slice]:
    """Slices of ``texts`` that hold up to ``limit`` characters each, one text at least."""
    found, begin, size = [], 0, 0
    for place, text in enumerate(texts):
        if size and size + len(text) > limit:
            found.append(slice(begin, place))
            begin, size = place, 0
        size += len(text)
    return [*found, slice(begin, len(texts))] if texts else []


def _stops(kinds: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Where each token ends: a sign is one character, a word ends before the next character that is none."""
    outside = np.flatnonzero(kinds != _WORD)  # the line feed at the end is one
    word = kinds[starts] == _WORD
    stops = starts + 1
    stops[word] = outside[np.searchsorted(outside, starts[word])]
    return stops


def _mixed(values: np.ndarray) -> np.ndarray:
    values = values * _MIX
    values ^= values >> np.uint64(32)
    values *= _MIX
    values ^= values >> np.uint64(29)
    return values


@cache
def _tables(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For the first characters: the kind (uint8), whether it is a word by itself, whether it ends a sentence."""
    kinds = np.full(size, _SIGN, np.uint8)
    for code in range(len(kinds)):
        character = chr(code)
        if character.isalnum() or character == "_":
            kinds[code] = _WORD
        elif character.isspace():
            kinds[code] = _SPACE
    single, border = np.zeros(len(kinds), bool), np.zeros(len(kinds), bool)
    for begin, end in _SINGLE:
        single[begin:end] = kinds[begin:end] == _WORD
    kinds[single] = _SIGN
    border[[code for code in map(ord, _BORDERS) if code < size]] = True
    return kinds, single, border


_grown: dict[str, np.ndarray] = {}


def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """base**i and base**-i for i < count; the tables grow to what was asked for."""
    if len(_grown.get("powers", ())) < count:
        size = max(count, BATCH_CHARS + 4096)
        for name, base in (("powers", _BASE), ("inverses", _INVERSE)):
            factors = np.full(size, base, np.uint64)
            factors[0] = 1
            _grown[name] = np.cumprod(factors, dtype=np.uint64)
    return _grown["powers"], _grown["inverses"]
