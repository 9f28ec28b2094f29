"""What documentation comments of all languages have in common: lines without marks, blocks, HTML."""

from __future__ import annotations

import html
import re

from data_prep.code.docstring import first_paragraph

_BLOCK = (
    "p|ul|ol|li|dl|dt|dd|table|thead|tbody|tr|td|th|caption|h[1-6]|div|blockquote|hr|section|details|summary"
)
_PREFORMATTED = re.compile(r"<(pre|listing|example)\b.*?(</\1>|\Z)", re.IGNORECASE | re.DOTALL)
_BLOCK_TAG = re.compile(rf"</?({_BLOCK})(\s[^<>]*)?/?>", re.IGNORECASE)
_INLINE_TAG = re.compile(
    r"</?(a|abbr|acronym|b|bdi|big|center|cite|code|del|dfn|em|font|i|img|ins|kbd|label|nobr|q|s|samp|small|span|strike"
    r"|strong|sub|sup|tt|u|var|wbr)(\s[^<>]*)?/?>|<!--.*?-->|<br\s*/?>",
    re.IGNORECASE | re.DOTALL,
)
_ITEM = re.compile(r"\s*([-*+•]|\d+[.)])\s+\S")
_FENCE = re.compile(r"^\s*(```|~~~).*?(^\s*\1|\Z)", re.MULTILINE | re.DOTALL)


def without_html(text: str) -> str:
    """Blocks become paragraphs, preformatted ones and fences go, inline tags go, entities become characters."""
    text = _PREFORMATTED.sub("\n\n", _FENCE.sub("\n\n", text))
    text = _BLOCK_TAG.sub("\n\n", text)
    return html.unescape(_INLINE_TAG.sub("", text))


def paragraph(text: str) -> str:
    """The first paragraph of prose; the items of a list are not part of it."""
    lines = []
    for line in text.split("\n"):
        if _ITEM.match(line):
            lines.append("")
        lines.append(line)
    return first_paragraph("\n".join(lines))
