"""Filters for code: each limit holds at its edge and gives its own reason."""

from __future__ import annotations

import pytest

from data_prep.filters import CodeRules, code_reason, doc_reason

RULES = CodeRules(max_doc_chars=60, max_code_chars=80)


@pytest.mark.parametrize(
    ("doc", "reason"),
    [
        ("Return three words.", None),
        ("Return it.", "docstring under 3 words"),
        ("Return 3 4 5 it.", "docstring under 3 words"),
        ("", "docstring without prose"),
        ("word " * 12, None),
        ("word " * 12 + "x", "docstring over 60 characters"),
        ("Gibt zurück, was wäre.", "docstring not ASCII"),
        ("a_b = {c} * (d + e) ** 2 - [f] / 7", "docstring mostly markup"),
        ("Deprecated, use the other one.", "docstring is boilerplate"),
    ],
)
def test_doc_reason(doc: str, reason: str | None) -> None:
    assert doc_reason(doc, RULES) == reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def f():\n    a = 1\n    return a", None),
        ("def f():\n\n  \n    return 1\n", "function under 3 lines"),
        ("def f():\n    a = 1\n" + "    return " + "a" * 48, None),
        ("def f():\n    a = 1\n" + "    return " + "a" * 52, "function over 80 characters"),
        ("def f():\n    a = 'жжжжж'\n    return a", "function not ASCII"),
        ("def f():\n    a = 'é'\n    return a", None),
    ],
)
def test_code_reason(code: str, reason: str | None) -> None:
    assert code_reason(code, RULES) == reason
