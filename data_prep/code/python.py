"""Finds the functions with docstrings in one Python source, by a tree-sitter query."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from data_prep.code import grammar
from data_prep.code.docstring import first_paragraph
from data_prep.code.function import STUB, Found, Function, dedent, rows_inside, tell_apart
from data_prep.code.grammar import text
from data_prep.code.language import Language

if TYPE_CHECKING:
    from tree_sitter import Node

_STRING = ("string",)


def find(source: bytes, seconds: float) -> Found:
    """All of a source or nothing: a module that Python could not import is no example.

    Raises:
        TooSlow: it takes longer than ``seconds`` to parse.
    """
    return Found(find_functions(source, seconds))


def find_functions(source: bytes, seconds: float = float("inf")) -> list[Function] | None:
    """The functions and methods with docstrings, in their order; None if ``source`` does not parse.

    Functions inside functions are part of the outer one and not found by themselves.
    """
    root = grammar.parse("python", source, seconds)
    if root.has_error:
        return None
    found = []
    for captures in grammar.matches("python", root):
        node, name = captures["function"][0], _qualified_name(captures["function"][0], captures["name"][0])
        doc = _string_value(captures["doc"][0])
        if name is not None and doc is not None:
            found.append(_function(source, node, name, doc, captures["doc"][0], captures["body"][0]))
    tell_apart(found)
    return found


def find_all(source: bytes, seconds: float) -> Found:
    """Every function and method, documented or not; of a source with syntax errors those that they do not touch.

    Raises:
        TooSlow: it takes longer than ``seconds`` to parse.
    """
    root = grammar.parse("python", source, seconds)
    documented = {captures["function"][0].id: captures for captures in grammar.matches("python", root)}
    found = []
    for node in _definitions(root):
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        if name is None or body is None or node.has_error:
            continue
        captures = documented.get(node.id)
        doc = _string_value(captures["doc"][0]) if captures else None
        qualified = _qualified_name(node, name) or text(name)
        if captures and doc is not None:
            found.append(_function(source, node, qualified, doc, captures["doc"][0], body))
        else:
            found.append(_bare(source, node, qualified))
    tell_apart(found)
    return Found(found, broken=root.has_error)


def _definitions(root: Node) -> Iterator[Node]:
    """The functions that are in no other function, in their order."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.type == "function_definition":
            yield node
        else:
            waiting += reversed(node.named_children)


def _bare(source: bytes, node: Node, name: str) -> Function:
    """A function as it stands: it has no docstring to take out."""
    outer = _outer(node)
    code = source[outer.start_byte : outer.end_byte]
    many_lined = any(mark in code for mark in (b'"""', b"'''", b"\\\n"))
    fixed = rows_inside(outer, _STRING) if many_lined else set()
    rows = {row - outer.start_point.row for row in fixed}
    return Function(
        name=name,
        doc="",
        code=dedent(code.decode(), outer.start_point.column, rows).rstrip(),
        span=(outer.start_point.row + 1, outer.end_point.row + 1),
        stub=False,
        fault=_fault(name, False),
    )


def _outer(node: Node) -> Node:
    """The function with its decorators."""
    return node.parent if node.parent and node.parent.type == "decorated_definition" else node


def strip(code: str, seconds: float) -> str | None:
    """One function's source without its docstring, as it is where it has none; None if it does not parse.

    Raises:
        TooSlow: it takes longer than ``seconds`` to parse.
    """
    found = find_functions(code.encode(), seconds)
    return found if found is None else (found[0].code if found else code)


def _qualified_name(function: Node, name: Node) -> str | None:
    """Dotted name through the classes around it; None inside a function."""
    parts, node = [text(name)], function.parent
    while node is not None:
        if node.type == "function_definition":
            return None
        if node.type == "class_definition" and (class_name := node.child_by_field_name("name")):
            parts.append(text(class_name))
        node = node.parent
    return ".".join(reversed(parts))


def _string_value(node: Node) -> str | None:
    """The literal's value; None for f-strings and bytes, which are no docstrings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes such as "\d" are common and harmless
            # In parentheses: a concatenated string may run over lines that only its position joins.
            value = ast.literal_eval(f"({text(node)})")
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, str) and "\0" not in value and _is_unicode(value) else None


def _is_unicode(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _function(source: bytes, node: Node, name: str, doc: str, string: Node, body: Node) -> Function:
    outer = _outer(node)
    begin, end = _docstring_range(source, string)
    code = source[outer.start_byte : begin] + source[end : outer.end_byte]
    many_lined = any(mark in code for mark in (b'"""', b"'''", b"\\\n"))
    fixed = rows_inside(outer, _STRING, string) if many_lined else set()
    removed = source[begin:end].count(b"\n")
    rows = {row - outer.start_point.row - (removed if row > string.start_point.row else 0) for row in fixed}
    stub = _is_stub(body)
    return Function(
        name=name,
        doc=doc,
        code=dedent(code.decode(), outer.start_point.column, rows).rstrip(),
        span=(outer.start_point.row + 1, outer.end_point.row + 1),
        stub=stub,
        fault=_fault(name, stub),
    )


def _fault(name: str, stub: bool) -> str | None:
    last = name.rpartition(".")[2]
    if last.startswith("__") and last.endswith("__"):
        return "dunder method"
    if last.startswith("test_"):
        return "test function"
    return STUB if stub else None


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


def _is_stub(body: Node) -> bool:
    statements = [child for child in body.named_children if child.type != "comment"][1:]
    return not statements or (len(statements) == 1 and _does_nothing(text(statements[0])))


def _does_nothing(statement: str) -> bool:
    return statement in ("pass", "...") or statement.startswith("raise NotImplementedError")


def decode(raw: bytes) -> str | None:
    """The source as text with ``\\n`` line ends, by its own encoding line; None if that fails."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        text = re.sub(r"\r\n?", "\n", raw.decode(encoding))
        text.encode()  # some codecs let half a surrogate pair pass
    except (SyntaxError, UnicodeError, LookupError):
        return None
    return text


PYTHON = Language(
    name="python",
    suffixes=(".py",),
    roots=("__init__.py", "pyproject.toml", "setup.py"),
    whole_roots=True,
    find=find,
    find_all=find_all,
    prose=first_paragraph,
    strip=strip,
    decode=decode,
    tests=re.compile(r"(^|/)(test|tests|idle_test)/|(^|/)(test_[^/]*|[^/]*_tests?\.py|conftest\.py)$"),
)
