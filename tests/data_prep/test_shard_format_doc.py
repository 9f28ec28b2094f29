"""docs/shard-format.md says what is written: its snippet reads shards, its tables name the fields."""

from __future__ import annotations

import argparse
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
import xxhash
import zstandard

from data_prep.cache import DEFAULT_GIB
from data_prep.errors import DataError
from data_prep.pairs import FIELDS, Pair
from data_prep.shards import PairShards, quarantine_chunks
from data_prep.shards.index import _COLUMNS, FORMAT
from data_prep.shards.tokens import TOKENS_FORMAT
from data_prep.shards.write import RECORDS_PER_CHUNK, SHARD_BYTES
from data_prep.tokenize import tokenize
from data_prep.tokenizer import train_tokenizer

TEXT = (Path(__file__).parents[2] / "docs" / "shard-format.md").read_text(encoding="utf-8")


def table(heading: str) -> list[tuple[str, str]]:
    """First two cells of the rows of the table whose first header cell is ``heading``."""
    rows = TEXT.split(f"| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]
    return [(row[0], row[1]) for row in cells]


def test_the_snippet_reads_a_shard(shards: Path, make_pairs: Callable[..., list[Pair]]) -> None:
    code = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert code
    assert len([line for line in code[1].splitlines() if line.strip()]) <= 10
    assert "data_prep" not in code[1]
    scope: dict[str, Any] = {}
    exec(code[1], scope)
    assert list(scope["read"](shards)) == [pair.to_dict() for pair in make_pairs(220)]


def test_the_tables_are_complete(shards: Path) -> None:
    manifest = json.loads((shards / "manifest.json").read_text())
    index = msgpack.unpackb(zstandard.ZstdDecompressor().decompress((shards / "unit-00000.idx").read_bytes()))
    assert [name for name, _ in table("field")] == list(FIELDS)
    assert table("column") == list(_COLUMNS.items())
    assert [name for name, _ in table("column")] == list(index)[1:]
    assert [name for name, _ in table("key")] == list(manifest)
    assert [name for name, _ in table("key of a shard")] == list(manifest["shards"][0])
    marked = quarantine_chunks(shards, "unit-00000.tar", [1])
    assert [name for name, _ in table("key of a mark")] == list(marked["quarantine"][0])
    assert f"{DEFAULT_GIB:.0f}" in TEXT
    assert FORMAT in TEXT
    assert f"array of records: {RECORDS_PER_CHUNK}" in TEXT
    assert f"{SHARD_BYTES >> 20} MiB" in TEXT


def test_tar_and_fingerprint_are_as_described(shards: Path) -> None:
    manifest = json.loads((shards / "manifest.json").read_text())
    lines = ""
    for shard in manifest["shards"]:
        data = (shards / shard["name"]).read_bytes()
        digests = [
            xxhash.xxh64_hexdigest((shards / name).read_bytes())
            for name in (shard["name"], shard["name"][:-3] + "idx")
        ]
        lines += f"{shard['name']} {shard['count']} {digests[0]} {digests[1]}\n"
        with tarfile.open(shards / shard["name"]) as tar:
            members = tar.getmembers()
        last = members[-1]
        assert [(m.mode, m.mtime, m.uid, m.uname, m.pax_headers) for m in members] == [
            (0o644, 0, 0, "", {})
        ] * 2
        assert len(data) == last.offset_data + -(-last.size // 512) * 512 + 1024
    assert manifest["fingerprint"] == xxhash.xxh64_hexdigest(lines.encode())


def test_the_seal_and_the_marks_are_as_described(shards: Path) -> None:
    for marks in ("", "quarantine unit-00001.tar 0\nquarantine unit-00001.tar 1\n"):
        if marks:
            quarantine_chunks(shards, "unit-00001.tar", [1, 0])
        manifest = json.loads((shards / "manifest.json").read_text())
        seal = manifest.pop("manifest_xxh64")
        assert seal == xxhash.xxh64_hexdigest(
            json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
        )
        lines = [f"{s['name']} {s['count']} {s['xxh64']} {s['idx_xxh64']}\n" for s in manifest["shards"]]
        assert manifest["fingerprint"] == xxhash.xxh64_hexdigest(("".join(lines) + marks).encode())


def test_a_manifest_from_before_the_seal_is_read(shards: Path) -> None:
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["manifest_xxh64"]
    path.write_text(json.dumps(manifest))
    assert PairShards.open(shards).count == 220
    path.write_text(json.dumps({**manifest, "other": 1}))
    with pytest.raises(DataError, match=r"manifest\.json: damaged or edited"):
        PairShards.open(shards)


def test_the_tables_of_token_ids_are_complete(shards: Path, tmp_path: Path) -> None:
    serialised = train_tokenizer(["a b c"], vocab_size=270, identifiers=False).to_str()
    options = {"max_tokens": 9, "overwrite": False, "prep_command": "tokenize"}
    tokenize(argparse.Namespace(folder=str(shards), out=tmp_path / "ids", **options), serialised)
    manifest = json.loads((tmp_path / "ids" / "manifest.json").read_text())
    assert [name for name, _ in table("key of `tokens`")] == list(manifest["tokens"])
    assert (manifest["format"], manifest["kind"], manifest["unit"]) == (TOKENS_FORMAT, "tokens", "tokens")
    assert TOKENS_FORMAT in TEXT
    with tarfile.open(tmp_path / "ids" / "unit-00000.tar") as tar:
        member = tar.extractfile(tar.getmembers()[0])
        assert member is not None
        chunk = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(member.read()))
    columns = [name for name, value in chunk.items() if isinstance(value, bytes)]
    assert [name for name, _ in table("column of ids")] == columns
    assert list(chunk)[:6] == ["format", *list(manifest["tokens"])]
    assert set(chunk) == {*list(chunk)[:6], "id", "source", "meta", *columns}
    index = msgpack.unpackb(
        zstandard.ZstdDecompressor().decompress((tmp_path / "ids" / "unit-00000.idx").read_bytes())
    )
    assert (index["format"], index["tokenizer"]) == (TOKENS_FORMAT, manifest["tokens"]["tokenizer"])
    parts = {
        key: json.loads(serialised)[key] for key in ("normalizer", "pre_tokenizer", "model", "added_tokens")
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    assert xxhash.xxh3_128_hexdigest(text.encode()) == manifest["tokens"]["tokenizer"]
