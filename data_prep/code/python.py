"""Finds the functions with docstrings in one Python source, by a tree-sitter query."""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from data_prep.errors import DataError

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, QueryCursor


@dataclass(slots=True)
class Function:
    """A function with a docstring.

    Args:
        name: Qualified by its classes: ``KMeans.fit``; with ``@LINE`` where a file has the name twice.
        doc: The docstring's value.
        code: Source without the docstring, decorators included, dedented.
        span: First and last line in the file, from 1.
        stub: Nothing but pass, ``...``, or raising NotImplementedError is left beside the docstring.
    """

    name: str
    doc: str
    code: str
    span: tuple[int, int]
    stub: bool


def find_functions(source: bytes) -> list[Function] | None:
    """The functions and methods with docstrings, in their order; None if ``source`` does not parse.

    Functions inside functions are part of the outer one and not found by themselves.
    """
    parser, cursor = _tools()
    tree = parser.parse(source)
    if tree.root_node.has_error:
        return None
    found = []
    for _, captures in cursor.matches(tree.root_node):
        node, name = captures["function"][0], _qualified_name(captures["function"][0], captures["name"][0])
        doc = _string_value(captures["doc"][0])
        if name is not None and doc is not None:
            found.append(_function(source, node, name, doc, captures["doc"][0], captures["body"][0]))
    _tell_apart(found)
    return found


@cache
def _tools() -> tuple[Parser, QueryCursor]:
    try:
        import tree_sitter
        import tree_sitter_python
    except ImportError:
        raise DataError("mining code needs tree-sitter: pip install 'lightning-cpt[prep]'") from None
    language = tree_sitter.Language(tree_sitter_python.language())
    query = files("data_prep.code").joinpath("python.scm").read_text(encoding="utf-8")
    return tree_sitter.Parser(language), tree_sitter.QueryCursor(tree_sitter.Query(language, query))


def _qualified_name(function: Node, name: Node) -> str | None:
    """Dotted name through the classes around it; None inside a function."""
    parts, node = [_text(name)], function.parent
    while node is not None:
        if node.type == "function_definition":
            return None
        if node.type == "class_definition" and (class_name := node.child_by_field_name("name")):
            parts.append(_text(class_name))
        node = node.parent
    return ".".join(reversed(parts))


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _string_value(node: Node) -> str | None:
    """The literal's value; None for f-strings and bytes, which are no docstrings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes such as "\d" are common and harmless
            # In parentheses: a concatenated string may run over lines that only its position joins.
            value = ast.literal_eval(f"({_text(node)})")
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, str) and "\0" not in value and _is_unicode(value) else None


def _is_unicode(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _function(source: bytes, node: Node, name: str, doc: str, string: Node, body: Node) -> Function:
    outer = node.parent if node.parent and node.parent.type == "decorated_definition" else node
    begin, end = _docstring_range(source, string)
    code = source[outer.start_byte : begin] + source[end : outer.end_byte]
    many_lined = any(mark in code for mark in (b'"""', b"'''", b"\\\n"))
    fixed = _rows_inside_strings(outer, string) if many_lined else set()
    removed = source[begin:end].count(b"\n")
    rows = {row - outer.start_point.row - (removed if row > string.start_point.row else 0) for row in fixed}
    return Function(
        name=name,
        doc=doc,
        code=_dedent(code.decode(), outer.start_point.column, rows).rstrip(),
        span=(outer.start_point.row + 1, outer.end_point.row + 1),
        stub=_is_stub(body),
    )


def _docstring_range(source: bytes, string: Node) -> tuple[int, int]:
    """The bytes to cut: the docstring, its line when nothing else stands on it, blank lines after it."""
    begin, end = string.start_byte, string.end_byte
    while source[end : end + 1] in (b" ", b"\t", b";"):
        end += 1
    line = source.rfind(b"\n", 0, begin) + 1
    alone = not source[line:begin].strip() and source[end : end + 1] in (b"\n", b"")
    if not alone:
        return begin, end
    begin, end = line, end + 1
    while (stop := source.find(b"\n", end)) >= 0 and not source[end:stop].strip():
        end = stop + 1
    return begin, end


def _rows_inside_strings(node: Node, docstring: Node) -> set[int]:
    """Rows that begin inside a string literal, the docstring aside: to dedent them would change the string."""
    if node.start_byte == docstring.start_byte and node.end_byte == docstring.end_byte:
        return set()
    if node.type == "string":
        return set(range(node.start_point.row + 1, node.end_point.row + 1))
    return set().union(*(_rows_inside_strings(child, docstring) for child in node.children))


def _dedent(code: str, column: int, fixed: set[int]) -> str:
    """Take up to ``column`` blanks off every line but those in ``fixed``."""
    lines = code.split("\n")
    for row, line in enumerate(lines):
        if row > 0 and row not in fixed:
            lines[row] = line[column:] if not line[:column].strip() else line.lstrip()
    return "\n".join(lines)


def _is_stub(body: Node) -> bool:
    statements = [child for child in body.named_children if child.type != "comment"][1:]
    return not statements or (len(statements) == 1 and _does_nothing(_text(statements[0])))


def _does_nothing(statement: str) -> bool:
    return statement in ("pass", "...") or statement.startswith("raise NotImplementedError")


def _tell_apart(found: list[Function]) -> None:
    counts = Counter(function.name for function in found)
    for function in _twice(found, counts):
        function.name = f"{function.name}@{function.span[0]}"


def _twice(found: list[Function], counts: Counter[str]) -> Iterator[Function]:
    return (function for function in found if counts[function.name] > 1)
