"""Ruby: RDoc and YARD comments above methods, and lambdas that are assigned to a name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from data_prep.code.comments import Syntax
from data_prep.code.language import Language
from data_prep.code.prose import paragraph, without_html

if TYPE_CHECKING:
    from tree_sitter import Node

_BLOCK_MARK = re.compile(r"^=(begin|end)\b.*$", re.MULTILINE)
_MARK = re.compile(r"\s*#+ ?")
_DIRECTIVE = re.compile(
    r"!|:(category|section|title|main|include|call-seq|args|yields|stopdoc|startdoc|doc|markup):"
    r"|rubocop:|standard:|steep:|typed:|-\*-|(frozen_string_literal|encoding|coding|warn_indent):"
)
_CALL_SEQUENCE = re.compile(r":?call-seq:")
_PRIVATE = re.compile(r"(^|\n)--\s*\n.*?(\n\+\+\s*(?=\n|$)|\Z)", re.DOTALL)
_TAG = re.compile(r"^\s*@!?[a-z]", re.MULTILINE)
_HEADING = re.compile(r"=+\s+\S|#+\s+\S")
_CODE = re.compile(r"\+([\w:.#?!@\[\]()*=<>|&~-]+)\+")
_RDOC_LINK = re.compile(r"(?:\{([^}]+)\}|\b(\w+))\[(?:https?:|rdoc-ref:|link:|mailto:)[^\]]*\]")
_YARD_LINK = re.compile(r"\{((?:[A-Z]|#|::|\.)[\w:#.?!=]*)(?:\s+([^}]+))?\}")
_ESCAPE = re.compile(r"\\(?=[A-Za-z_#+<*:.])")


def ruby_prose(doc: str) -> str:
    """The first paragraph of an RDoc or YARD comment; empty where it says ``:nodoc:``."""
    lines = [_MARK.sub("", line, count=1) for line in _BLOCK_MARK.sub("", doc).split("\n")]
    if any(line.strip().startswith(":nodoc:") for line in lines):
        return ""
    text = _PRIVATE.sub("\n", "\n".join(_without_call_sequence(lines)))
    if tag := _TAG.search(text):
        text = text[: tag.start()]
    text = _CODE.sub(r"\1", without_html(text))
    text = _RDOC_LINK.sub(lambda match: match[1] or match[2], text)
    text = _YARD_LINK.sub(lambda match: match[2] or match[1].lstrip("#.:"), text)
    return paragraph(_ESCAPE.sub("", text))


def _without_call_sequence(lines: list[str]) -> list[str]:
    """Directives, call sequences, headings and verbatim (indented) lines end a paragraph and are no prose."""
    kept: list[str] = []
    in_sequence = False
    for line in lines:
        in_sequence = bool(_CALL_SEQUENCE.match(line)) or (in_sequence and line.startswith(" "))
        verbatim = re.match(r"(\t| {2,})\S", line) and not (kept and kept[-1].startswith(("* ", "- ")))
        directive = _DIRECTIVE.match(line) or _HEADING.match(line)
        kept.append("" if in_sequence or verbatim or directive else line)
    return kept


def _fault(node: Node, name: str) -> str | None:
    last = name.rpartition(".")[2]
    if last == "initialize":
        return "constructor"
    return "test function" if last.startswith("test_") else None


SYNTAX = Syntax(
    language="ruby",
    documentation=re.compile(r"#|=begin"),
    by_line=True,
    scopes={"class": "name", "module": "name"},
    wrappers=("argument_list", "call"),
    literals=("heredoc_body", "string", "subshell", "string_array", "symbol_array", "regex"),
    blocks=("body_statement",),
    lead=re.compile(r"sig\s*(\{|\(|do\b)"),
    clean_name=lambda name: name.replace("::", "."),
    fault=_fault,
)

RUBY = Language(
    name="ruby",
    suffixes=(".rb", ".rake"),
    roots=("*.gemspec", "Gemfile"),
    find=SYNTAX.find,
    find_all=SYNTAX.find_all,
    prose=ruby_prose,
    strip=SYNTAX.strip,
    tests=re.compile(r"(^|/)(test|tests|spec|specs|features)/|_(test|spec)\.rb$|(^|/)test_[^/]*\.rb$"),
)
