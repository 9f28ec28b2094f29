"""JavaScript: JSDoc above functions, methods, and functions that are assigned to a name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from data_prep.code.comments import Syntax
from data_prep.code.javadoc import DOCUMENTATION, javadoc_prose
from data_prep.code.language import Language

if TYPE_CHECKING:
    from tree_sitter import Node

_SAID_ALREADY = re.compile(r"^(module\.exports|exports|this|self|that|window|global|globalThis)(\.|$)")
_COMPUTED = re.compile(r"^\[\s*(.*?)\s*\]$", re.DOTALL)


def _clean_name(name: str) -> str:
    """``Foo.prototype.bar`` -> ``Foo.bar``, ``exports.f`` -> ``f``, ``'a-b'`` -> ``a-b``."""
    name = _COMPUTED.sub(r"\1", name.strip("'\"")).replace(".prototype.", ".").removesuffix(".prototype")
    return "".join(_SAID_ALREADY.sub("", name).split())


def _fault(node: Node, name: str) -> str | None:
    return (
        "constructor"
        if node.type == "method_definition" and name.rpartition(".")[2] == "constructor"
        else None
    )


SYNTAX = Syntax(
    language="javascript",
    documentation=DOCUMENTATION,
    comments=("comment", "html_comment"),
    scopes={
        "class_declaration": "name",
        "class": "name",
        "variable_declarator": "name",
        "assignment_expression": "left",
        "pair": "key",
        "function_declaration": "name",
        "function_expression": "name",
        "method_definition": "name",
    },
    wrappers=(
        "export_statement",
        "lexical_declaration",
        "variable_declaration",
        "variable_declarator",
        "expression_statement",
        "assignment_expression",
    ),
    literals=("template_string", "string"),
    blocks=("statement_block",),
    clean_name=_clean_name,
    fault=_fault,
)

JAVASCRIPT = Language(
    name="javascript",
    suffixes=(".js", ".mjs", ".cjs", ".jsx"),
    roots=("package.json", "bower.json"),
    find=SYNTAX.find,
    find_all=SYNTAX.find_all,
    prose=javadoc_prose,
    strip=SYNTAX.strip,
    tests=re.compile(
        r"(^|/)(test|tests|__tests__|__mocks__|spec|specs|e2e|cypress)/|[._-](test|spec|tests)\.[cm]?jsx?$"
    ),
    generated=re.compile(r"[.-](min|bundle|umd|prod)\.[cm]?js$"),
)
