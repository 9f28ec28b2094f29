"""Cutting text: sentence ends, paragraphs of each kind of document, pieces, and pairs of neighbours."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from data_prep.errors import DataError
from data_prep.readers import Document
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


def test_an_items_number_belongs_to_it() -> None:
    assert list(sentences("4. First things first. Then others.")) == [
        "4. First things first.",
        "Then others.",
    ]
    assert list(sentences("#. The one.")) == ["#. The one."]
    assert list(sentences("It was in chapter 4. Then came another.")) == [
        "It was in chapter 4.", "Then came another.",
    ]  # fmt: skip


APPARATUS = """\
==========
 The title
==========

See `the site <https://example.org/a>`__ and `more`_.

References
==========
.. [1] A link (https://example.org)

Old one: https://example.org/old

Rejected ideas
==============

Prose again.

* https://example.org/a/very/long/address/of/a/page a page

Copyright
=========

This document is in the public domain.
"""


def test_link_lists_and_copyright_are_no_prose() -> None:
    report = Report()
    found = list(paragraphs(Document("d", ".rst", APPARATUS), report))
    assert found == ["The title", "See the site and `more`_.", "Rejected ideas", "Prose again."]
    assert dict(report.dropped) == {
        "block under References, Links or Copyright": 4,
        "paragraph mostly web addresses": 1,
    }


def test_markdown_links_and_licence() -> None:
    text = '# Head\n\nSee [the site](https://e.org "A title") ![picture](a.png).<!-- a\nnote -->\n\n## License\n\nMIT\n\n## Use\n\nText.'
    report = Report()
    found = list(paragraphs(Document("d", ".md", text), report))
    assert found == ["Head", "See the site picture.", "Use", "Text."]
    assert dict(report.dropped) == {"line under References, Links or Copyright": 2}


def test_menus_of_a_page_are_no_prose() -> None:
    text = (
        "Home\nLog in\nAbout\nThe heading\nA sentence.\nOne\nTwo\nAnother.\nTerms\nPrivacy\nCookies\n\nJobs\n"
    )
    report = Report()
    found = list(paragraphs(Document("d", ".wet", text), report))
    assert found == ["The heading", "A sentence.", "One", "Two", "Another.", "Jobs"]
    assert report.dropped["line of a menu"] == 6


@pytest.mark.parametrize("kind", [".html", ".wet", ".wiki"])
def test_lines_that_are_paragraphs(kind: str) -> None:
    assert prose("One sentence.\nAnother sentence.", kind) == ["One sentence.", "Another sentence."]


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
    ("text", "kept"),
    [
        ("Ελληνικά γράμματα και κενά" * 6, True),
        ("文字だけの段落" * 20, True),
        ("Zwölf Wörter, überall Umlaute: ä ö ü ß" * 5, True),
        ("٣٤٥٦ ٧٨٩ ½ ² " * 20, False),
        ("——— … „“ «» ab " * 20, False),
    ],
)
def test_letters_of_any_script_count(text: str, kept: bool) -> None:
    assert len(list(cut_pieces(Document("d", ".txt", text), TextRules(), Report()))) == kept


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


def pieces_document(count: int, name: str = "b", **meta: str) -> Document:
    sentence = "Piece number {} has one long sentence of more than a hundred characters, so that nothing else fits beside it."
    return Document(name, ".txt", "\n\n".join(sentence.format(i) for i in range(count)), meta)


def spans(document: Document, report: Report | None = None, **options: int) -> list[tuple[int, int]]:
    rules = TextRules(piece_chars=120, **options)  # type: ignore[arg-type]
    pairs = mine_text([document], rules, report or Report())
    return [tuple(pair.meta["span"]) for pair in pairs]


def test_overlapping_pairs() -> None:
    report = Report()
    assert spans(pieces_document(4), report, overlapping=True) == [(0, 1), (1, 2), (2, 3)]
    assert spans(pieces_document(4), report, overlapping=True, gap=1) == [(0, 2), (1, 3)]
    assert report.dropped["piece without a partner"] == 0
    assert spans(pieces_document(3), report, overlapping=True, gap=1) == [(0, 2)]
    assert report.dropped["piece without a partner"] == 1


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_drawn_gap(overlapping: bool) -> None:
    options = {"gap": 1, "max_gap": 3, "overlapping": overlapping}
    found = spans(pieces_document(100), **options)
    assert {j - i - 1 for i, j in found} == {1, 2, 3}
    assert spans(pieces_document(100), **options) == found
    assert spans(pieces_document(100, "another"), **options) != found
    sides = [i for pair in found for i in pair]
    assert (len(set(sides)) == len(sides)) is not overlapping
    assert spans(pieces_document(100), gap=2, max_gap=2) == spans(pieces_document(100), gap=2)


def test_so_many_pairs_of_a_document() -> None:
    report = Report()
    assert spans(pieces_document(20), report, pairs_per_document=3) == [(0, 1), (6, 7), (12, 13)]
    assert report.dropped["pair over the number per document"] == 7
    assert len(spans(pieces_document(6), report, pairs_per_document=3)) == 3


def test_the_document_says_where_it_comes_from() -> None:
    (pair,) = mine_text([pieces_document(2, url="u", license="l")], TextRules(piece_chars=120), Report())
    assert pair.meta == {"document": "b", "span": [0, 1], "url": "u", "license": "l"}


def test_pairs_come_as_documents_are_read() -> None:
    read: list[str] = []

    def documents() -> Iterator[Document]:
        for name in "abc":
            read.append(name)
            yield pieces_document(4, name)

    stream = mine_text(documents(), TextRules(piece_chars=120), Report())
    assert next(stream).id == "a:0"
    assert read == ["a"]


def test_documents_are_never_joined() -> None:
    documents = [Document(name, ".txt", "One piece only. " * 10) for name in "ab"]
    assert list(mine_text(documents, TextRules(), Report())) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"piece_chars": 50}, "--piece-chars 50"),
        ({"piece_chars": 50, "min_piece_chars": 60}, r"--piece-chars 50: must be 60 to 4000"),
        ({"min_piece_chars": 0}, "--min-piece-chars 0"),
        ({"gap": -1}, "--gap -1"),
        ({"gap": 2, "max_gap": 1}, r"--max-gap 1: must be --gap \(2\) or more"),
        ({"pairs_per_document": 0}, "--pairs-per-document 0"),
    ],
)
def test_bad_rules(options: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TextRules(**options)  # type: ignore[arg-type]


def test_every_book_of_a_file_is_kept() -> None:
    start, end = (
        "*** START OF THE PROJECT GUTENBERG EBOOK X ***",
        "*** END OF THE PROJECT GUTENBERG EBOOK X ***",
    )
    two = (
        f"About\n\n{start}\n\nFirst book.\n\n{end}\n\nLicence\n\n{start}\n\nSecond book.\n\n{end}\n\nLicence"
    )
    assert prose(two) == ["First book.", "Second book."]
    assert prose(two.rpartition("\n\n*** END")[0]) == ["First book.", "Second book."]
    assert prose(f"A book without its start.\n\n{end}\n\nLicence") == ["A book without its start."]


def test_headings_that_say_nothing() -> None:
    assert prose("#\n\nText.\n\n## \n\n# ![](logo.png)\n\nMore.", ".md") == ["Text.", "More."]


def test_comments_of_markdown_and_one_that_never_ends() -> None:
    assert prose("One <!-- not\nthis --> two <!-- <!-- --> three.", ".md") == ["One two three."]
    assert prose("One <!-- two.", ".md") == ["One <!-- two."]
    assert len(prose("<!-- " * 200_000, ".md")) == 1  # at once


def test_a_heading_of_nothing_but_an_odd_space() -> None:
    for space in ("\u00a0", "\u3000", "\f"):
        assert not list(mine_text([Document("a", ".md", f"#{space}\n\ntext.\n")], TextRules(), Report()))
