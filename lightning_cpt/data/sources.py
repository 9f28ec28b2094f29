"""What a recipe says of its sources, and the splits that come of it: folders of shards, or plug-ins by class_path."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

from torch.utils.data import IterableDataset

from data_prep.shards import SPLITS, PairShards, open_splits
from data_prep.storage import is_address
from lightning_cpt.data.items import ItemPairs
from lightning_cpt.data.plugin import Plugin
from lightning_cpt.data.streams import StreamPairs
from lightning_cpt.errors import ConfigError

Pairs: TypeAlias = PairShards | ItemPairs | StreamPairs


class SourceKeys(TypedDict, total=False):
    """The keys of one source in a recipe; ``folder`` or ``class_path``.

    Args:
        folder: Folder with the splits train, validation and test.
        class_path: A class or function of yours, ``module.Name``, that gives pairs.
        init_args: What it is called with.
        splits: What else it is called with for ``validation`` and ``test``: ``{validation: {split: dev}}``.
        held_out: Its pairs that are kept out of the training and are its validation split, where splits names none.
        weight: Share of the batches (of the pairs, where batches are mixed) beside the other sources' weights.
    """

    folder: str
    class_path: str
    init_args: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    held_out: int
    weight: float | None


@dataclass
class Source:
    """One corpus to train on, checked; fields as in :class:`SourceKeys`."""

    name: str
    folder: str = ""
    class_path: str = ""
    init_args: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    held_out: int = 0
    weight: float | None = None

    @property
    def key(self) -> str:
        """The recipe's key that names it in messages."""
        if not self.name:
            return "data.folder"
        return f"data.sources.{self.name}" + ("" if self.class_path else ".folder")

    @property
    def place(self) -> str:
        return self.class_path or self.folder

    def prepare(self) -> None:
        """What one process does for all: classic tars are indexed at first sight."""
        if self.folder:
            open_splits(self.folder)

    def open(self) -> dict[str, Pairs]:
        """The splits that are there.

        Raises:
            ConfigError: no such folder or class, or an empty one.
            DataError: shards that are not whole, a wrong record.
        """
        if self.class_path:
            return self._build()
        if not is_address(self.folder) and not Path(self.folder).is_dir():
            raise ConfigError(f"{self.key}: there is no folder {self.folder}; `cpt prep ... --out` makes one")
        return dict(open_splits(self.folder))

    def _build(self) -> dict[str, Pairs]:
        train = self._opened("train", self.init_args, self.held_out)
        found: dict[str, Pairs] = {"train": train}
        if self.held_out and isinstance(train, ItemPairs):
            found["train"], found["validation"] = train.without(self.held_out)
        elif self.held_out and isinstance(train, StreamPairs):
            found["validation"] = self._held(train)
        for split, args in self.splits.items():
            found[split] = self._opened(split, {**self.init_args, **args})
        return found

    def _opened(self, split: str, args: dict[str, Any], held_out: int = 0) -> ItemPairs | StreamPairs:
        key = self.key if split == "train" else f"{self.key}.splits.{split}"
        plugin = Plugin(key, self.class_path, args)
        thing = plugin.build()
        sized = hasattr(thing, "__len__") and hasattr(thing, "__getitem__")
        if sized and not isinstance(
            thing, dict | str | IterableDataset
        ):  # torch gives all of its own __getitem__
            return ItemPairs(plugin, self.name, thing)
        if hasattr(thing, "__iter__") and not isinstance(thing, dict | str):
            return StreamPairs(plugin, self.name, thing, held_out)
        raise ConfigError(
            f"{key}.class_path: {self.class_path} gives {type(thing).__name__}; it needs __len__ and __getitem__, or "
            "__iter__, or to be a generator"
        )

    def _held(self, stream: StreamPairs) -> ItemPairs:
        """The first records of a stream, which lie in memory."""
        plugin = Plugin(self.key, f"{__name__}.ListOf", {"records": stream.held_records})
        return ItemPairs(plugin, self.name, stream.held_records)


class ListOf(list[dict[str, Any]]):
    """Records in memory, as a class that another process can build again."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        super().__init__(records)


def checked_sources(folder: str | None, sources: dict[str, SourceKeys] | None) -> dict[str, Source]:
    """The sources by name, paths written out; the only one of ``folder`` has no name.

    Raises:
        ConfigError: both, neither, a name that cannot be one, a folder twice, keys that do not go together.
    """
    if folder is None and not sources:
        raise ConfigError("data.folder: missing; name a folder, or several under data.sources")
    if folder is not None and sources:
        raise ConfigError("data.folder: given beside data.sources; take one of them (--data.folder null)")
    if folder is not None:
        return {"": Source("", _expanded(folder))}
    found: dict[str, Source] = {}
    for name, keys in (sources or {}).items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise ConfigError(f"data.sources.{name}: a name has letters, digits, - and _ only")
        found[name] = _checked(name, keys)
        others = [other.folder for other in found.values() if other.folder and other.name != name]
        if found[name].folder in others:
            path = found[name].folder
            raise ConfigError(
                f"data.sources.{name}.folder: {path} is there twice; give it one weight instead"
            )
    return found


def _checked(name: str, keys: SourceKeys) -> Source:
    key = f"data.sources.{name}"
    if bool(keys.get("folder")) == bool(keys.get("class_path")):
        raise ConfigError(
            f"{key}: needs either folder, with shards, or class_path, with a class that gives pairs"
        )
    own = sorted({"init_args", "splits", "held_out"} & keys.keys())
    if keys.get("folder") and own:
        raise ConfigError(f"{key}.{own[0]}: goes with class_path; a folder of shards has its splits inside")
    source = Source(
        name,
        _expanded(keys.get("folder", "")),
        keys.get("class_path", ""),
        keys.get("init_args", {}),
        keys.get("splits", {}),
        keys.get("held_out", 0),
        keys.get("weight"),
    )
    if source.held_out < 0:
        raise ConfigError(f"{key}.held_out: {source.held_out} is too small; use 0 or more")
    for split in source.splits:
        if split not in SPLITS[1:]:
            raise ConfigError(f"{key}.splits.{split}: no such split; there are {' and '.join(SPLITS[1:])}")
    if source.held_out and "validation" in source.splits:
        raise ConfigError(f"{key}.held_out: given beside splits.validation; take one of them")
    return source


def _expanded(folder: str) -> str:
    return folder if not folder or is_address(folder) else str(Path(folder).expanduser())
