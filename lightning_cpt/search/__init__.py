"""Search by embeddings: an index of texts or of a source tree's functions, and what a sentence finds in it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_cpt.search.build import build_index
    from lightning_cpt.search.code import CodeIndex, Refreshed, index_code
    from lightning_cpt.search.index import Hit, SearchIndex
    from lightning_cpt.search.texts import Item, read_items

_HOMES = {
    "build_index": "build",
    "CodeIndex": "code",
    "Refreshed": "code",
    "index_code": "code",
    "Hit": "index",
    "SearchIndex": "index",
    "Item": "texts",
    "read_items": "texts",
}
__all__ = [
    "CodeIndex",
    "Hit",
    "Item",
    "Refreshed",
    "SearchIndex",
    "build_index",
    "index_code",
    "read_items",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
