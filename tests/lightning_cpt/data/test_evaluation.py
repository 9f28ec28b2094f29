"""Fixed pools and predictions: the same records for everybody, each exactly once over all ranks."""

from __future__ import annotations

from pathlib import Path

import pytest
import xxhash

from data_prep.errors import DataError
from data_prep.shards import PairShards
from lightning_cpt.data.evaluation import (
    Checked,
    ListSource,
    RankBatches,
    ShardSource,
    fixed_pool,
    read_texts,
)
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import PairTokenizer


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: str) -> PairTokenizer:
    return PairTokenizer(tokenizer_folder, max_length_x=24, max_length_y=24)


def test_the_pool_is_the_lowest_hashes(pair_folder: Path) -> None:
    shards = PairShards.open(pair_folder / "validation")
    everyone = sorted(shards, key=lambda r: xxhash.xxh64_intdigest(r["id"].encode(), seed=7))
    assert fixed_pool(shards, 7, 20) == everyone[:20]
    assert fixed_pool(shards, 8, 20) != everyone[:20]
    assert len(fixed_pool(shards, 7, 1000)) == 60


@pytest.mark.parametrize(
    ("records", "ranks", "size"), [(50, 1, 8), (50, 3, 8), (50, 4, 5), (2, 3, 8), (7, 2, 3)]
)
def test_each_record_once_and_as_many_batches_on_every_rank(
    pair_folder: Path, tokenizer: PairTokenizer, records: int, ranks: int, size: int
) -> None:
    pairs = list(PairShards.open(pair_folder / "test"))[:records]
    shares = [RankBatches(ListSource(pairs), tokenizer, size, rank, ranks) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    batches = [batch for share in shares for batch in Checked([share[i] for i in range(len(share))])]
    assert [identity for batch in batches for identity in batch.ids] == [pair["id"] for pair in pairs]
    assert max(len(batch) for batch in batches) <= size


def test_shards_are_read_in_their_order(pair_folder: Path, tokenizer: PairTokenizer) -> None:
    shards = PairShards.open(pair_folder / "test")
    share = RankBatches(ShardSource(shards), tokenizer, 9, 0, 1)
    batches = list(Checked([share[i] for i in range(len(share))]))
    assert [i for batch in batches for i in batch.ids] == [record["id"] for record in shards]


def test_an_error_handed_over_as_a_value_is_raised() -> None:
    with pytest.raises(DataError, match="gone"):
        list(Checked([DataError("gone")]))


def test_texts_of_one_side_or_both(tmp_path: Path, tokenizer: PairTokenizer) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"x": "one"}\n\n{"x": "two", "id": 5}\n')
    records = read_texts(path)
    assert records == [{"id": "1", "x": "one"}, {"id": "5", "x": "two"}]
    batch = next(iter(Checked([RankBatches(ListSource(records), tokenizer, 4, 0, 1)[0]])))
    assert (len(batch.x), len(batch.y)) == (2, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("no json\n", r"texts\.jsonl:1: not JSON"),
        ('{"z": "one"}\n', r"texts\.jsonl:1: needs"),
        ('{"x": 3}\n', r"texts\.jsonl:1: needs"),
        ('{"x": "one"}\n{"y": "two"}\n', r"texts\.jsonl:2: other sides"),
    ],
)
def test_bad_texts_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_texts(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.predict: .*tests\.jsonl is neither a split .* nor a file"):
        read_texts(tmp_path / "tests.jsonl")


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes('{"x": "caf\xe9"}\n'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.jsonl: not UTF-8"):
        read_texts(path)


def test_half_a_surrogate_pair_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.jsonl"
    path.write_text('{"x": "ok"}\n{"x": "a\\ud800b"}\n')
    with pytest.raises(ConfigError, match=r"half\.jsonl:2: x holds half of a surrogate pair"):
        read_texts(path)


def test_a_byte_order_mark_and_line_separators_inside_texts_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "bom.jsonl"
    path.write_text('\ufeff{"x": "a\u2028b"}\n', encoding="utf-8")
    assert [record["x"] for record in read_texts(path)] == ["a\u2028b"]
