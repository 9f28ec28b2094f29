"""Cuts a WikiText file into its articles, each a document; a heading is ` = Title = ` between blank lines."""

from __future__ import annotations

import re
from collections.abc import Iterator

from data_prep.readers.document import Document

_TITLE = re.compile(r" = (?![= ])(.*[^= ]) = ?\n?")
_HEADING = re.compile(r"^ (= )+(.*[^= ])( =)+ *$", re.MULTILINE)
# The data set parts hyphens and signs inside numbers off: "well @-@ known", "6 @.@ 5".
_JOINED = re.compile(r" @([-.,])@ ")


def is_title(line: str) -> bool:
    """Whether the line is the heading of an article."""
    return _TITLE.fullmatch(line) is not None


def articles(name: str, text: Iterator[str]) -> Iterator[Document]:
    """Yield a document for each article, named ``name#Title``, with the line where a title comes again.

    The first line that is not blank is a heading.
    """
    title, article, seen = "", list[str](), set[str]()
    blank = True  # the line before a heading is
    for number, line in enumerate(text, 1):
        if blank and (match := _TITLE.fullmatch(line)):
            if title:
                yield _document(name, title, article)
            title, article = _JOINED.sub(r"\1", match[1]), []
            title = f"{title}@{number}" if title in seen else title
            seen.add(title)
        article.append(line)
        blank = not line.strip()
    if title:
        yield _document(name, title, article)


def _document(name: str, title: str, lines: list[str]) -> Document:
    text = _JOINED.sub(r"\1", _HEADING.sub(r"\2", "".join(lines)))
    return Document(f"{name}#{title}", ".wiki", text, {"title": title})
