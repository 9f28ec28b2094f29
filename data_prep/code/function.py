"""A documented function, and what every language does to its source: dedent it, tell namesakes apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node


STUB = "stub (no body)"


@dataclass(slots=True)
class Function:
    """A function with a docstring.

    Args:
        name: Qualified by its classes: ``KMeans.fit``; with ``@LINE`` where a file has the name twice.
        doc: The docstring's value, or the comment as it stands.
        code: Source without the docstring, decorators included, dedented.
        span: First and last line in the file, from 1.
        stub: Nothing but pass, ``...``, or raising NotImplementedError is left beside the docstring.
        fault: Why the function is no pair whatever its texts, or None.
    """

    name: str
    doc: str
    code: str
    span: tuple[int, int]
    stub: bool
    fault: str | None = None


@dataclass(slots=True)
class Found:
    """What one source holds.

    Args:
        functions: Those with documentation, in their order; None if the source is lost whole.
        broken: There is a syntax error, and the functions it does not touch are kept.
    """

    functions: list[Function] | None = field(default_factory=list)
    broken: bool = False


def dedent(code: str, column: int, fixed: set[int]) -> str:
    """Take up to ``column`` blanks off every line but those in ``fixed``."""
    lines = code.split("\n")
    for row, line in enumerate(lines):
        if row > 0 and row not in fixed:
            lines[row] = line[column:] if not line[:column].strip() else line.lstrip()
    return "\n".join(lines)


def rows_inside(node: Node, kinds: Iterable[str], without: Node | None = None) -> set[int]:
    """Rows that begin inside a literal of ``kinds``, the node ``without`` aside: to dedent them would change it."""
    rows: set[int] = set()
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if here.start_point.row == here.end_point.row or here == without:
            continue
        if here.type in kinds:
            rows.update(range(here.start_point.row + 1, here.end_point.row + 1))
        else:
            waiting += here.children
    return rows


def tell_apart(found: list[Function]) -> None:
    """Add the line to names that are there twice: overloads, properties, branches."""
    counts = Counter(function.name for function in found)
    for function in found:
        if counts[function.name] > 1:
            function.name = f"{function.name}@{function.span[0]}"
