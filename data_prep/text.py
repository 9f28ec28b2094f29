"""Mines pairs of neighbouring pieces of text out of documents; pieces end where sentences or paragraphs end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from data_prep.documents import Document
from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.report import Report

# Gutenberg's licence stands outside of these two lines in every one of its books.
_GUTENBERG = re.compile(r"\*\*\* ?(START|END) OF TH(E|IS) PROJECT GUTENBERG[^\n]*")
_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_RULE_LINE = re.compile(r"\s*([=\-~^*_#+.`:'\"])(\s*\1){2,}\s*$")
# A line of a reStructuredText table: "===== =====" or "+-----+-----+".
_TABLE_RULE = re.compile(r"^\s*(=+(\s+=+)+|\+[-=]+\+([-=+]+\+)?)\s*$", re.MULTILINE)
_ITEM = re.compile(r"\s*([-*+•]|\d+[.)]|#\.)\s")
_FIELD = re.compile(r":?[A-Z][\w-]*:\s")
_END = re.compile(r"[.!?…]+[\"'”’)\]*_]*\s+|[。！？]+[」』”]*\s*")
_ABBREVIATION = re.compile(
    r"(^|[\s(\"'“‘])([A-Z]|[Mm]r|Mrs|Ms|Dr|St|Prof|Gen|Col|Maj|Lieut|Mt|Bros|Ltd|Capt|Lt|Rev|Hon|Messrs|Mme|Mlle|Sr|Jr|vs|etc|cf|[Ff]ig|[Nn]o"
    r"|[Ee]q|[Vv]ol|pp?|[Cc]h|[Cc]hap|[Ss]ec|Sect|SECT|approx|al|i\.e|e\.g|[A-Z]\.[A-Z])\.$"
)


@dataclass(frozen=True, slots=True)
class TextRules:
    """How documents are cut.

    Args:
        piece_chars: A piece grows sentence by sentence while it stays within this many characters; a single
            sentence may be longer.
        gap: Pieces left out between x and y: 0 takes neighbours.
        min_piece_chars: A shorter piece (what is left at a document's end) says too little.
        max_piece_chars: A longer one holds no sentence ends: a list, a table, data.
        min_letters: Part of a paragraph's characters that are letters or spaces; the rest is tables or code.
    """

    piece_chars: int = 800
    gap: int = 0
    min_piece_chars: int = 100
    max_piece_chars: int = 4000
    min_letters: float = 0.6

    def __post_init__(self) -> None:
        if not self.min_piece_chars <= self.piece_chars <= self.max_piece_chars:
            raise DataError(
                f"--piece-chars {self.piece_chars}: must be {self.min_piece_chars} to {self.max_piece_chars}"
            )
        if self.gap < 0:
            raise DataError(f"--gap {self.gap}: must be 0 or more")


def mine_text(documents: Iterable[Document], rules: TextRules, report: Report) -> Iterator[Pair]:
    """Yield pairs (a piece, the one ``gap`` pieces after the next); every piece is used once at most."""
    for document in documents:
        pieces = list(cut_pieces(document, rules, report))
        step = rules.gap + 1
        report.dropped["piece without a partner"] += len(pieces) - 2 * len(list(_partners(len(pieces), step)))
        for i in _partners(len(pieces), step):
            meta = {"document": document.name, "span": [i, i + step]}
            yield Pair(f"{document.name}:{i}", pieces[i], pieces[i + step], source="text", meta=meta)


def _partners(count: int, step: int) -> Iterator[int]:
    """Places of the x sides: in each block of 2 * step pieces, the first half is paired with the second."""
    return (i for i in range(count - step) if i % (2 * step) < step)


def cut_pieces(document: Document, rules: TextRules, report: Report) -> Iterator[str]:
    """Yield the pieces of a document, in order, without overlap."""
    piece = ""
    for paragraph in paragraphs(document):
        if _letters(paragraph) < rules.min_letters:
            report.dropped["paragraph mostly signs or digits"] += 1
            continue
        glue = "\n\n"
        for sentence in sentences(paragraph):
            # A heading never ends a piece: what follows belongs to it.
            if piece and len(piece) + len(sentence) > rules.piece_chars and not _is_heading(piece):
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


def _is_heading(piece: str) -> bool:
    last = piece.rsplit("\n\n", 1)[-1]
    return len(last) < 80 and not re.search(r"[.!?…。！？:;,][\"'”’)\]*_]*$", last)


def _letters(text: str) -> float:
    return sum(character.isalpha() or character.isspace() for character in text) / len(text)


def paragraphs(document: Document) -> Iterator[str]:
    """Yield the prose of a document, a paragraph each: hard-wrapped lines joined, markup of blocks taken off."""
    text = _without_licence(document.text)
    if document.kind == ".md":
        text = _FENCE.sub("", text)
    blocks = [block for block in re.split(r"\n[ \t\f]*\n", text) if block.strip()]
    if document.kind == ".rst":
        blocks = _rst_prose(blocks)
    for block in blocks:
        for lines in _line_groups(block, document.kind):
            yield " ".join(" ".join(lines).split())


def _without_licence(text: str) -> str:
    marks = {match[1]: match for match in _GUTENBERG.finditer(text)}
    begin = marks["START"].end() if "START" in marks else 0
    return text[begin : marks["END"].start() if "END" in marks else len(text)]


def _rst_prose(blocks: list[str]) -> list[str]:
    """Leave out directives, comments, link targets, tables, headers of fields, literal blocks after ``::``."""
    prose, literal = [], False
    for block in blocks:
        indented = block.startswith((" ", "\t")) or (block.startswith("\n") and block[1:2] in " \t")
        if literal and indented:
            continue
        literal = False
        fields = sum(bool(_FIELD.match(line)) for line in block.splitlines())
        if block.lstrip().startswith((".. ", "__ ")):
            literal = True  # a directive's content is indented in the blocks after it
        elif fields < 2 and not _TABLE_RULE.search(block):
            literal = block.rstrip().endswith("::")
            prose.append(block.rstrip().removesuffix("::") + ":" if literal else block)
    return prose


def _line_groups(block: str, kind: str) -> Iterator[list[str]]:
    """Split a block of lines where a new line is meant: list items, headings, lines that are paragraphs."""
    lines = [line for line in block.split("\n") if line.strip() and not _RULE_LINE.match(line)]
    own_lines = any(len(line) > 200 for line in lines)  # nobody wraps at 200: each line is a paragraph
    group: list[str] = []
    for line in lines:
        heading = kind == ".md" and line.startswith("#")
        if group and (own_lines or heading or _ITEM.match(line)):
            yield group
            group = []
        group.append(line.lstrip("#").strip() if heading else line.strip())
        if heading:
            yield group
            group = []
    if any(group):
        yield group


def sentences(paragraph: str) -> Iterator[str]:
    """Yield the sentences of a paragraph; the rules are those of European print, and CJK full stops."""
    begin = 0
    for match in _END.finditer(paragraph):
        before, after = paragraph[begin : match.end()].rstrip(), paragraph[match.end() : match.end() + 1]
        if after and not after.islower() and not _ABBREVIATION.search(before[-12:]):
            yield before
            begin = match.end()
    if rest := paragraph[begin:].strip():
        yield rest
