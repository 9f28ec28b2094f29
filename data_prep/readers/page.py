"""Takes the main content, title, language and licence out of one web page."""

from __future__ import annotations

import re
from dataclasses import dataclass

from data_prep.errors import DataError

try:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5
    from resiliparse.parse.html import HTMLTree
except ImportError:
    raise DataError("reading web pages needs resiliparse: pip install 'lightning-cpt[prep]'") from None

_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
# A page with more signs that are none in its encoding is in another one, or is no text.
_MAX_REPLACED = 0.01


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says: its text, a paragraph each line or block of lines, and what it tells of itself."""

    text: str
    meta: dict[str, str]


def read_html(body: bytes, content_type: str) -> Page | None:
    """The page in ``body``; None where it cannot be decoded. Its navigation, header and footer are left out."""
    html = decode(body, content_type)
    if html is None:
        return None
    tree = HTMLTree.parse(html)
    text = extract_plain_text(tree, main_content=True)
    meta = {"title": _joined(tree.title), "language": _attribute(tree, "html[lang]", "lang")}
    meta["license"] = _attribute(tree, '[rel~="license"][href]', "href")
    return Page(text.strip(), {key: value for key, value in meta.items() if value})


def decode(body: bytes, content_type: str) -> str | None:
    """The text in ``body``: UTF-8 if it is that, else as the server says where that fits, else as detected."""
    declared = _CHARSET.search(content_type)
    candidates = ["utf-8", map_encoding_to_html5(declared[1], fallback_utf8=False) if declared else None]
    candidates.append(detected := detect_encoding(body, from_html_meta=True) or detect_encoding(body))
    for encoding in filter(None, candidates):
        try:
            return _text(body.decode(encoding))
        except (UnicodeDecodeError, LookupError):
            continue
    text = body.decode(detected or "utf-8", errors="replace")
    return _text(text) if text.count("\ufffd") <= _MAX_REPLACED * len(text) else None


def _text(text: str) -> str | None:
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return None if "\0" in text else text


def _attribute(tree: HTMLTree, selector: str, name: str) -> str:
    node = tree.document.query_selector(selector) if tree.document else None
    return _joined(node.getattr(name)) if node is not None else ""


def _joined(text: str | None) -> str:
    return " ".join((text or "").split())
