"""Recipes by name, what differs between two configs, and a parser's complaints in one line that names the key."""

from __future__ import annotations

import re
import typing
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module, resources
from inspect import signature
from pathlib import Path
from typing import Any

from lightning_cpt.errors import ConfigError


def with_recipes(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the name after each --config or -c replaced by the recipe's path.

    Raises:
        ConfigError: neither a file nor a recipe of that name.
    """
    resolved: list[str] = []
    for at, argument in enumerate(arguments):
        if at and arguments[at - 1] in ("-c", "--config"):
            resolved.append(find_recipe(argument))
        elif argument.startswith("--config="):
            resolved.append("--config=" + find_recipe(argument.removeprefix("--config=")))
        else:
            resolved.append(argument)
    return resolved


def find_recipe(name: str) -> str:
    """Path of a YAML file: ``name`` itself, else the installed recipe of that name."""
    if Path(name).expanduser().is_file():
        return name
    shipped = recipes()
    stem = name.removeprefix("recipes/").removesuffix(".yaml")
    if stem in shipped:
        return shipped[stem]
    near = get_close_matches(stem, shipped, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(
        f"--config {name}: no such file, and no recipe of that name; {hint}recipes: {', '.join(shipped)}"
    )


def recipes() -> dict[str, str]:
    """Name and path of each recipe that is installed with the package."""
    try:
        folder = resources.files("recipes")
    except ModuleNotFoundError:
        return {}
    return {
        item.name[:-5]: str(item) for item in sorted(folder.iterdir(), key=str) if item.name.endswith(".yaml")
    }


def value_of(arguments: Sequence[str], option: str) -> str | None:
    """The value given to ``option`` on a command line, the last one where there are several."""
    found = None
    for at, argument in enumerate(arguments):
        if argument == option and at + 1 < len(arguments):
            found = arguments[at + 1]
        elif argument.startswith(option + "="):
            found = argument.removeprefix(option + "=")
    return found


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line for each key whose value is another: ``trainer.max_steps: 100 -> 200``."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    keys = [*before, *(key for key in after if key not in before)]
    return [f"{k}: {before.get(k)} -> {after.get(k)}" for k in keys if before.get(k) != after.get(k)]


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict) or not tree:
        yield prefix, tree
        return
    for key, value in tree.items():
        # Users write an encoder's keys right below it; so they are named here.
        name = prefix if key == "init_args" else f"{prefix}.{key}" if prefix else str(key)
        yield from _leaves(value, name)


def explain(message: str, parser: ArgumentParser) -> str:
    """A jsonargparse error, often of many lines, as one line that begins with the key.

    Args:
        message: What jsonargparse says.
        parser: The verb's parser, whose keys are proposed for a misspelt one.
    """
    if missing := re.search(r"required: (.+)", message):
        key = missing[1].split(",")[0].strip().split(".", 1)[-1]
        return f"{key}: missing; write it into the recipe, or give --{key}"
    where = ".".join(re.findall(r'[Pp]arser key "([^"]+)"', message))
    if unknown := next((found for p in _UNKNOWN if (found := re.search(p, message))), None):
        parts = [where, unknown.groupdict().get("group") or "", unknown["option"]]
        return _no_such_key(".".join(part for part in parts if part), _class_in(message), parser)
    text = _plain(re.sub(r'[Pp]arser key "[^"]+":', "", message))
    text = text.replace("Problems parsing config:", "--config: not readable as YAML:")
    text = text.replace("Unexpected config:", "--config: a recipe is a mapping of keys, not")
    return f"{where}: {text}" if where else text


_UNKNOWN = (
    r"Group '(?P<group>[^']+)' does not accept option '(?P<option>[^']+)'",
    r"Subcommand '\w+' does not accept option '(?P<option>[^']+)'",
    r"Option '(?P<option>[^']+)' is not accepted",
    r"[Uu]nrecognized arguments: --(?P<option>[^\s=]+)",
)


def _plain(text: str) -> str:
    """Without the parser's words for types; of a union's complaints only those that can help."""
    text = " ".join(text.split())
    if union := re.search(r"Errors: - (?P<errors>.+) Given value type: .* Given value: (?P<value>.+)", text):
        errors = [e for e in union["errors"].split(" - ") if "NoneType" not in e]
        best = next((e for e in errors if e.startswith("Problem with given class_path")), None)
        text = best or f"{' or '.join(errors)}. Got value: {union['value']}"
    text = re.sub(r"Expected a (?:<class '(\w+)'>|typing\.Literal\[([^]]*)\])", _expected, text)
    return re.sub(r"^Problem with given class_path '[^']+': (?=expected)", "", text)


def _expected(match: re.Match[str]) -> str:
    return f"expected {match[1]}" if match[1] else f"expected one of {match[2]}"


def _no_such_key(key: str, cls: type | None, parser: ArgumentParser) -> str:
    parent, _, last = key.rpartition(".")
    inside = [f"{parent}.{name}" for name in signature(cls).parameters] if cls else []
    # Not the groups above the wrong key, which are close to it by their letters.
    known = [name for name in inside or known_keys(parser) if not key.startswith(f"{name}.")]
    near = get_close_matches(key, known, n=1) or get_close_matches(last, known, n=1, cutoff=0.8)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_siblings(parent, known))}"
    return f"{key}: no such key; {hint}"


def _siblings(parent: str, known: list[str]) -> list[str]:
    """The keys that could stand where the wrong one stands: those beside it, else the top ones."""
    beside = [name for name in known if name.rpartition(".")[0] == parent]
    return beside or [name for name in known if "." not in name]


def _class_in(message: str) -> type | None:
    """The class whose key is wrong, where the message names it."""
    path = re.findall(r"Problem with given class_path '([\w.]+)'", message)
    if not path:
        return None
    module, _, name = path[-1].rpartition(".")
    found = getattr(import_module(module), name, None)
    return found if isinstance(found, type) else None


def known_keys(parser: ArgumentParser) -> list[str]:
    """All dotted keys of a recipe, those of the default encoder and loss included."""
    keys = [action.dest for action in parser._actions if not action.dest.endswith(".help")]
    for dest, cls in nested_classes(parser):
        keys += [f"{dest}.{name}" for name in signature(cls).parameters]
    return keys


def nested_classes(parser: ArgumentParser) -> list[tuple[str, type]]:
    """Key and class of the model's parts, whose own keys a parser does not list."""
    found = []
    for action in parser._actions:
        hint = getattr(action, "_typehint", None)
        if action.dest.startswith("model.") and not action.dest.endswith(".help"):
            candidates = [hint, *typing.get_args(hint)]
            found += [
                (action.dest, c) for c in candidates if isinstance(c, type) and c.__module__ != "builtins"
            ]
    return [(dest, cls) for dest, cls in found if hasattr(cls, "forward")]
