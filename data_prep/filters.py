"""Says why a pair is not worth training on: each filter is one rule, one reason and one limit."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = re.compile(r"[^\W\d_]+")
_BOILERPLATE = re.compile(
    r"(\*\*|\[|\()?deprecated|copyright|\(c\)|licen[sc]ed? under|todo\b|fixme\b|xxx\b|auto-?generated"
    r"|see (also|the )?[\w:`.~]+( |\.|$)(method|function|docs?|docstring|documentation|for)?.{0,25}$"
    r"|(same|identical) (as|to) |alias (for|of|to) |inherit|overrid(e|es|den) (this|to|by|in|the base|the parent)\b|not implemented|do(es)? nothing",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class CodeRules:
    """Limits for pairs of docstring and function.

    Args:
        min_doc_words: Two words ("Get name.") fit hundreds of functions.
        max_doc_chars: A first paragraph beyond this is a manual pasted into one block.
        min_code_lines: Lines that are not blank, the docstring taken out; ``def`` and one ``return`` say no
            more than the name.
        max_code_chars: A function beyond this is a table or a generated parser; no encoder sees its end.
        min_ascii: Part of the characters that are ASCII, of either side: a rule of thumb for English.
        min_letters: Part of the docstring's characters that are letters or spaces; the rest is markup or formulas.
        max_file_bytes: Larger files are tables or generated.
        max_line_chars: A longer line means data or minified code.
        max_parse_seconds: Processor time for one file; what takes longer would hold up all the others.
    """

    min_doc_words: int = 3
    max_doc_chars: int = 1000
    min_code_lines: int = 3
    max_code_chars: int = 20_000
    min_ascii: float = 0.95
    min_letters: float = 0.6
    max_file_bytes: int = 1_000_000
    max_line_chars: int = 2_000
    max_parse_seconds: float = 10.0


def doc_reason(x: str, rules: CodeRules) -> str | None:
    """Why a docstring's first paragraph is no query, or None."""
    if not x:
        return "docstring without prose"
    if len(_WORD.findall(x)) < rules.min_doc_words:
        return f"docstring under {rules.min_doc_words} words"
    if len(x) > rules.max_doc_chars:
        return f"docstring over {rules.max_doc_chars:,} characters"
    if _part(x, str.isascii) < rules.min_ascii:
        return "docstring not ASCII"
    if _part(x, lambda character: character.isalpha() or character == " ") < rules.min_letters:
        return "docstring mostly markup"
    if _BOILERPLATE.match(x):
        return "docstring is boilerplate"
    return None


def code_reason(y: str, rules: CodeRules) -> str | None:
    """Why a function's source is no answer, or None."""
    if sum(1 for line in y.splitlines() if line.strip()) < rules.min_code_lines:
        return f"function under {rules.min_code_lines} lines"
    if len(y) > rules.max_code_chars:
        return f"function over {rules.max_code_chars:,} characters"
    if not y.isascii() and _part(y, str.isascii) < rules.min_ascii:
        return "function not ASCII"
    return None


def _part(text: str, good) -> float:  # type: ignore[no-untyped-def]
    return sum(map(good, text)) / len(text)
