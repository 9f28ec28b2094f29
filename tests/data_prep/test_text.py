"""Cutting text: sentence ends, paragraphs of each kind of document, pieces, and pairs of neighbours."""

from __future__ import annotations

import re

import pytest

from data_prep.documents import Document
from data_prep.errors import DataError
from data_prep.report import Report
from data_prep.text import TextRules, cut_pieces, mine_text, paragraphs, sentences


def prose(text: str, kind: str = ".txt") -> list[str]:
    return list(paragraphs(Document("d", kind, text)))


@pytest.mark.parametrize(
    "parts",
    [
        ["It rained.", "Nobody came!", "Why not?"],
        ["Mr. Smith met Dr. J. R. Brown at No. 5.", "They left."],
        ["He said: “Go.”", "She went.", "“Now?”", "“Yes…”"],
        ["It costs 3.14 pounds, e.g. in Rome, etc. and so on.", "Next."],
        ["See chap. 37 and vol. II of Lieut. Maury.", "It is long."],
        ["The end [...] of it all.)", "Another."],
        ["no capital after the full stop. so it goes on"],
    ],
)
def test_sentences(parts: list[str]) -> None:
    assert list(sentences(" ".join(parts))) == parts


def test_sentences_without_spaces() -> None:
    assert list(sentences("今日は晴れ。明日は雨！終わり")) == ["今日は晴れ。", "明日は雨！", "終わり"]


def test_hard_wrapped_lines_are_joined_and_items_are_not() -> None:
    text = "One line\nand its end.\n \nTitle\n=====\n\n- an item\n  that goes on\n- another\n\n1. first\n2. second"
    assert prose(text) == [
        "One line and its end.", "Title", "- an item that goes on", "- another", "1. first", "2. second",
    ]  # fmt: skip


def test_long_lines_are_paragraphs() -> None:
    lines = ["word " * 60 + "end.", "Short one."]
    assert prose("\n".join(lines)) == lines


def test_markdown() -> None:
    text = "# Head\nText *here*.\n\n```python\ncode = 1\n```\n\n~~~\nmore\n\ncode\n~~~\nAfter.\n## Sub"
    assert prose(text, ".md") == ["Head", "Text *here*.", "After.", "Sub"]


RST = """\
PEP: 1
Title: A title
Author: Somebody

Heading
-------

An example follows::

    code = 1

    more = 2

.. note:: a directive

   its content

.. _target: https://example.org

===== =====
Name  Value
===== =====
a     1
===== =====

+---+---+
| a | b |
+---+---+

The text
goes on.
"""


def test_rst_keeps_prose_only() -> None:
    assert prose(RST, ".rst") == ["Heading", "An example follows:", "The text goes on."]


def test_a_licence_is_no_text() -> None:
    text = "About\n\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nThe book.\n\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\n\nLicence"
    assert prose(text) == ["The book."]


def long_document(count: int) -> Document:
    paragraph = " ".join(f"This is sentence {i} of the paragraph." for i in range(7))
    return Document("book.txt", ".txt", "\n\n".join(f"Part {i}. {paragraph}" for i in range(count)))


def test_pieces_are_the_text_without_overlap() -> None:
    document = long_document(9)
    pieces = list(cut_pieces(document, TextRules(piece_chars=300), Report()))
    assert all(re.search(r"[.!?]$", piece) for piece in pieces)
    assert all(100 <= len(piece) <= 300 + 2 for piece in pieces)  # the two of a paragraph break
    assert " ".join(" ".join(pieces).split()) == " ".join(document.text.split())
    assert len(pieces) > 5


def test_a_heading_belongs_to_what_follows() -> None:
    sentence = (
        "The sentence goes on until it has so many characters that a piece is full enough, and then it stops."
    )
    text = f"{sentence} {sentence}\n\nThe Heading\n\n{sentence} {sentence}"
    rules = TextRules(piece_chars=225)
    pieces = list(cut_pieces(Document("d", ".txt", text), rules, Report()))
    assert pieces == [f"{sentence} {sentence}\n\nThe Heading\n\n{sentence}", sentence]


def test_what_is_dropped_is_counted() -> None:
    report = Report()
    text = "1 2 3 4 5 | 6 7 8 9 | 0 1 2 3\n\n" + "word " * 900 + "end.\n\nA short rest."
    assert list(cut_pieces(Document("d", ".txt", text), TextRules(), report)) == []
    assert dict(report.dropped) == {
        "paragraph mostly signs or digits": 1,
        "piece over 4,000 characters": 1,
        "piece under 100 characters": 1,
    }


@pytest.mark.parametrize(
    ("gap", "count", "expected", "alone"),
    [
        (0, 6, [(0, 1), (2, 3), (4, 5)], 0),
        (0, 5, [(0, 1), (2, 3)], 1),
        (1, 8, [(0, 2), (1, 3), (4, 6), (5, 7)], 0),
        (2, 5, [(0, 3), (1, 4)], 1),
        (2, 3, [], 3),
    ],
)
def test_pairs_are_neighbours(gap: int, count: int, expected: list[tuple[int, int]], alone: int) -> None:
    sentence = "Piece number {} has one long sentence of more than a hundred characters, so that nothing else fits beside it."
    document = Document("b", ".txt", "\n\n".join(sentence.format(i) for i in range(count)))
    report = Report()
    pairs = list(mine_text([document], TextRules(piece_chars=120, gap=gap), report))
    assert [(pair.x, pair.y) for pair in pairs] == [
        (sentence.format(i), sentence.format(j)) for i, j in expected
    ]
    assert [pair.meta for pair in pairs] == [{"document": "b", "span": list(span)} for span in expected]
    assert [pair.id for pair in pairs] == [f"b:{i}" for i, _ in expected]
    assert report.dropped["piece without a partner"] == alone


def test_documents_are_never_joined() -> None:
    documents = [Document(name, ".txt", "One piece only. " * 10) for name in "ab"]
    assert list(mine_text(documents, TextRules(), Report())) == []


@pytest.mark.parametrize(
    ("options", "message"), [({"piece_chars": 50}, "--piece-chars 50"), ({"gap": -1}, "--gap -1")]
)
def test_bad_rules(options: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TextRules(**options)  # type: ignore[arg-type]
