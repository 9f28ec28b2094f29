"""The first paragraph of prose in docstrings of all fashions."""

from __future__ import annotations

import pytest

from data_prep.code.docstring import first_paragraph
from data_prep.filters import CodeRules, doc_reason


@pytest.mark.parametrize(
    ("doc", "paragraph"),
    [
        ("One line.", "One line."),
        ("\n    Two\n    lines.\n\n    More.\n    ", "Two lines."),
        ("Prose here.\nArgs:\n    a: no", "Prose here."),
        ("Prose here.\n:param a: no\n:return: no", "Prose here."),
        ("Prose here.\n@param a no", "Prose here."),
        ("Prose here.\nParameters\n----------\na : int", "Prose here."),
        ("Prose here.\n>>> f(1)\n1", "Prose here."),
        ("Prose here.\n.. note:: no", "Prose here."),
        ("Heading\n=======\n\nProse here.", "Prose here."),
        ("f(a, b=None) -> int\n\nProse here.", "Prose here."),
        ("f(a, b)\nProse here.", "f(a, b) Prose here."),
        ("Prose with code::\n\n    x", "Prose with code:"),
        ("Args:\n    a: no", ""),
        (":param a: no", ""),
        (".. deprecated:: 1.0\n   Use g.\n\nProse.", ""),
        ("x (`int`, *optional*): the number", ""),
        ("f(a, b) -> int", ""),
        (">>> f(1)\n1", ""),
        ("", ""),
        ("  \n ", ""),
    ],
)
def test_first_paragraph(doc: str, paragraph: str) -> None:
    assert first_paragraph(doc) == paragraph


@pytest.mark.parametrize(
    "doc",
    [
        "Deprecated since 1.0, use the other one.",
        "**Deprecated** use the other one.",
        "Copyright 2020 by somebody or other.",
        "See `numpy.sum` for details.",
        "See base class.",
        "Alias for the other function.",
        "Override this method in subclasses.",
        "TODO: write this docstring.",
    ],
)
def test_boilerplate(doc: str) -> None:
    assert doc_reason(doc, CodeRules()) == "docstring is boilerplate"


@pytest.mark.parametrize(
    "doc",
    [
        "See whether the two sets overlap, and return the larger one of them.",
        "Override the defaults with the user's options.",
        "Return the ``n``-th coefficient of ``f`` in ``K[x]``.",
        "Mark a function as deprecated.",
    ],
)
def test_not_boilerplate(doc: str) -> None:
    assert doc_reason(doc, CodeRules()) is None
