"""Takes docstrings out of Python functions, and tells which functions still hold their query."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eval_suite.bm25 import words

# What can hide a colon or a bracket, and the signs that matter. Not Python's own tokenizer: the corpora hold
# Python 2, fragments, and code whose line ends are gone.
_STRING = (
    r"(?:[rRuUbBfF]{1,2})?(?:"
    r'"""(?:[^\\]|\\.)*?"""|'
    + r"'''(?:[^\\]|\\.)*?'''|"
    + r'"(?!"")(?:[^"\\\n]|\\.)*"|'
    + r"'(?!'')(?:[^'\\\n]|\\.)*')"
)
_SIGN = re.compile(rf"(?P<string>{_STRING})|(?P<comment>#[^\n]*)|(?P<sign>[()\[\]{{}}:])", re.DOTALL)
_HEADER = re.compile(r"^[ \t]*(?:async\s+)?(?:def|class)\s", re.MULTILINE)
_FIRST_STRING = re.compile(
    rf"(?:\s|#[^\n]*\n|\\\n)*?(?P<start>[ \t]*)(?P<string>{_STRING})(?P<end>[ \t]*;?[ \t]*\n?)", re.DOTALL
)
_LEAST_WORDS = 3  # two words, such as "get name", stand in code without being a docstring


def strip_docstring(code: str) -> str:
    """The function without the string literal that is its first statement; `pass` where nothing else is left.

    Code without a `def` or `class` header comes back as it is.
    """
    body = _body_start(code)
    found = _FIRST_STRING.match(code, body) if body is not None else None
    if not found or not _is_statement(code, found.end("string")):
        return code
    rest = code[found.end() :]
    kept = code[: found.start("start")]
    if not rest.strip():
        return f"{kept}{found['start'] or ' '}pass\n"
    one_line = "\n" not in found["end"] and not kept.endswith("\n")
    return kept + (" " if one_line else "" if "\n" in found["end"] else found["start"]) + rest


def holds_query(query: str, code: str) -> bool:
    """Whether the query's words stand in the code one after the other, case and signs aside; three words at least.

    Of a query of several paragraphs the first counts: a docstring's summary.
    """
    wanted = words(summary(query))
    return len(wanted) >= _LEAST_WORDS and f" {' '.join(wanted)} " in f" {' '.join(words(code))} "


def leak_share(queries: Sequence[str], codes: Sequence[str]) -> float:
    """The share, 0..1, of functions that hold their own query; queries and codes go in pairs."""
    return sum(map(holds_query, queries, codes)) / max(1, len(queries))


def summary(docstring: str) -> str:
    """The first paragraph, with single spaces."""
    return " ".join(re.split(r"\n\s*\n", docstring.strip(), maxsplit=1)[0].split())


def _body_start(code: str) -> int | None:
    """Where the first function's or class's body begins, after its header's colon."""
    header = _HEADER.search(code)
    depth = 0
    for found in _SIGN.finditer(code, header.end()) if header else ():
        sign = found["sign"]
        if sign == ":" and depth == 0:
            return found.end()
        depth += 0 if not sign or sign == ":" else 1 if sign in "([{" else -1
    return None


def _is_statement(code: str, end: int) -> bool:
    """Whether a string that ends there stands alone, and is not the start of an expression such as "".join(x)."""
    return not re.match(r"[ \t]*[.%+*/\[(=,-]|[ \t]*(?:if|in|and|or|for|is|not)\b", code[end:])
