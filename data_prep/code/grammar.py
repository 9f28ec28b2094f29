"""Loads tree-sitter's grammars and parses with them, within a limit of processor time."""

from __future__ import annotations

import time
from functools import cache
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING

from data_prep.errors import DataError

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, QueryCursor

_CHUNK_BYTES = 4096

Captures = dict[str, "list[Node]"]


class TooSlow(Exception):
    """A source takes longer to parse than it may."""


def is_installed(language: str) -> bool:
    """Whether tree-sitter and the grammar of ``language`` are there."""
    return all(find_spec(name) for name in ("tree_sitter", f"tree_sitter_{language}"))


@cache
def load(language: str) -> tuple[Parser, QueryCursor]:
    """The parser of a language and the query in ``{language}.scm``.

    Raises:
        DataError: tree-sitter or the grammar is not installed.
    """
    try:
        tree_sitter = import_module("tree_sitter")
        grammar = import_module(f"tree_sitter_{language}")
    except ImportError:
        raise missing(language) from None
    make = getattr(grammar, "language", None) or getattr(grammar, f"language_{language}")
    made = tree_sitter.Language(make())
    query = files("data_prep.code").joinpath(f"{language}.scm").read_text(encoding="utf-8")
    return tree_sitter.Parser(made), tree_sitter.QueryCursor(tree_sitter.Query(made, query))


def missing(language: str) -> DataError:
    """The error that says what to install."""
    need = (
        "code needs tree-sitter"
        if not find_spec("tree_sitter")
        else f"{language} needs tree-sitter-{language}"
    )
    return DataError(f"mining {need}: pip install 'lightning-cpt[prep]'")


def parse(language: str, source: bytes, seconds: float = float("inf")) -> Node:
    """The root of the source's tree.

    Args:
        language: Name of a grammar.
        source: UTF-8.
        seconds: Of this thread's processor time: a busy machine loses no file.

    Raises:
        TooSlow: it takes longer.
    """
    parser, _ = load(language)
    wall, processor = time.monotonic() + seconds, time.thread_time() + seconds

    def is_over(offset: int, has_error: bool) -> bool:
        # Asked thousands of times; the wall's clock is the cheaper one, and never behind.
        return time.monotonic() > wall and time.thread_time() > processor

    try:
        # Only a source that is read through a function can be given up half-way. It has to return bytes: a view of
        # them ends the process (tree-sitter 0.26). It also serves each node's text, so it returns little at a time.
        tree = parser.parse(
            lambda offset, _: source[offset : offset + _CHUNK_BYTES], progress_callback=is_over
        )
    except ValueError:
        parser.reset()  # or the next parse would go on with this source
        raise TooSlow from None
    return tree.root_node


def matches(language: str, root: Node) -> list[Captures]:
    """What the language's query captures, a dict per match."""
    _, cursor = load(language)
    return [captures for _, captures in cursor.matches(root)]


def text(node: Node) -> str:
    """The node's source."""
    return (node.text or b"").decode()
