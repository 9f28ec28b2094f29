"""What the miner has to know of a programming language; each language's own file fills one of these in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from data_prep.code.function import Found

_NOTHING = re.compile(r"(?!)")


def read_text(raw: bytes) -> str | None:
    """The source as text with ``\\n`` line ends, UTF-8 or else cp1252; None if it is neither."""
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return re.sub(r"\r\n?", "\n", raw.decode(encoding))
        except UnicodeDecodeError:
            continue
    return None


@dataclass(frozen=True, slots=True)
class Language:
    """One programming language.

    Args:
        name: Also that of its grammar (``tree_sitter_{name}``) and of its query (``{name}.scm``).
        suffixes: Of its files, with the dot.
        roots: Files whose folder is a package: names, or ``*.suffix``.
        whole_roots: Only the given root is looked at, not the folders inside: a folder of Python's packages
            holds no such files.
        find: Source (UTF-8, ``\\n``) and seconds of processor time -> the documented functions.
        find_all: The same -> every function, with an empty ``doc`` where it has none.
        prose: A function's documentation -> its first paragraph of prose; empty if it has none.
        decode: A file's bytes -> text; None if they are none.
        strip: Source of one function and seconds -> that source without its documentation, for corpora that
            leave it in.
        tests: Matches the path inside the package of a file of tests.
        generated: Matches the path of a file that no person wrote.
    """

    name: str
    suffixes: tuple[str, ...]
    roots: tuple[str, ...]
    find: Callable[[bytes, float], Found]
    find_all: Callable[[bytes, float], Found]
    prose: Callable[[str], str]
    strip: Callable[[str, float], str | None]
    whole_roots: bool = False
    decode: Callable[[bytes], str | None] = read_text
    tests: re.Pattern[str] = _NOTHING
    generated: re.Pattern[str] = _NOTHING
