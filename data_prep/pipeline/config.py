"""The YAML of a pipeline: its keys, each checked, and the rules that they stand for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import yaml

from data_prep.errors import DataError
from data_prep.evaluation import NgramRules
from data_prep.filters import CodeRules
from data_prep.near import NearRules
from data_prep.quality import QualityRules
from data_prep.readers import ReadRules
from data_prep.shards.write import check_name
from data_prep.split import Splitter
from data_prep.text import TextRules

KINDS = ("text", "code", "pairs")
_NAMES = {"holdout": list[str], "validation": list[str]}
_SPLIT = {**_NAMES, "test_fraction": float, "validation_fraction": float}
_PATHS = {"paths": list[str]}
_SLURM = {
    "partition": str,
    "time": str,
    "memory_gb": int,
    "qos": str,
    "environment": str,
    "sbatch": dict[str, str],
}


@dataclass(frozen=True, slots=True)
class Pipe:
    """A pipeline, checked.

    Args:
        out: Folder of the shards, as it was written.
        kind: What the pairs are mined from: ``text``, ``code`` or ``pairs``.
        source: The shards' name.
        paths: Inputs.
        rules: Of the kind, by the names of the rules' class.
        split: Arguments of :class:`~data_prep.split.Splitter`.
        quality: Rules for both sides, or None.
        near: Near-duplicates.
        evaluation: Folder of evaluation data whose texts are taken out, or None.
        ngrams: How they are recognised.
        slurm: What the job files say: partition, time, memory_gb, qos, environment, sbatch.
        said: The YAML as it was read.
    """

    out: Path
    kind: str
    source: str
    paths: list[str]
    rules: dict[str, Any]
    split: dict[str, Any]
    quality: QualityRules | None
    near: NearRules
    evaluation: str | None
    ngrams: NgramRules
    slurm: dict[str, Any] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)

    def splitter(self) -> Splitter:
        return Splitter(**self.split)


def read_pipe(path: Path) -> Pipe:
    """Read and check a pipeline's YAML.

    Raises:
        DataError: one line that names the file, the key and what would be right.
    """
    try:
        said = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # ValueError: no UTF-8, a date that there is not
        raise DataError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    try:
        return _pipe(said)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


class _Loader(yaml.SafeLoader):
    """YAML in which a key that comes twice is a mistake."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.YAMLError("a tag that is none of its value's")
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"key {key} is there twice")
        return super().construct_mapping(node, deep)


def _pipe(said: Any) -> Pipe:
    top = {
        "out": str,
        "source": str,
        **dict.fromkeys(KINDS, dict),
        **dict.fromkeys(("split", "quality", "near_duplicates", "decontaminate", "slurm"), dict),
    }
    found = _section(said, "the pipeline", top, required=["out"])
    kinds = [kind for kind in KINDS if kind in found]
    if len(kinds) != 1:
        there = " and ".join(kinds) or "none"
        raise DataError(f"a pipeline has one of the keys {', '.join(KINDS)}; there: {there}")
    kind = kinds[0]
    mined = _section(found[kind], kind, _KIND_KEYS[kind], required=["paths"])
    if not all([mined["paths"], *mined["paths"]]):
        raise DataError(f"{kind}.paths: is empty; name files or folders")
    if not found["out"]:
        raise DataError("out: is empty; name a folder")
    check_name(found.get("source", kind))
    split = _section(found.get("split", {}), "split", _SPLIT)
    wanted = "quality" in found
    quality = _section(found.get("quality") or {}, "quality", _fields(QualityRules))
    near = _section(found.get("near_duplicates") or {}, "near_duplicates", _fields(NearRules))
    ngrams = {"data": str, **_fields(NgramRules)}
    required = ["data"] if "decontaminate" in found else []
    contaminated = _section(found.get("decontaminate") or {}, "decontaminate", ngrams, required=required)
    pipe = Pipe(
        out=Path(found["out"]),
        kind=kind,
        source=found.get("source", kind),
        paths=mined.pop("paths"),
        rules=_rules(kind, mined),
        split=split,
        quality=_made(QualityRules, quality, "quality") if wanted else None,
        near=_made(NearRules, near, "near_duplicates"),
        evaluation=contaminated.pop("data", None),
        ngrams=_made(NgramRules, contaminated, "decontaminate"),
        slurm=_section(found.get("slurm") or {}, "slurm", _SLURM),
        said=said,
    )
    try:
        pipe.splitter()
    except DataError as error:
        raise DataError(f"split: {error}") from None
    return pipe


def _fields(rules: type) -> dict[str, Any]:
    """The keys of a section: the arguments of its rules."""
    return get_type_hints(rules)


_KIND_KEYS: dict[str, dict[str, Any]] = {
    "text": {**_PATHS, **_fields(ReadRules), **_fields(TextRules)},
    "code": {**_PATHS, "languages": list[str], "near_duplicate": float, **_fields(CodeRules)},
    "pairs": {**_PATHS, "x_column": str, "y_column": str},
}


def _rules(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    if kind == "text":
        parts = {"reading": ReadRules, "rules": TextRules}
        return {
            name: _made(rules, {key: said[key] for key in said if key in _fields(rules)}, kind)
            for name, rules in parts.items()
        }
    if kind == "code":
        own = {key: said[key] for key in said if key in _fields(CodeRules)}
        return {
            "languages": said.get("languages"),
            "near_duplicate": _share(said.get("near_duplicate", 0.7)),
            "rules": _made(CodeRules, own, kind),
        }
    columns = {"x_column": said.get("x_column", "x"), "y_column": said.get("y_column", "y")}
    if columns["x_column"] == columns["y_column"]:
        raise DataError(f"pairs: x_column and y_column are both {columns['x_column']!r}; a pair needs two")
    return columns


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise DataError(f"code.near_duplicate: {value} is no share from 0 to 1")
    return value


def _made(rules: type, said: Mapping[str, Any], where: str) -> Any:
    try:
        return rules(**said)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _section(
    said: Any, where: str, keys: Mapping[str, Any], required: Collection[str] = ()
) -> dict[str, Any]:
    """The entries of a section, whose keys and types are right."""
    if said is None:
        said = {}
    if not isinstance(said, dict):
        raise DataError(f"{where}: must be keys with values, not {type(said).__name__}")
    for key, value in said.items():
        if key not in keys:
            near = get_close_matches(str(key), keys, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(f"{where}: unknown key {key!r}; {hint}keys: {', '.join(keys)}")
        if not _fits(value, keys[key]):
            cure = "; put it into quotes" if keys[key] is str and value is not None else ""
            raise DataError(f"{where}: {key}: {value!r} is no {_named(keys[key])}{cure}")
    for key in required:
        if key not in said:
            raise DataError(f"{where}: the key {key!r} is missing")
    return dict(said)


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if kind is type(None):
        return value is None
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is dict:
        return isinstance(value, dict) or value is None
    if arguments := get_args(kind):
        values = value.values() if isinstance(value, dict) else value
        return isinstance(value, kind.__origin__) and all(isinstance(one, arguments[-1]) for one in values)
    return isinstance(value, kind)


def _named(kind: Any) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(map(_named, get_args(kind)))
    if get_args(kind):
        return "list of strings" if kind.__origin__ is list else "keys with strings"
    names = {
        int: "whole number",
        float: "number",
        bool: "true or false",
        str: "string",
        dict: "keys with values",
    }
    return names.get(kind, "null")
