"""Takes the first paragraph of prose out of Javadoc, JSDoc and PHPDoc comments, which share their marks and tags."""

from __future__ import annotations

import re

from data_prep.code.prose import paragraph, without_html

DOCUMENTATION = re.compile(r"/\*\*(?![*/])")
_OPEN = re.compile(r"\s*/\*\*+")
_CLOSE = re.compile(r"\*+/\s*$")
_STAR = re.compile(r"^[ \t]*\*(?!\*) ?", re.MULTILINE)
_TAG = re.compile(r"^\s*@[A-Za-z]", re.MULTILINE)
_DESCRIPTION = re.compile(r"\s*@(description|desc|summary|brief)\b[ \t]*")
_INLINE = re.compile(r"\{@(\w+)((?:[^{}]|\{[^{}]*\})*)\}")
_LABELLED = re.compile(r"\[([^\]]+)\]\{@link(?:code|plain)?[^}]*\}")
_LINK = re.compile(r"([^\s(|]+)(?:\([^)]*\))?[\s|]*(.*)", re.DOTALL)
_KEPT = {"code", "literal", "index", "systemProperty", "summary"}
# The angle brackets of {@code List<String>} are no HTML; until the tags are gone these stand for them.
_SHIELD = str.maketrans("<>&", "\ue000\ue001\ue002")
_UNSHIELD = str.maketrans("\ue000\ue001\ue002", "<>&")


def javadoc_prose(doc: str) -> str:
    """The first paragraph without marks, tags, links and HTML; empty if the comment opens with tags."""
    text = _STAR.sub("", _CLOSE.sub("", _OPEN.sub("", doc, count=1)))
    if named := _DESCRIPTION.match(text):
        text = text[named.end() :]
    if tag := _TAG.search(text):
        text = text[: tag.start()]
    text = _INLINE.sub(_inline, _LABELLED.sub(r"\1", text))
    text = _INLINE.sub(_inline, text)  # a link's label may be {@code ...}
    return paragraph(without_html(text).translate(_UNSHIELD))


def _inline(match: re.Match[str]) -> str:
    tag, content = match[1], match[2].strip()
    if tag.startswith("link") or tag == "see":
        return _label(content).translate(_SHIELD)
    if tag == "return":
        return f"Returns {content}."
    return content.translate(_SHIELD) if tag in _KEPT else ""


def _label(content: str) -> str:
    """A link's label or else its target: ``List#add(Object)`` -> ``List.add``."""
    parts = _LINK.match(content)
    if parts is None:
        return content
    return parts[2] or parts[1].replace("#", ".").replace("::", ".").lstrip(".")
