"""Reads .txt, .md and .rst: a file is a document, but for WikiText, which is cut into its articles."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from itertools import chain

from data_prep.readers import wiki
from data_prep.readers.document import Document, ReadRules, Source
from data_prep.readers.streams import DAMAGE, damage, opened
from data_prep.report import Report

# Nobody writes a document of this length: a longer file is a corpus, and is read in parts.
PART_CHARS = 32_000_000
_LINE_CHARS = 1 << 20
_ENCODING = "utf-8-sig"
# How bytes that are no UTF-8 are read, one by one: a file of cp1252 comes out whole, and so does one of UTF-8
# into which somebody pasted a line of it.
_BYTES_AS_CP1252 = "cpt-cp1252"


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252"), error.end


codecs.register_error(_BYTES_AS_CP1252, _as_cp1252)


def read(source: Source, rules: ReadRules, report: Report) -> Iterator[Document]:
    """Yield the file as one document, a WikiText file by articles, a very long one in numbered parts."""
    errors = _errors(source)
    if errors is None:
        report.lose("file neither UTF-8 nor cp1252", source.name)
        return
    report.kept["files read"] += 1
    if errors == _BYTES_AS_CP1252:
        report.kept["files read as cp1252 where they are no UTF-8"] += 1
    text = _lines(source, errors, report)
    head = []
    for line in text:
        head.append(line)
        if line.strip():
            break
    text = chain(head, text)
    if source.kind == ".txt" and head and wiki.is_title(head[-1]):
        yield from wiki.articles(source.name, text)
    else:
        yield from _parts(source, text, report)


def _errors(source: Source) -> str | None:
    """How bytes that are no UTF-8 are to be read; None: not at all. What comes after damage is not looked at."""
    fitting = {name: codecs.getincrementaldecoder(_ENCODING)(name) for name in ("strict", _BYTES_AS_CP1252)}
    with opened(source.path) as file:
        ended = False
        while fitting and not ended:
            try:
                block = file.read1(1 << 20)  # type: ignore[attr-defined]  # read() loses what comes before damage
            except DAMAGE:  # counted when the lines are read
                break
            ended = not block
            for name, decoder in list(fitting.items()):
                try:
                    decoder.decode(block, final=ended)
                except UnicodeDecodeError:
                    del fitting[name]
    return next(iter(fitting), None)


def _lines(source: Source, errors: str, report: Report) -> Iterator[str]:
    """The file's lines, as far as it is whole."""
    try:
        with opened(source.path) as file, io.TextIOWrapper(file, _ENCODING, errors, newline=None) as text:
            yield from iter(lambda: text.readline(_LINE_CHARS), "")
    except DAMAGE as error:
        report.lose(damage(error), source.name)


def _parts(source: Source, text: Iterator[str], report: Report) -> Iterator[Document]:
    """Cut at a blank line once a part is full; one part has the file's own name."""
    part: list[str] = []
    size = number = 0
    for line in text:
        part.append(line)
        size += len(line)
        if size >= PART_CHARS and (not line.strip() or size >= 2 * PART_CHARS):
            number += 1
            yield Document(f"{source.name}#part-{number}", source.kind, "".join(part))
            part, size = [], 0
    if number:
        report.kept[f"files over {PART_CHARS:,} characters, read in parts"] += 1
        yield Document(f"{source.name}#part-{number + 1}", source.kind, "".join(part))
    else:
        yield Document(source.name, source.kind, "".join(part))
