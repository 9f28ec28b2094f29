"""The one error a user of eval_suite can cause."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class EvalError(ValueError):
    """A mistake in what the user asked for: one line that names the key or file, and the cure."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A closing half-sentence with the nearest known word, if any, and all of them."""
    known = list(known)
    folded = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), folded, n=1, cutoff=0.5)
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    return f"{hint}known: {', '.join(known)}"
