"""The texts to embed, in numbered parts on disk: any rank reads any of them, and standard input is there twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgpack
import xxhash
import zstandard

from data_prep.files import write_atomic
from lightning_cpt.embed.inputs import Row
from lightning_cpt.errors import ConfigError

_INDEX = "spool.json"


@dataclass(frozen=True)
class Spool:
    """Parts of ``part_rows`` rows, the last one shorter.

    Args:
        folder: where they lie.
        rows: in all.
        part_rows: of each part but the last.
        sha: hash of all ids and texts, in order.
    """

    folder: Path
    rows: int
    part_rows: int
    sha: str

    @property
    def parts(self) -> int:
        return -(-self.rows // self.part_rows)

    def read(self, part: int) -> tuple[list[str], list[str]]:
        """Ids and texts of a part."""
        data = zstandard.ZstdDecompressor().decompress(_path(self.folder, part).read_bytes())
        ids, texts = msgpack.unpackb(data)
        return ids, texts

    @classmethod
    def open(cls, folder: Path) -> Spool | None:
        """What :func:`fill` has left whole, or None."""
        try:
            known = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return cls(folder, known["rows"], known["part_rows"], known["sha"])


def fill(folder: Path, rows: Iterable[Row], part_rows: int) -> Spool:
    """Write all rows in parts.

    Raises:
        ConfigError: there are no rows, or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hashed = _Hashed(rows)
    packer = zstandard.ZstdCompressor(level=1)
    for number, part in enumerate(_cut(hashed, part_rows)):
        ids, texts = zip(*part, strict=True)
        write_atomic(_path(folder, number), packer.compress(msgpack.packb([ids, texts])))
    if not hashed.rows:
        raise ConfigError("INPUT: there are no rows in it")
    known = {"rows": hashed.rows, "part_rows": part_rows, "sha": hashed.hex}
    write_atomic(folder / _INDEX, json.dumps(known).encode())
    return Spool(folder, hashed.rows, part_rows, hashed.hex)


def hash_rows(rows: Iterable[Row]) -> str:
    """The hash that :func:`fill` would find."""
    hashed = _Hashed(rows)
    for _ in hashed:
        pass
    return hashed.hex


class _Hashed:
    """Counts and hashes rows on their way."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self._digest = xxhash.xxh3_128()
        self.rows = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            for part in row:
                data = part.encode()
                self._digest.update(len(data).to_bytes(8, "little") + data)
            self.rows += 1
            yield row

    @property
    def hex(self) -> str:
        return self._digest.hexdigest()


def _cut(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    stream = iter(rows)
    while part := list(islice(stream, size)):
        yield part


def _path(folder: Path, part: int) -> Path:
    return folder / f"texts-{part:08d}.msgpack.zst"
