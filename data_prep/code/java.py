"""Java: Javadoc above methods."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from data_prep.code.comments import Syntax
from data_prep.code.grammar import text
from data_prep.code.javadoc import DOCUMENTATION, javadoc_prose
from data_prep.code.language import Language

if TYPE_CHECKING:
    from tree_sitter import Node

_TEST = re.compile(r"@(Test|ParameterizedTest|RepeatedTest|Before|After|BeforeEach|AfterEach)\b")
_TYPES = ("class", "interface", "enum", "record", "annotation_type")


def _fault(node: Node, name: str) -> str | None:
    if node.type != "method_declaration":
        return "constructor"
    modifiers = next((child for child in node.children if child.type == "modifiers"), None)
    return "test function" if modifiers is not None and _TEST.search(text(modifiers)) else None


SYNTAX = Syntax(
    language="java",
    documentation=DOCUMENTATION,
    comments=("block_comment", "line_comment"),
    scopes=dict.fromkeys((*(f"{kind}_declaration" for kind in _TYPES), "enum_constant"), "name"),
    literals=("string_literal",),
    blocks=("block", "constructor_body"),
    fault=_fault,
)

JAVA = Language(
    name="java",
    suffixes=(".java",),
    roots=("pom.xml", "build.gradle", "build.gradle.kts", "build.xml", "BUILD.bazel"),
    find=SYNTAX.find,
    find_all=SYNTAX.find_all,
    prose=javadoc_prose,
    strip=SYNTAX.strip,
    tests=re.compile(r"(^|/)(test|tests|androidTest|integrationTest|jmh)/|(Test|Tests|TestCase|IT)\.java$"),
)
