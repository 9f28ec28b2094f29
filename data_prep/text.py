"""Mines pairs of neighbouring pieces of text out of documents; pieces end where sentences or paragraphs end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import xxhash

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.prose import is_heading, paragraphs, sentences
from data_prep.readers import Document
from data_prep.report import Report

_PLAIN_LETTERS = bytes(code for code in range(128) if chr(code).isalpha() or chr(code).isspace())


@dataclass(frozen=True, slots=True)
class TextRules:
    """How documents are cut, and which of their pieces are paired.

    Args:
        piece_chars: A piece grows sentence by sentence while it stays within this many characters; a single
            sentence may be longer.
        gap: Pieces left out between x and y: 0 takes neighbours.
        max_gap: Draw the gap between ``gap`` and this one, by the hash of document and place; None: ``gap``.
        overlapping: Pair every piece with the one after the gap, so that most are an x and a y; otherwise every
            piece is used once at most.
        pairs_per_document: Keep so many pairs of a document, evenly spread over it; None keeps all.
        min_piece_chars: A shorter piece (what is left at a document's end) says too little.
        max_piece_chars: A longer one holds no sentence ends: a list, a table, data.
        min_letters: Part of a paragraph's characters that are letters or spaces; the rest is tables or code.
    """

    piece_chars: int = 800
    gap: int = 0
    max_gap: int | None = None
    overlapping: bool = False
    pairs_per_document: int | None = None
    min_piece_chars: int = 100
    max_piece_chars: int = 4000
    min_letters: float = 0.6

    def __post_init__(self) -> None:
        if self.min_piece_chars < 1:
            raise DataError(f"--min-piece-chars {self.min_piece_chars}: must be 1 or more")
        if not self.min_piece_chars <= self.piece_chars <= self.max_piece_chars:
            raise DataError(
                f"--piece-chars {self.piece_chars}: must be {self.min_piece_chars} to {self.max_piece_chars}"
                " (from --min-piece-chars on)"
            )
        if self.gap < 0:
            raise DataError(f"--gap {self.gap}: must be 0 or more")
        if self.max_gap is not None and self.max_gap < self.gap:
            raise DataError(f"--max-gap {self.max_gap}: must be --gap ({self.gap}) or more")
        if self.pairs_per_document is not None and self.pairs_per_document < 1:
            raise DataError(f"--pairs-per-document {self.pairs_per_document}: must be 1 or more")


def mine_text(documents: Iterable[Document], rules: TextRules, report: Report) -> Iterator[Pair]:
    """Yield the pairs of each document as it is read: (a piece, the one ``gap`` pieces after the next)."""
    for document in documents:
        pieces = list(cut_pieces(document, rules, report))
        places = list(_partners(document.name, len(pieces), rules))
        report.dropped["piece without a partner"] += len(pieces) - len({i for pair in places for i in pair})
        for i, j in _spread(places, rules.pairs_per_document, report):
            meta = {"document": document.name, "span": [i, j], **document.meta}
            yield Pair(f"{document.name}:{i}", pieces[i], pieces[j], source="text", meta=meta)


def _partners(name: str, count: int, rules: TextRules) -> Iterator[tuple[int, int]]:
    """Places of the x and y sides among ``count`` pieces.

    Disjoint ones come in blocks: the first half of 2 * step pieces is paired with the second.
    """
    begin = 0
    while begin < count:
        step = _gap(name, begin, rules) + 1
        width = 1 if rules.overlapping else step
        yield from ((i, i + step) for i in range(begin, begin + width) if i + step < count)
        begin += 1 if rules.overlapping else 2 * step


def _gap(name: str, place: int, rules: TextRules) -> int:
    """The gap of the block at ``place``: with the name and the place it is always the same."""
    if rules.max_gap is None:
        return rules.gap
    return rules.gap + xxhash.xxh64_intdigest(f"{name}:{place}".encode()) % (rules.max_gap - rules.gap + 1)


def _spread(places: list[tuple[int, int]], limit: int | None, report: Report) -> list[tuple[int, int]]:
    if limit is None or len(places) <= limit:
        return places
    report.dropped["pair over the number per document"] += len(places) - limit
    return [places[k * len(places) // limit] for k in range(limit)]


def cut_pieces(document: Document, rules: TextRules, report: Report) -> Iterator[str]:
    """Yield the pieces of a document, in order, without overlap."""
    piece = ""
    for paragraph in paragraphs(document, report):
        if _letters(paragraph) < rules.min_letters:
            report.dropped["paragraph mostly signs or digits"] += 1
            continue
        glue = "\n\n"
        for sentence in sentences(paragraph):
            # A heading never ends a piece: what follows belongs to it.
            if piece and len(piece) + len(sentence) > rules.piece_chars and not is_heading(piece):
                yield from _accept(piece, rules, report)
                piece = ""
            piece, glue = f"{piece}{glue}{sentence}" if piece else sentence, " "
    yield from _accept(piece, rules, report)


def _accept(piece: str, rules: TextRules, report: Report) -> Iterator[str]:
    if not piece:
        return
    if len(piece) < rules.min_piece_chars:
        report.dropped[f"piece under {rules.min_piece_chars:,} characters"] += 1
    elif len(piece) > rules.max_piece_chars:
        report.dropped[f"piece over {rules.max_piece_chars:,} characters"] += 1
    else:
        yield piece


def _letters(text: str) -> float:
    """Part of the characters that are letters or spaces."""
    plain = text.encode("ascii", "ignore")  # a loop over all characters would be most of the time of mining
    found = len(plain) - len(plain.translate(None, _PLAIN_LETTERS))
    if len(plain) < len(text):
        found += sum(one.isalpha() or one.isspace() for one in text if not one.isascii())
    return found / len(text)
