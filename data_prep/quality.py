"""Says why a text is not worth training on: each rule is one reason and one limit, and none knows a language by default."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from data_prep.errors import DataError

# A character of a script without spaces is a word of its own.
_SINGLE = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_SINGLE}]|[^\W_{_SINGLE}]+")
_DIGIT = re.compile(r"\d")
_BULLET = re.compile(r"\s*([-*+•‣▪●◦·]|\d{1,3}[.)])\s")
_ELLIPSIS = ("...", "…")
_BOILERPLATE = re.compile(
    r"all rights reserved|©|copyright \d{4}|\b(we|this (web)?site) uses? cookies|\bcookies? (policy|settings|consent)|accept (all )?cookies"
    r"|(enable|turn on) javascript|javascript (is|to be) (disabled|enabled|required)|terms (of (use|service)|and conditions)\b"
    r"|privacy policy|lorem ipsum|(subscribe|sign up) (to|for) (our|the) newsletter|^\s*(log|sign) ?in\b|share (this )?(on|via) (facebook|twitter)"
    r"|click here to|skip to (main )?content|powered by \w+\s*$",
    re.IGNORECASE,
)
_STOP_WORDS = frozenset(
    [
        "the",
        "of",
        "and",
        "to",
        "in",
        "that",
        "is",
        "was",
        "for",
        "it",
        "with",
        "as",
        "his",
        "her",
        "he",
        "be",
        "on",
        "at",
        "by",
        "i",
        "this",
        "had",
        "not",
        "are",
        "but",
        "from",
        "or",
        "have",
        "an",
        "they",
        "which",
    ]
)
_NGRAM = 5
_ITEM_CHARS, _LINE_CHARS = 60, 200


@dataclass(frozen=True, slots=True)
class QualityRules:
    """Limits for a piece of text; either side of a pair.

    Args:
        min_words: Fewer words say too little.
        max_chars: A longer text is no piece.
        min_letters: Part of the visible characters that are letters; the rest is tables, markup, data.
        max_digits: Part of the visible characters that are digits.
        min_mean_word: Mean letters of a word: spelled-out or broken text lies under it.
        max_mean_word: Text that has lost its spaces, addresses, hashes lie over it.
        max_bullet_lines: Part of the lines that are short items of a list: menus, indexes; long items are prose.
        max_ellipsis_lines: Part of the lines that end in an ellipsis, where three or more do: previews of other texts.
        max_boilerplate_lines: Part of the lines on cookies, rights, scripts, logging in.
        max_repeated_lines: Part of the characters that lie in lines said before.
        max_repeated_ngrams: Part of the runs of five words that were said before.
        min_stop_words: Different English function words that a text has to have; 0 takes any language.
    """

    min_words: int = 5
    max_chars: int = 20_000
    min_letters: float = 0.6
    max_digits: float = 0.25
    min_mean_word: float = 2.0
    max_mean_word: float = 12.0
    max_bullet_lines: float = 0.9
    max_ellipsis_lines: float = 0.3
    max_boilerplate_lines: float = 0.2
    max_repeated_lines: float = 0.3
    max_repeated_ngrams: float = 0.3
    min_stop_words: int = 0

    def __post_init__(self) -> None:
        for name in ("min_words", "max_chars", "min_stop_words"):
            if getattr(self, name) < 0:
                raise DataError(f"quality rule {name} {getattr(self, name)}: must be 0 or more")


def quality_reason(text: str, rules: QualityRules) -> str | None:
    """Why a text is dropped, or None."""
    if len(text) > rules.max_chars:
        return f"text over {rules.max_chars:,} characters"
    words = _WORD.findall(text)
    if len(words) < rules.min_words:
        return f"text under {rules.min_words} words"
    return _of_characters(text, words, rules) or _of_lines(text, rules) or _of_words(words, rules)


def _of_characters(text: str, words: list[str], rules: QualityRules) -> str | None:
    visible = len(text) - sum(map(text.count, " \n\t\r")) or 1
    digits = len(_DIGIT.findall(text))
    if digits / visible > rules.max_digits:
        return "mostly digits"
    # Words hold letters and digits only.
    if (sum(map(len, words)) - digits) / visible < rules.min_letters:
        return "mostly signs"
    spaced = [len(word) for word in words if len(word) > 1 or word.isascii()]
    if spaced and sum(spaced) / len(spaced) < rules.min_mean_word:
        return "words too short"
    if spaced and sum(spaced) / len(spaced) > rules.max_mean_word:
        return "words too long"
    return None


def _of_lines(text: str, rules: QualityRules) -> str | None:
    lines = [line for line in text.splitlines() if line.strip()]
    items = sum(len(line) < _ITEM_CHARS and bool(_BULLET.match(line)) for line in lines)
    if items > max(2, rules.max_bullet_lines * len(lines)):
        return "mostly list items"
    if sum(line.rstrip().endswith(_ELLIPSIS) for line in lines) > max(
        2, rules.max_ellipsis_lines * len(lines)
    ):
        return "mostly cut-off lines"
    # A long line is a paragraph, which may well speak of cookies.
    said = sum(len(line) < _LINE_CHARS and bool(_BOILERPLATE.search(line)) for line in lines)
    if said > rules.max_boilerplate_lines * len(lines):
        return "boilerplate"
    counts = Counter(line.strip() for line in lines)
    repeated = sum((count - 1) * len(line) for line, count in counts.items())
    if repeated > rules.max_repeated_lines * len(text):
        return "lines repeated"
    return None


def _of_words(words: list[str], rules: QualityRules) -> str | None:
    lower = [word.lower() for word in words]
    runs = list(zip(*(lower[k:] for k in range(_NGRAM)), strict=False))
    if runs and 1 - len(set(runs)) / len(runs) > rules.max_repeated_ngrams:
        return "words repeated"
    if rules.min_stop_words and len(_STOP_WORDS.intersection(lower)) < rules.min_stop_words:
        return "too few English function words"
    return None
