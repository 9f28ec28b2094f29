"""The functions of a source file, documented or not, as things to find: code, signature, first sentences, place."""

from __future__ import annotations

import re
from dataclasses import dataclass

from data_prep.code.function import Function
from data_prep.code.grammar import TooSlow
from data_prep.code.languages import LANGUAGES
from data_prep.code.sources import SourceFile
from lightning_cpt.search.texts import Item

MOST_BYTES = 2_000_000  # of a file: longer ones are data
_SECONDS = 10.0
_BLANKS = re.compile(r"\s+")
_SIGNATURE_CHARS = 160
_DEFINITION = re.compile(r"^\s*(async\s+def|def)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Extracted:
    """What a file gave.

    Args:
        items: Its functions.
        fault: Why the file, or a part of it, could not be read; empty if it could.
    """

    items: list[Item]
    fault: str = ""


def extract(source: SourceFile, raw: bytes | None, shown: str) -> Extracted:
    """The functions of a file.

    Args:
        source: The file.
        raw: Its bytes; None if they are more than MOST_BYTES.
        shown: The path under which it is shown.
    """
    language = LANGUAGES[source.language]
    if raw is None:
        return Extracted([], f"over {MOST_BYTES:,} bytes")
    text = language.decode(raw)
    if text is None:
        return Extracted([], "not decodable")
    try:
        found = language.find_all(text.encode(), _SECONDS)
    except TooSlow:
        return Extracted([], f"over {_SECONDS:g} s to parse")
    functions = found.functions or []
    items = [_item(source.language, function, shown) for function in functions]
    return Extracted(items, "a part with a syntax error" if found.broken else "")


def _item(language: str, function: Function, shown: str) -> Item:
    name = function.name.split("@")[0]
    doc = LANGUAGES[language].prose(function.doc) if function.doc else ""
    meta = {
        "path": shown,
        "line": function.span[0],
        "end": function.span[1],
        "name": name,
        "signature": signature(function.code, language, name),
        "doc": doc,
    }
    return Item(f"{shown}:{function.span[0]}:{name}", function.code, meta)


def signature(code: str, language: str, name: str) -> str:
    """The function's head on one line: what stands before its body, its name qualified."""
    if language == "python":
        head = _python_head(code)
    elif language == "ruby":
        head = code.partition("\n")[0]
    else:
        head = re.split(r"\{|=>", code, maxsplit=1)[0]
    head = _BLANKS.sub(" ", head).strip().rstrip(":{ ")
    head = head.replace("( ", "(").replace(", )", ")").replace(" )", ")")
    last = name.rpartition(".")[2]
    head = re.sub(rf"\b{re.escape(last)}\b", lambda _: name, head, count=1) if last != name else head
    return head if len(head) <= _SIGNATURE_CHARS else head[: _SIGNATURE_CHARS - 3] + "..."


def _python_head(code: str) -> str:
    """From ``def`` to the colon that is in no bracket."""
    start = _DEFINITION.search(code)
    code = code[start.start() :] if start else code
    depth = 0
    for at, character in enumerate(code):
        depth += (character in "([{") - (character in ")]}")
        if character == ":" and depth == 0:
            return code[:at]
    return code.partition("\n")[0]
