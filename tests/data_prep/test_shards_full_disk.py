"""A disk that fills up: one line with the folder and the room, nothing that looks whole, the former data untouched."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from data_prep import files
from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards import PairShards, open_splits, write_shards, write_splits

MakePairs = Callable[..., list[Pair]]
Splits = dict[str, list[Pair]]


def make_splits(pairs: list[Pair]) -> Splits:
    return {"train": pairs[:-20], "validation": pairs[-20:-10], "test": pairs[-10:]}


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """``room(n, code)``: after n writes of files' bytes the disk answers with an error."""

    def limit(writes: int, code: int) -> None:
        left = [writes]

        class Full:
            def __init__(self, file: BinaryIO) -> None:
                self._file = file

            def __getattr__(self, name: str) -> Any:
                return getattr(self._file, name)

            def __enter__(self) -> Full:
                return self

            def __exit__(self, *error: object) -> None:
                self._file.close()

            def write(self, data: bytes) -> int:
                left[0] -= 1
                if left[0] < 0:
                    self._file.write(data[: len(data) // 2])
                    raise OSError(code, "No space left on device")
                return self._file.write(data)

        monkeypatch.setattr(files, "open", lambda *args: Full(open(*args)), raising=False)  # noqa: SIM115

    return limit


@pytest.mark.parametrize("overwrite", [False, True], ids=["fresh", "overwriting"])
def test_the_disk_fills_up_at_every_moment(
    tmp_path: Path, make_pairs: MakePairs, room: Callable[[int, int], None], overwrite: bool
) -> None:
    folder, splits = tmp_path / "data", make_splits(make_pairs(60, "new"))
    if overwrite:
        write_splits(folder, make_splits(make_pairs(60, "old")), source="unit")
    before, failed = everything(folder), 0
    for writes in range(100):
        room(writes, errno.EDQUOT if writes % 2 else errno.ENOSPC)
        try:
            write_splits(folder, splits, source="unit", overwrite=overwrite)
        except DataError as error:
            failed += 1
            check_failure(str(error), folder)
            assert {name: data for name, data in everything(folder).items() if data} == before
        else:
            break
    assert failed > 10
    assert {record["id"][:3] for record in open_splits(folder)["train"]} == {"new"}


def check_failure(line: str, folder: Path) -> None:
    assert "\n" not in line
    assert line.startswith(f"{folder}: ")
    if "cannot be written" not in line:  # so it says where not even an empty file can be made
        assert re.search(
            r"No space left on device: more than [\d.]+ MB are needed, [\d.,]+ MB are free", line
        )
    if not list(folder.rglob("manifest.json")):
        with pytest.raises(DataError):
            open_splits(folder)


def test_the_former_data_can_be_read_all_the_while(tmp_path: Path, make_pairs: MakePairs) -> None:
    old, new = make_pairs(100, "old"), make_pairs(50, "new")
    write_shards(tmp_path, old, source="unit")

    def watched() -> Any:
        for pair in new:
            assert len(list(PairShards.open(tmp_path))) == 100
            yield pair

    write_shards(tmp_path, watched(), source="unit", overwrite=True, records_per_chunk=10)
    assert [record["id"] for record in PairShards.open(tmp_path)] == [pair.id for pair in new]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.json",
        "unit-00000.idx",
        "unit-00000.tar",
    ]


def test_an_error_of_the_pairs_leaves_everything_as_it_was(tmp_path: Path, make_pairs: MakePairs) -> None:
    def bad() -> Any:
        yield from make_pairs(20)
        raise DataError("rows.jsonl: row 21: no y")

    for folder in (tmp_path / "fresh", tmp_path / "old"):
        if folder.name == "old":
            write_shards(folder, make_pairs(30), source="unit")
        before = everything(folder)
        with pytest.raises(DataError, match="row 21"):
            write_shards(folder, bad(), source="unit", overwrite=True, records_per_chunk=10)
        assert everything(folder) == before


WRITER = """
import random, resource, sys
from pathlib import Path
from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards import write_shards
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
draw = random.Random(0)
pairs = (Pair(f"id-{i}", f"{draw.getrandbits(4000):x}", "y", [], "s", {}) for i in range(4000))
try:
    write_shards(Path(sys.argv[1]), pairs, source="unit", overwrite=True, records_per_chunk=50)
except DataError as error:
    print(error)
"""


def test_a_real_limit_of_the_system(tmp_path: Path, make_pairs: MakePairs) -> None:
    for name in ("fresh", "old"):
        if name == "old":
            write_shards(tmp_path / name, make_pairs(30), source="unit")
        before = everything(tmp_path / name)
        done = subprocess.run(
            [sys.executable, "-c", WRITER, tmp_path / name], capture_output=True, text=True, timeout=60
        )
        line = rf"{tmp_path / name}: File too large: more than 0\.\d MB are needed, [\d.,]+ MB are free; .*\n"
        assert re.fullmatch(line, done.stdout), done.stdout + done.stderr
        assert everything(tmp_path / name) == before
