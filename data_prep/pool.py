"""Mined pairs on disk, in one or several parts, numbered one after another, with a mark on those that are out."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zstandard

from data_prep.corpus import PRECEDENCE
from data_prep.errors import DataError
from data_prep.files import write_atomic
from data_prep.keys import KeyFiles, Keys
from data_prep.pairs import Pair, packed
from data_prep.quality import QualityRules, quality_reason
from data_prep.report import Report
from data_prep.split import Splitter

BATCH = 512
PART = "part.json"  # written last: a part without one is not finished
_FRAME = struct.Struct("<IQ")  # how many pairs, how many bytes follow


def write_part(
    folder: Path,
    pairs: Iterable[Pair],
    report: Report,
    *,
    split: Splitter,
    group: Callable[[Pair], str],
    quality: QualityRules | None = None,
) -> None:
    """Write pairs, the split of each, what the quality rules say of it, and the hashes that find duplicates.

    Args:
        folder: Made; must not be there.
        pairs: Read once, a batch at a time.
        report: The account of who makes the pairs; complete when the last was made, and kept with them.
        split: Says where a group belongs.
        group: The group of a pair.
        quality: Rules for both sides; what they say is remembered, nothing is dropped here.
    """
    folder.mkdir(parents=True)
    keys, reasons, iterator = KeyFiles(folder / "keys"), _Reasons(quality), iter(pairs)
    packer = zstandard.ZstdCompressor(level=1, write_checksum=True)
    places, faults, size = bytearray(), bytearray(), 0
    with open(folder / "pairs", "wb") as file:
        while batch := list(islice(iterator, BATCH)):
            records = [pair.to_dict() for pair in batch]
            data = packed(records, ((pair.id, pair.meta) for pair in batch))
            size += len(data)
            frame = packer.compress(data)
            file.write(_FRAME.pack(len(batch), len(frame)) + frame)
            keys.add(records)
            places += bytes(PRECEDENCE.index(split(group(pair))) for pair in batch)
            faults += bytes(map(reasons, batch))
    (folder / "places").write_bytes(places)
    (folder / "faults").write_bytes(faults)
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}
    account = {
        "count": len(places),
        "bytes": size,
        "files": files,
        "faults": reasons.names,
        "report": report.to_dict(),
        "groups": {"seen": sorted(split.seen), "examples": sorted(split.examples)},
    }
    write_atomic(folder / PART, json.dumps(account).encode())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class _Reasons:
    """Numbers of quality reasons; 0 is none."""

    def __init__(self, rules: QualityRules | None) -> None:
        self._rules = rules
        self.names: list[str] = [""]

    def __call__(self, pair: Pair) -> int:
        if self._rules is None:
            return 0
        for side, text in (("x", pair.x), ("y", pair.y)):
            if reason := quality_reason(text, self._rules):
                name = f"{side}: {reason}"
                if name not in self.names:
                    self.names.append(name)
                return self.names.index(name)
        return 0


class Pool:
    """The pairs of several parts, numbered from 0 in the order of the parts.

    Memory holds some bytes for each pair, never a text: two here, four for each labelling while duplicates are
    looked for.

    Attributes:
        count: Pairs in all.
        begins: The first number of each part, and at last the count.
        alive: bool (count,): what no stage has dropped.
        places: uint8 (count,): the split, as a place in PRECEDENCE.
        report: The accounts of all parts together.
        bytes: Of all texts.

    Raises:
        DataError: a part is not whole.
    """

    def __init__(self, parts: Sequence[Path]) -> None:
        self.parts = list(parts)
        self.accounts = [read_account(part) for part in self.parts]
        self.begins = np.cumsum([0, *(account["count"] for account in self.accounts)]).tolist()
        self.count = int(self.begins[-1])
        self.bytes = sum(account["bytes"] for account in self.accounts)
        self.alive = np.ones(self.count, bool)
        self.places = np.concatenate(
            [np.empty(0, np.uint8), *(np.fromfile(part / "places", np.uint8) for part in self.parts)]
        )
        self.report = Report()
        for account in self.accounts:
            self.report.add(Report.from_dict(account["report"]))
        self._record = lru_cache(4)(self._frame)

    def place(self, record: int) -> int:
        """The precedence of the record's split."""
        return int(self.places[record])

    def keys(self) -> Keys:
        return Keys([part / "keys" for part in self.parts], self.begins[:-1], self.place)

    def check_groups(self, split: Splitter) -> None:
        """Raise a DataError where a group that ``split`` holds out by name is in no part."""
        for account in self.accounts:
            split.seen.update(account["groups"]["seen"])
            split.examples.update(account["groups"]["examples"])
        split.check()

    def drop_faulty(self, report: Report) -> None:
        """Drop those alive that the quality rules found fault with; count the reasons."""
        for part, account, begin, end in zip(
            self.parts, self.accounts, self.begins, self.begins[1:], strict=False
        ):
            alive = self.alive[begin:end]
            faults = np.where(alive, np.fromfile(part / "faults", np.uint8), 0)
            for number, count in enumerate(np.bincount(faults, minlength=1).tolist()):
                if number and count:
                    report.dropped[account["faults"][number]] += count
            alive[faults > 0] = False

    def batches(
        self,
        wanted: np.ndarray | None = None,
        on_batch: Callable[[int], object] = lambda count: None,
        part: int | None = None,
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Yield the first number and the records of each batch; with ``wanted``, only of batches that hold one of these.

        With ``part``, those of one part.
        """
        for number in range(len(self.parts)) if part is None else [part]:
            first = int(self.begins[number])
            path = self.parts[number] / "pairs"
            with open(path, "rb") as file:
                while head := file.read(_FRAME.size):
                    count, size = _FRAME.unpack(head)
                    frame = file.read(size)
                    if wanted is None or wanted[first : first + count].any():
                        yield first, _unpacked(frame, size, path)
                    on_batch(count)
                    first += count

    def record(self, number: int) -> dict[str, Any]:
        """One record; for a few of them."""
        part = int(np.searchsorted(self.begins, number, side="right")) - 1
        first, records = self._record(part, (number - int(self.begins[part])) // BATCH)
        return records[number - first]

    def _frame(self, part: int, place: int) -> tuple[int, list[dict[str, Any]]]:
        path = self.parts[part] / "pairs"
        with open(path, "rb") as file:
            for _ in range(place):
                file.seek(_FRAME.unpack(file.read(_FRAME.size))[1], 1)
            size = _FRAME.unpack(file.read(_FRAME.size))[1]
            return int(self.begins[part]) + BATCH * place, _unpacked(file.read(size), size, path)


def read_account(part: Path) -> dict[str, Any]:
    """What a part says of itself.

    Raises:
        DataError: it is not finished, or a file of it has another size than it had.
    """
    try:
        account: dict[str, Any] = json.loads((part / PART).read_bytes())
        for name, size in account["files"].items():
            if (part / name).stat().st_size != size:
                raise DataError(f"{part / name}: {_CURE}")
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{part}: {_CURE}") from None
    return account


_CURE = "cut or missing; delete the folder above it and run the same command again"


def _unpacked(frame: bytes, size: int, path: Path) -> list[dict[str, Any]]:
    try:
        if len(frame) != size:
            raise ValueError("short")
        records: list[dict[str, Any]] = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(frame))
    except (ValueError, zstandard.ZstdError):
        raise DataError(f"{path}: {_CURE}") from None
    return records
