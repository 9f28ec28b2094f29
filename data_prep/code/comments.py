"""Finds the functions that have their documentation in a comment above them, by a query and a few node names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from data_prep.code import grammar
from data_prep.code.function import STUB, Found, Function, dedent, rows_inside, tell_apart
from data_prep.code.grammar import text

if TYPE_CHECKING:
    from tree_sitter import Node

BROKEN = "function with a syntax error"
ACCESSOR = "accessor (one field or constant)"
_NOT_IMPLEMENTED = re.compile(
    r"(throw new|raise|panic\().{0,80}?(not[ _]?(yet )?implemented|unimplemented|unsupported ?operation|abstract"
    r"|must (be )?(implement|overrid))",
    re.IGNORECASE | re.DOTALL,
)
_PLACE = r"(\$?[@\w]+(\.|->|::\$?))?[@$\w]+"
_GET_OR_SET = re.compile(
    rf"return\s+({_PLACE}|\"[^\"]*\"|'[^']*'|-?[\d.]+)\s*;?$|return;?$|{_PLACE}\s*=\s*[$\w]+\s*;?$|@\w+$"
)


@dataclass(frozen=True, slots=True)
class Syntax:
    """The names that a grammar gives to what matters here.

    The query captures ``@function``, its ``@name`` and, where it has one, its ``@body``.

    Args:
        language: Name of the grammar.
        documentation: Matches the beginning of a comment that is documentation.
        comments: Types of comments.
        by_line: Neighbouring one-line comments are one comment.
        scopes: Types of what a name is qualified by, each with the field that holds its own name.
        wrappers: Types of what a function is the last part of: a statement, an export, a modifier's call.
        literals: Types of literals that may run over lines.
        blocks: Types of bodies, and of what stands between a body and its statements; any other is an expression.
        lead: Matches the statement before a function that belongs to it, as a decorator would.
        owner: Further names in front of the function's own: Go's receiver.
        clean_name: A name as it stands in the source -> dotted.
        fault: The function and its name -> why it is no example, or None.
        opening: What a fragment needs in front of it to be parsed.
    """

    language: str
    documentation: re.Pattern[str]
    comments: tuple[str, ...] = ("comment",)
    by_line: bool = False
    scopes: dict[str, str] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    literals: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    lead: re.Pattern[str] | None = None
    owner: Callable[[Node], str] = lambda node: ""
    clean_name: Callable[[str], str] = lambda name: name
    fault: Callable[[Node, str], str | None] = lambda node, name: None
    opening: str = ""

    def find(self, source: bytes, seconds: float) -> Found:
        """The documented functions of a source, in their order.

        What stands inside a documented function is part of it; what stands inside another one (a module's
        wrapper, a closure) is found by itself. A function that a syntax error touches has a fault.

        Raises:
            TooSlow: it takes longer than ``seconds`` to parse.
        """
        return self._find(source, seconds, undocumented=False)

    def find_all(self, source: bytes, seconds: float) -> Found:
        """As :meth:`find`, with the functions that have no documentation (``doc`` is empty)."""
        return self._find(source, seconds, undocumented=True)

    def _find(self, source: bytes, seconds: float, *, undocumented: bool) -> Found:
        root = grammar.parse(self.language, source, seconds)
        captured = grammar.matches(self.language, root)
        functions, end = [], 0
        for captures in sorted(captured, key=lambda one: one["function"][0].start_byte):
            node = captures["function"][0]
            if node.start_byte < end:
                continue
            begin, outer = self._outermost(node)
            doc = self._above(root, source, begin.start_byte) or self._between(outer, captures)
            if doc or undocumented:
                functions.append(self._function(source, begin, outer, captures, doc))
                end = outer.end_byte
        tell_apart(functions)
        return Found(functions, broken=root.has_error)

    def strip(self, code: str, seconds: float) -> str:
        """A function's source without the comments in front of it.

        Raises:
            TooSlow: it takes longer than ``seconds`` to parse.
        """
        source = (self.opening + code).encode()
        root = grammar.parse(self.language, source, seconds)
        begin = len(self.opening.encode())
        while (node := _at(root, source, begin)) is not None and node.type in self.comments:
            begin = node.end_byte
        return self._without_doc(self.opening.encode() + source[begin:].lstrip(), seconds)

    def _without_doc(self, source: bytes, seconds: float) -> str:
        """The source, behind the opening, without the documentation between its first annotations and name."""
        captured = grammar.matches(self.language, grammar.parse(self.language, source, seconds))
        if captured:
            first = min(captured, key=lambda one: one["function"][0].start_byte)
            for comment in self._between(self._outermost(first["function"][0])[1], first):
                source = source[: comment.start_byte] + source[comment.end_byte :].lstrip()
        return source[len(self.opening.encode()) :].decode().strip()

    def _outermost(self, node: Node) -> tuple[Node, Node]:
        """Where a function's source begins, and the whole of it: with its modifiers, export, statement."""
        while (parent := node.parent) is not None and parent.type in self.wrappers:
            parts = [child for child in parent.named_children if child.type not in self.comments]
            if parts[-1] != node or sum(part.type == node.type for part in parts) > 1:
                break
            node = parent
        before = node.prev_named_sibling if self.lead else None
        if before is not None and self.lead and self.lead.match(text(before)):
            return before, node
        return node, node

    def _above(self, root: Node, source: bytes, begin: int) -> list[Node]:
        """The comment that is the documentation of what begins at ``begin``: directly above, no blank line between."""
        found: list[Node] = []
        for comment in self._comments(root, source, begin):
            is_doc = self.documentation.match(text(comment)) is not None
            if self.by_line and is_doc:
                found.append(comment)
            elif is_doc or found:
                return found or [comment]
        return found[::-1]

    def _comments(self, root: Node, source: bytes, begin: int) -> Iterator[Node]:
        """The comments above ``begin``, the nearest first, as long as each has its line to itself."""
        while True:
            end = begin
            while end and source[end - 1 : end].isspace():
                end -= 1
            if source.count(b"\n", end, begin) > 1 or not end:
                return
            node = root.named_descendant_for_byte_range(end - 1, end)
            if node is None or node.type not in self.comments:
                return
            line = source[source.rfind(b"\n", 0, node.start_byte) + 1 : node.start_byte].strip()
            if line and (self.by_line or not line.endswith(b"{")):
                return
            yield node
            begin = node.start_byte

    def _between(self, outer: Node, captures: grammar.Captures) -> list[Node]:
        """The documentation between a function's annotations and its name."""
        end = captures["name"][0].start_byte
        parts = [child for child in outer.children if child.start_byte < end]
        parts += [child for part in parts for child in part.children if child.end_byte <= end]
        parts = [part for part in parts if part.type in self.comments]
        return [part for part in parts if self.documentation.match(text(part))][:1]

    def _function(
        self, source: bytes, begin: Node, outer: Node, captures: grammar.Captures, doc: list[Node]
    ) -> Function:
        node, body = captures["function"][0], captures.get("body", [None])[0]
        name = self._name(node, captures["name"][0])
        little = self._does_little(body)
        return Function(
            name=name,
            doc="\n".join(map(text, doc)),
            code=self._code(source, begin, outer, doc),
            span=(begin.start_point.row + 1, outer.end_point.row + 1),
            stub=little == STUB,
            fault=BROKEN if outer.has_error else self.fault(node, name) or little,
        )

    def _code(self, source: bytes, begin: Node, outer: Node, doc: list[Node]) -> str:
        start, end = begin.start_byte, outer.end_byte
        line = source[source.rfind(b"\n", 0, start) + 1 : start]
        # What stands before it on its line, such as its documentation, is no indentation.
        column = min(begin.start_point.column, len(line) - len(line.lstrip()))
        fixed = rows_inside(outer, self.literals) if column else set()
        rows = {row - begin.start_point.row for row in fixed}
        code = source[start:end]
        if doc and doc[0].start_byte >= start:
            cut = doc[0].end_byte
            while source[cut : cut + 1].isspace():
                cut += 1
            removed = source[doc[0].start_byte : cut].count(b"\n")
            rows = {row - removed for row in rows}  # annotations hold no literals over lines
            code = source[start : doc[0].start_byte] + source[cut:end]
        return dedent(code.decode(), column, rows).rstrip()

    def _name(self, node: Node, name: Node) -> str:
        parts, scope = [text(name), self.owner(node)], node.parent
        while scope is not None:
            if label := self.scopes.get(scope.type):
                named = scope.child_by_field_name(label)
                part = text(named) if named is not None else ""
                if part != parts[-1] or len(parts) == 2:  # var f = function f() {...} is one scope, not two
                    parts.append(part)
            scope = scope.parent
        return ".".join(clean for part in reversed(parts) if (clean := self.clean_name(part)))

    def _does_little(self, body: Node | None) -> str | None:
        """The fault of a body that says nothing beyond the function's name, or None."""
        if body is None:
            return STUB
        if body.type not in self.blocks:
            return None
        parts = body.named_children
        while len(parts) == 1 and parts[0].type in self.blocks:
            parts = parts[0].named_children
        said = [text(part) for part in parts if part.type not in self.comments]
        if not said or (len(said) == 1 and _NOT_IMPLEMENTED.match(said[0])):
            return STUB
        return ACCESSOR if len(said) <= 2 and all(map(_GET_OR_SET.match, said)) else None


def _at(root: Node, source: bytes, begin: int) -> Node | None:
    """The smallest node that begins where, blanks aside, ``begin`` is."""
    while begin < len(source) and source[begin : begin + 1].isspace():
        begin += 1
    if begin == len(source):
        return None
    return root.named_descendant_for_byte_range(begin, begin + 1)
