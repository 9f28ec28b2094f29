"""Lets the command line change one key inside a mapping of mappings, and leave the keys beside it as the recipe has them."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import yaml
from jsonargparse._typehints import ActionTypeHint
from jsonargparse._util import NestedArg


def keep_neighbours(parser: ArgumentParser, dest: str) -> None:
    """Let ``--DEST.NAME.KEY VALUE`` keep the other keys of NAME, at any depth; ``--DEST.NAME`` still replaces all of it.

    jsonargparse does so for dataclasses, but not for a TypedDict, whose other keys it drops; and a class with a field
    class_path it takes for the description of another class.

    Args:
        parser: Has the option, or has not: then nothing is done.
        dest: The option's key.
    """
    for action in parser._actions:
        if action.dest == dest and isinstance(action, ActionTypeHint):
            action.__class__ = _Keeping


class _Keeping(ActionTypeHint):
    def _check_type(self, value: Any, append: bool = False, cfg: Any = None, mode: Any = None) -> Any:
        if isinstance(value, NestedArg):
            value = changed(cfg.get(self.dest) if cfg else None, value.key.split("."), value.val)
        return super()._check_type(value, append=append, cfg=cfg, mode=mode)


def changed(before: Any, path: list[str], value: Any) -> dict[str, Any]:
    """A copy of a mapping in which the value at ``path`` is another one.

    Args:
        before: The mapping; anything else counts as empty.
        path: Keys from the outermost on.
        value: As the command line has it; a mapping or list may be written as YAML.
    """
    first, *rest = path
    whole = dict(before) if isinstance(before, dict) else {}
    whole[first] = changed(whole.get(first), rest, value) if rest else _read(value)
    return whole


def _read(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        found = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        return value
    return found if isinstance(found, dict | list) else value
