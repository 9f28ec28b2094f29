"""Takes the prose out of each kind of document: paragraphs without the markup of blocks, and their sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from data_prep.readers import Document
from data_prep.report import Report

# Gutenberg's licence stands outside of these two lines in every one of its books.
_GUTENBERG = re.compile(r"\*\*\* ?(START|END) OF TH(E|IS) PROJECT GUTENBERG[^\n]*")
_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_RULE_LINE = re.compile(r"\s*([=\-~^*_#+.`:'\"])(\s*\1){2,}\s*$")
# A line of a reStructuredText table: "===== =====" or "+-----+-----+".
_TABLE_RULE = re.compile(r"^\s*(=+(\s+=+)+|\+[-=]+\+([-=+]+\+)?)\s*$", re.MULTILINE)
_ITEM = re.compile(r"\s*([-*+•]|\d+[.)]|#\.)\s")
# Kinds of text in which a new line is a new paragraph; and so many short lines in a row are no text.
_OWN_LINES = (".html", ".wet", ".wiki")
_MENU_LINES = 3
_MARK = re.compile(r"\d+[.)]|#\.")
# Sections that hold no prose, whatever a document is about.
_APPARATUS = re.compile(
    r"(references|footnotes|bibliography|(external )?links|copyright|licen[cs]e)( and (references|footnotes|licen[cs]e))?",
    re.IGNORECASE,
)
_MD_HEADING = re.compile(r"#{1,6} +(.*)")
_RST_LINK = re.compile(r"`([^`<>]+?)\s+<[^`<>]+>`__?")
_MD_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]+(\s+\"[^\"]*\")?\)")
_ADDRESS = re.compile(r"(https?|ftp)://\S+")
_FIELD = re.compile(r":?[A-Z][\w-]*:\s")
_END = re.compile(r"[.!?…]+[\"'”’)\]*_]*\s+|[。！？]+[」』”]*\s*")
_ABBREVIATION = re.compile(
    r"(^|[\s(\"'“‘])([A-Z]|[Mm]r|Mrs|Ms|Dr|St|Prof|Gen|Col|Maj|Lieut|Mt|Bros|Ltd|Capt|Lt|Rev|Hon|Messrs|Mme|Mlle|Sr|Jr|vs|etc|cf|[Ff]ig|[Nn]o"
    r"|[Ee]q|[Vv]ol|pp?|[Cc]h|[Cc]hap|[Ss]ec|Sect|SECT|approx|al|i\.e|e\.g|[A-Z]\.[A-Z])\.$"
)


def paragraphs(document: Document, report: Report | None = None) -> Iterator[str]:
    """Yield the prose of a document, a paragraph each: hard-wrapped lines joined, markup of blocks taken off.

    ``report`` receives the count of what is left out for its content: link lists, copyright, menus.
    """
    report, kind = report if report is not None else Report(), document.kind
    text = _without_licence(document.text)
    if kind == ".md":
        text = _MD_LINK.sub(r"\1", _without_sections(_without_comments(_FENCE.sub("", text)), report))
    elif kind == ".wet":
        text = _without_menus(text, report)
    blocks = [block for block in re.split(r"\n[ \t\f]*\n", text) if block.strip()]
    if kind == ".rst":
        blocks = [_RST_LINK.sub(r"\1", block) for block in _rst_prose(_without_apparatus(blocks, report))]
    for block in blocks:
        for lines in _line_groups(block, kind):
            paragraph = " ".join(" ".join(lines).split())
            if 2 * sum(len(match[0]) for match in _ADDRESS.finditer(paragraph)) > len(paragraph):
                report.dropped["paragraph mostly web addresses"] += 1
            else:
                yield paragraph


def _without_sections(text: str, report: Report) -> str:
    """Markdown without the sections under headings such as References and License, headings included."""
    kept, inside = [], False
    for line in text.split("\n"):
        if heading := _MD_HEADING.match(line):
            inside = _APPARATUS.fullmatch(heading[1].strip(" #")) is not None
        if not inside:
            kept.append(line)
        elif line.strip():
            report.dropped["line under References, Links or Copyright"] += 1
    return "\n".join(kept)


def _without_apparatus(blocks: list[str], report: Report) -> Iterator[str]:
    """The same for the blocks of reStructuredText."""
    inside = False
    for block in blocks:
        if (title := _rst_title(block)) is not None:
            inside = _APPARATUS.fullmatch(title) is not None
        if inside:
            report.dropped["block under References, Links or Copyright"] += 1
        else:
            yield block


def _rst_title(block: str) -> str | None:
    lines = block.strip("\n").split("\n")
    if len(lines) > 2 and _RULE_LINE.match(lines[0]):
        lines = lines[1:]  # a line over the title
    if len(lines) > 1 and _RULE_LINE.match(lines[1]) and not lines[0].startswith((" ", "\t")):
        return lines[0].strip()
    return None


def _without_menus(text: str, report: Report) -> str:
    """A page's lines without runs of short ones that end no sentence; the last may be the heading of what follows."""
    kept: list[str] = []
    run: list[str] = []
    for line in text.split("\n"):
        if line.strip() and is_heading(line.strip()):
            run.append(line)
        elif line.strip():
            kept += [*_short_run(run, report), line]
            run = []
    return "\n".join(kept + _short_run(run, report))


def _short_run(run: list[str], report: Report) -> list[str]:
    menu = run[:-1] if len(run) > _MENU_LINES else []
    report.dropped["line of a menu"] += len(menu)
    return run[len(menu) :]


def is_heading(piece: str) -> bool:
    """Whether the last paragraph of ``piece`` is short and ends no sentence."""
    last = piece.rsplit("\n\n", 1)[-1]
    return len(last) < 80 and not re.search(r"[.!?…。！？:;,][\"'”’)\]*_]*$", last)


def _without_licence(text: str) -> str:
    """What stands between the marks of each book; of a file without marks, all."""
    parts, begin = [], 0
    marks = list(_GUTENBERG.finditer(text))
    for mark in marks:
        if mark[1] == "END" and begin >= 0:
            parts.append(text[begin : mark.start()])
        begin = mark.end() if mark[1] == "START" else -1
    if begin >= 0:
        parts.append(text[begin:])
    return "\n\n".join(parts)


def _without_comments(text: str) -> str:
    """Without HTML's comments; one that never ends is text."""
    parts, at = [], 0
    while (begin := text.find("<!--", at)) >= 0 and (end := text.find("-->", begin + 4)) >= 0:
        parts.append(text[at:begin])
        at = end + 3
    return "".join([*parts, text[at:]])


def _rst_prose(blocks: Iterable[str]) -> list[str]:
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
    # Nobody wraps at 200: each line is a paragraph.
    own_lines = kind in _OWN_LINES or any(len(line) > 200 for line in lines)
    group: list[str] = []
    for line in lines:
        heading = kind == ".md" and line.startswith("#")
        if heading and not line.replace("#", "").strip():
            continue  # a heading that says nothing, or whose picture is gone
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
        if _MARK.fullmatch(before):
            continue  # the number of an item belongs to what follows
        if after and not after.islower() and not _ABBREVIATION.search(before[-12:]):
            yield before
            begin = match.end()
    if rest := paragraph[begin:].strip():
        yield rest
