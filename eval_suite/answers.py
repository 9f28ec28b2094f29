"""Whether a passage holds an answer, by the rule of DPR (Karpukhin et al. 2020): its words as a run of the passage's."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import regex

# Letters, digits and marks in runs; any other sign that is neither white space nor a control on its own.
_TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
_END = "\x00"  # a control: no token holds it


def tokens(text: str) -> list[str]:
    """Lower-cased tokens of the canonically decomposed (NFD) text.

    >>> tokens("Beyoncé's 2nd!") == ["beyonce\\u0301", "'", "s", "2nd", "!"]
    True
    """
    return [token.lower() for token in _TOKEN.findall(unicodedata.normalize("NFD", text))]


class Answers:
    """The accepted answers of one question; an answer without a token is in every passage, as in DPR."""

    def __init__(self, answers: Sequence[str]) -> None:
        self._wanted = [_joined(tokens(answer)) for answer in answers]

    def are_in(self, passage: str) -> bool:
        """Whether one of them is in the passage's text."""
        text = _joined(tokens(passage))
        return any(wanted in text for wanted in self._wanted)


def _joined(words: list[str]) -> str:
    """The tokens between separators, so that a substring of it is a run of whole tokens."""
    return _END + "".join(word + _END for word in words)
