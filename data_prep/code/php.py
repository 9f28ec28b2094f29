"""PHP: PHPDoc above functions, methods, and closures that are assigned to a variable."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from data_prep.code.comments import Syntax
from data_prep.code.javadoc import DOCUMENTATION, javadoc_prose
from data_prep.code.language import Language

if TYPE_CHECKING:
    from tree_sitter import Node


def _fault(node: Node, name: str) -> str | None:
    last = name.rpartition(".")[2]
    if node.type == "method_declaration" and last.startswith("__"):
        return "constructor" if last in ("__construct", "__destruct") else "magic method"
    return "test function" if re.match(r"test[A-Z_]", last) else None


SYNTAX = Syntax(
    language="php",
    documentation=DOCUMENTATION,
    scopes=dict.fromkeys(
        ("class_declaration", "interface_declaration", "trait_declaration", "enum_declaration"), "name"
    ),
    wrappers=("expression_statement",),
    literals=("string", "encapsed_string", "heredoc", "nowdoc", "shell_command_expression", "text"),
    blocks=("compound_statement",),
    clean_name=lambda name: name.lstrip("$").replace("->", ".").replace("::", ".").removeprefix("this."),
    fault=_fault,
    opening="<?php\n",
)

PHP = Language(
    name="php",
    suffixes=(".php", ".inc"),
    roots=("composer.json",),
    find=SYNTAX.find,
    find_all=SYNTAX.find_all,
    prose=javadoc_prose,
    strip=SYNTAX.strip,
    tests=re.compile(r"(^|/)(tests?|Tests?|spec)/|(Test|TestCase|Spec)\.php$"),
)
