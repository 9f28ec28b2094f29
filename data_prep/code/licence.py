"""Finds what a file or a package says of its licence."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPDX = re.compile(rb"SPDX-License-Identifier:[ \t]*([\w.+()-]+(?:[ \t]+(?:AND|OR|WITH)[ \t]+[\w.+()-]+)*)")
_FILE = re.compile(r"(LICEN[CS]E|COPYING|UNLICEN[CS]E)([._-].*)?$", re.IGNORECASE)
_HEAD = 4000


def stated_licence(raw: bytes) -> str:
    """The SPDX expression in the head of a file, or nothing."""
    match = _SPDX.search(raw[:_HEAD])
    return match[1].decode() if match else ""


def licence_file(names: Iterable[str]) -> str:
    """The first name that is a licence's, or nothing."""
    return min(filter(_FILE.match, names), default="")
