"""The same pairs in each reader's own files, and their passes in a shuffled order: ours, webdataset, litdata, datasets."""

from __future__ import annotations

import json
import random
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.common import say
from data_prep.pairs import Pair
from data_prep.shards import PairShards, write_shards
from lightning_cpt.data.mixture import Mixture
from lightning_cpt.data.plan import Plan, TrainingSet
from lightning_cpt.data.reader import ShareReader

BATCH = 512
FILES = 4  # tars, parquet files: as many of each
BUFFER = 1000  # pairs; the default of datasets' shuffle
CHECKED, UNCHECKED = "ours, hashes checked", "ours, not checked"
WDS, LITDATA, HF = "webdataset, a .json per pair", "litdata", "datasets, streamed parquet"
LITDATA_BARE, HF_BARE = "litdata, id, x and y alone", "datasets, id, x and y alone"
KEYS, BARE = ("id", "x", "y", "negatives", "source", "meta"), ("id", "x", "y")
META = ("document", "package", "path", "name", "lang", "license")
# What each reads, under the folder of its layouts.
PLACES = {
    CHECKED: "ours",
    UNCHECKED: "ours",
    WDS: "webdataset",
    LITDATA: "litdata",
    HF: "parquet",
    LITDATA_BARE: "litdata-bare",
    HF_BARE: "parquet-bare",
}


class Unchecked(PairShards):
    """Shards whose bytes are believed as they come."""

    def _is_good(self, i: int, data: bytes) -> bool:
        return len(data) == self._sizes[i]


class Layouts:
    """The same pairs in each side's own files, made where they are not there.

    Args:
        folder: Where they lie.
        source: Shards to take the pairs from.
        count: How many.
    """

    def __init__(self, folder: Path, source: Path, count: int) -> None:
        self.folder, self._source, self._count = folder, source, count
        made: dict[str, Callable[[Path], None]] = {
            "ours": self._write_ours,
            "webdataset": self._write_classic,
            "litdata": partial(self._write_litdata, keys=KEYS),
            "parquet": partial(self._write_parquet, keys=KEYS),
            "litdata-bare": partial(self._write_litdata, keys=BARE),
            "parquet-bare": partial(self._write_parquet, keys=BARE),
        }
        for name, write in made.items():
            if not (folder / name / "done").exists():
                say(f"writing {folder / name}")
                shutil.rmtree(folder / name, ignore_errors=True)
                write(folder / name)
                (folder / name / "done").touch()

    def _records(self) -> Iterator[dict[str, Any]]:
        """The pairs, all with the same keys: not every format lets them differ."""
        for record in islice(iter(PairShards.open(self._source)), self._count):
            meta = {key: record["meta"].get(key, "") for key in META}
            yield {**record, "meta": {**meta, "span": record["meta"]["span"]}}

    def _write_ours(self, folder: Path) -> None:
        write_shards(folder / "train", (Pair(**record) for record in self._records()), source="bench")

    def _write_classic(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for number, records in enumerate(self._parts()):
            with tarfile.open(folder / f"{number}.tar", "w") as tar:
                for at, record in enumerate(records):
                    raw = json.dumps(record).encode()
                    member = tarfile.TarInfo(f"{at:08d}.json")
                    member.size = len(raw)
                    tar.addfile(member, BytesIO(raw))

    def _parts(self) -> Iterator[list[dict[str, Any]]]:
        records, size = self._records(), -(-self._count // FILES)
        while part := list(islice(records, size)):
            yield part

    def _write_litdata(self, folder: Path, keys: Sequence[str]) -> None:
        from litdata.streaming import Cache

        folder.mkdir(parents=True)
        cache = Cache(str(folder), chunk_bytes="64MB")  # litdata's own default
        for at, record in enumerate(self._records()):
            cache[at] = {key: record[key] for key in keys}
        cache.done()
        cache.merge()

    def _write_parquet(self, folder: Path, keys: Sequence[str]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        folder.mkdir(parents=True)
        for number, records in enumerate(self._parts()):
            columns = pa.Table.from_pylist([{key: record[key] for key in keys} for record in records])
            parquet.write_table(
                columns, folder / f"{number}.parquet", compression="zstd", row_group_size=1000
            )

    def megabytes(self, name: str) -> float:
        return sum(path.stat().st_size for path in (self.folder / name).rglob("*") if path.is_file()) / 1e6

    def ours(self, kind: type[PairShards]) -> PairShards:
        return kind.open(self.folder / "ours" / "train")

    def reader(self, name: str) -> Callable[[int], Iterable[dict[str, Any]]]:
        """What gives the pairs of a pass in a shuffled order of its number."""
        if name in (CHECKED, UNCHECKED):
            shards = self.ours(PairShards if name == CHECKED else Unchecked)
            return lambda number: our_pass(shards, number)
        made = {WDS: self._webdataset, LITDATA: self._litdata, HF: self._datasets}
        made |= {
            LITDATA_BARE: partial(self._litdata, bare="-bare"),
            HF_BARE: partial(self._datasets, bare="-bare"),
        }
        return made[name]

    def _webdataset(self, number: int) -> Iterator[dict[str, Any]]:
        import webdataset

        urls = [str(self.folder / "webdataset" / f"{at}.tar") for at in range(FILES)]
        random.Random(number).shuffle(urls)
        stream = webdataset.WebDataset(urls, shardshuffle=False).shuffle(BUFFER, rng=random.Random(number))
        for sample in stream:
            yield json.loads(sample["json"])

    def _litdata(self, number: int, bare: str = "") -> Iterable[dict[str, Any]]:
        from litdata import StreamingDataset

        found: Iterable[dict[str, Any]] = StreamingDataset(
            str(self.folder / f"litdata{bare}"), shuffle=True, seed=number, max_cache_size="100GB"
        )
        return found

    def _datasets(self, number: int, bare: str = "") -> Iterable[dict[str, Any]]:
        from datasets import load_dataset

        files = [str(self.folder / f"parquet{bare}" / f"{at}.parquet") for at in range(FILES)]
        stream = load_dataset("parquet", data_files=files, split="train", streaming=True)
        found: Iterable[dict[str, Any]] = stream.shuffle(seed=number, buffer_size=BUFFER)
        return found


def plan_of(shards: PairShards) -> Plan:
    data = TrainingSet({"bench": shards})
    return Plan(data, Mixture(["bench"], [shards.count], [None], BATCH), seed=0)


def our_pass(shards: PairShards, number: int) -> Iterator[dict[str, Any]]:
    """Pass ``number`` as a training's only worker reads it, nothing decoded in advance."""
    plan = plan_of(shards)
    reader, batches = ShareReader(plan), plan.mixture.per_epoch
    for batch in range(number * batches, (number + 1) * batches):
        yield from reader.read(batch, 0).records
