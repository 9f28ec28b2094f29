"""Takes the first paragraph of prose out of a docstring."""

from __future__ import annotations

import inspect
import re

# A line that opens a section (Google, NumPy), a field (reST, Epydoc), a directive or a doctest ends the prose.
_SECTION = re.compile(
    r"(args|arguments|parameters?|params|inputs?|outputs?|returns?|yields?|raises|examples?|usage|notes?|references"
    r"|see also|attributes|warnings?|warns|methods|keyword arg(ument)?s|other parameters|receives|todo)\s*:?$"
    r"|[:@](param|parameter|arg|type|return|returns|rtype|raise|raises|yield|yields|keyword|key|var|ivar|cvar|meta|since"
    r"|throws|see|author|version)\b.*"
    r"|[*\w]+ \(.*\)\s*:.*"  # name (type): what the parameter means
    r"|\.\. .*|>>> .*|\$ .*",
    re.IGNORECASE,
)
_UNDERLINE = re.compile(r"([-=~^*#_+])\1{2,}$")
_SIGNATURE = re.compile(r"[\w.]+\(.*\)(\s*(->|:).*)?$")


def first_paragraph(doc: str) -> str:
    """The first paragraph, joined by single spaces; empty if the docstring opens with markup.

    Headings and a call signature in front of the prose are passed over, sections are never part of it.
    """
    lines = [line.strip() for line in inspect.cleandoc(doc).splitlines()]
    paragraph: list[str] = []
    for line, following in zip(lines, [*lines, ""][1:], strict=True):
        if _SECTION.match(line):
            break
        if _UNDERLINE.match(line) or _UNDERLINE.match(following):
            if paragraph:
                break
        elif line:
            paragraph.append(line)
        elif paragraph and not _SIGNATURE.match(" ".join(paragraph)):
            break
        else:
            paragraph = []
    text = " ".join(" ".join(paragraph).split())
    text = re.sub(r"\s*::$", ":", text)  # reST's mark for the literal block that would follow
    return "" if _SIGNATURE.match(text) else text
