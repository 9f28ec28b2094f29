"""Go: doc comments above functions, methods, and function literals of package variables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from data_prep.code.comments import Syntax
from data_prep.code.grammar import text
from data_prep.code.language import Language
from data_prep.code.prose import paragraph

if TYPE_CHECKING:
    from tree_sitter import Node

_DIRECTIVE = re.compile(r"//(\w+:\S|line |export |extern |nolint\b|\s*\+build\b|\s*nolint\b)")
_MARK = re.compile(r"\s*(//|/\*+|\*(?= |$))")
_VERBATIM = re.compile(r"(\t| {2,})\S")
_HEADING = re.compile(r"# \S")
_DOC_LINK = re.compile(r"(?<![\w)\]])\[(\*?[\w./]+)\](?![(\[:])")
_RECEIVER = re.compile(r"\(\s*(?:\w+\s+)?\*?\s*(?:\w+\.)?(\w+)")


def go_prose(doc: str) -> str:
    """The first paragraph of a doc comment: no directives, code blocks, headings or brackets of links."""
    lines = []
    for line in doc.removesuffix("*/").split("\n"):
        if _DIRECTIVE.match(line):
            continue
        said = _MARK.sub("", line, count=1) if _MARK.match(line) else line.strip()
        said = said.removeprefix(" ")
        lines.append("" if _VERBATIM.match(said) or _HEADING.match(said) else said)
    return paragraph(_DOC_LINK.sub(r"\1", "\n".join(lines)))


def _receiver(node: Node) -> str:
    """``(l *List[T])`` -> ``List``."""
    receiver = node.child_by_field_name("receiver")
    match = _RECEIVER.match(text(receiver)) if receiver is not None else None
    return match[1] if match else ""


def _fault(node: Node, name: str) -> str | None:
    test = "." not in name and re.match(r"(Test|Benchmark|Example|Fuzz)([A-Z_]|$)", name)  # no method is one
    return "test function" if test else None


SYNTAX = Syntax(
    language="go",
    documentation=re.compile(r"//|/\*"),
    by_line=True,
    wrappers=("var_declaration",),
    literals=("raw_string_literal",),
    blocks=("block", "statement_list"),
    owner=_receiver,
    fault=_fault,
)

GO = Language(
    name="go",
    suffixes=(".go",),
    roots=("go.mod", "Gopkg.toml", "glide.yaml"),
    find=SYNTAX.find,
    find_all=SYNTAX.find_all,
    prose=go_prose,
    strip=SYNTAX.strip,
    tests=re.compile(r"(^|/)(testdata|test)/|_test\.go$"),
    generated=re.compile(r"\.pb(\.gw)?\.go$|(^|/)zz?_generated"),
)
