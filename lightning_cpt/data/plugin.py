"""Builds what a recipe names by class_path, and turns what it yields into checked records."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import xxhash

from data_prep.errors import DataError
from data_prep.pairs import Pair
from lightning_cpt.errors import ConfigError


@dataclass(frozen=True)
class Plugin:
    """A class or function of the user's.

    Args:
        key: Of the recipe, for messages: ``data.sources.mine``.
        class_path: ``module.Name``; the module is installed, or lies in the working folder.
        init_args: What it is called with.
    """

    key: str
    class_path: str
    init_args: dict[str, Any] = field(default_factory=dict)

    def build(self) -> Any:
        """Call it.

        Raises:
            ConfigError: there is no such class, it does not take these arguments, or it fails.
        """
        made = self._find()
        if not callable(made):
            raise ConfigError(f"{self.key}.class_path: {self.class_path} is no class and no function")
        try:
            return made(**self.init_args)
        except (ConfigError, DataError) as error:
            raise ConfigError(f"{self.key}: {error}") from None
        except TypeError as error:
            raise ConfigError(f"{self.key}.init_args: {self.class_path}: {_line(error)}") from error
        except Exception as error:  # user code can fail in any way
            raise ConfigError(f"{self.key}: {self.class_path} fails: {_named(error)}") from error

    def _find(self) -> Any:
        module, _, name = self.class_path.rpartition(".")
        cure = "write module.Name, of a module that is installed or lies in this folder"
        if not module:
            raise ConfigError(f"{self.key}.class_path: {self.class_path!r} names no module; {cure}")
        try:
            return getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name and (module == error.name or module.startswith(f"{error.name}.")):
                raise ConfigError(
                    f"{self.key}.class_path: there is no module {error.name!r}; {cure}"
                ) from None
            raise ConfigError(f"{self.key}.class_path: {module} cannot be imported: {error}") from error
        except AttributeError:
            raise ConfigError(f"{self.key}.class_path: {module} has no {name!r}; {cure}") from None
        except Exception as error:  # whatever stands in the module runs now
            raise ConfigError(
                f"{self.key}.class_path: {module} cannot be imported: {_named(error)}"
            ) from error



class RecordMaker:
    """Checks records of one plug-in: the first one decides whether all have an id of their own.

    Args:
        key: Of the recipe.
        name: Of the source: records without an id are called ``name/number``.
    """

    def __init__(self, key: str, name: str) -> None:
        self._key, self._name = key, name
        self._with_ids: bool | None = None

    def __call__(self, obj: Any, number: int) -> dict[str, Any]:
        """A record as shards have it.

        Args:
            obj: What the plug-in gave: a mapping with x and y.
            number: Of the record.

        Raises:
            DataError: wrong fields, or an id where the first record has none, or the reverse.
        """
        where = f"{self._key}: record {number}"
        if isinstance(obj, Mapping):
            obj = dict(obj)
            self._check_id(obj, where)
        return Pair.from_dict(obj, where, default_id=f"{self._name}/{number}").to_dict()

    def _check_id(self, obj: dict[str, Any], where: str) -> None:
        has = obj.get("id") is not None
        if self._with_ids is None:
            self._with_ids = has
        if has != self._with_ids:
            state = "an id, but the first record has none" if has else "no id, but the first record has one"
            raise DataError(f"{where}: has {state}; give every record an id, or none")


@contextmanager
def failing(key: str, number: int) -> Iterator[None]:
    """Whatever user code raises inside becomes one line that names source and record."""
    try:
        yield
    except ConfigError as error:  # it could not be built in this process, and says so itself
        raise DataError(str(error)) from None
    except DataError as error:
        raise DataError(f"{key}: record {number}: {error}") from None
    except Exception as error:
        raise DataError(f"{key}: record {number}: {_named(error)}{_place(error)}") from error


def fingerprint(records: Sequence[dict[str, Any]], count: int | None, own: Any) -> str:
    """16 hex digits that stand for a plug-in's data: some records and their number, or what it calls itself.

    Args:
        records: The sample.
        count: Of all records, where it is known.
        own: The object's own ``fingerprint``, a string, if it has one.
    """
    if isinstance(own, str) and own:
        return xxhash.xxh64_hexdigest(f"{count}\n{own}".encode())
    digest = xxhash.xxh64(f"{count}\n".encode())
    for record in records:
        digest.update(repr([record[name] for name in ("id", "x", "y", "negatives")]).encode())
    return digest.hexdigest()


def own_attribute(thing: Any, name: str) -> Any:
    """An attribute of a user's object, None where it has none."""
    return getattr(thing, name, None)


def method_of(thing: Any, name: str) -> Callable[..., Any] | None:
    """A method of a user's object, None where it has none."""
    found = getattr(thing, name, None)
    return found if callable(found) else None


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {_line(error)}" if str(error) else type(error).__name__


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _place(error: BaseException) -> str:
    """File and line of the user's code that failed."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}, line {trace.tb_lineno})"
