"""The exchange on real gloo processes: each rank encodes its own share, and one rank's bad chunk stops all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import CorruptChunk, DataError
from data_prep.shards import PairShards
from lightning_cpt.data.exchange import Exchange
from lightning_cpt.data.loader import PairLoader
from lightning_cpt.data.mixture import Mixture
from lightning_cpt.data.plan import Plan, TrainingSet
from lightning_cpt.data.reader import ShareReader, TrainingReader
from lightning_cpt.gather import rank_and_world_size
from lightning_cpt.tokenization import PairTokenizer


def batches(folder: str, tokenizer_folder: str, workers: int, count: int, bad: int = -1) -> Any:
    """Ids, token ids and x lengths of this rank's first batches; ``bad`` is a chunk that cannot be read."""
    rank, world_size = rank_and_world_size()
    shards = PairShards.open(folder)
    if bad >= 0:
        good = shards.read_packed

        def read_chunk(chunk: int) -> Any:
            if chunk == bad:
                raise CorruptChunk("a.tar", chunk, f"chunk {chunk}: damaged")
            return good(chunk)

        shards.read_packed = read_chunk  # type: ignore[method-assign]
    plan = Plan(TrainingSet({"toy": shards}), Mixture(["toy"], [shards.count], [None], 16), 0, 4)
    tokenizer = PairTokenizer(tokenizer_folder, max_length_x=24, max_length_y=24)
    reader = TrainingReader(ShareReader(plan, "stop", rank, world_size, workers), tokenizer, hard_negatives=1)
    loader = PairLoader(reader, workers, Exchange() if world_size > 1 else None)
    found = []
    try:
        for _, batch in zip(range(count), loader, strict=False):
            assert batch.negatives is not None
            tokens = [batch.x.ids.tolist(), batch.y.ids.tolist(), batch.negatives.ids.tolist()]
            found.append((batch.ids, batch.rows.tolist(), sum(map(len, tokens[:2])), batch.hashes.tolist()))
    except DataError as error:
        return len(found), str(error)
    finally:
        loader.close()
    return found


@pytest.mark.parametrize(("world_size", "workers"), [(2, 0), (4, 0)])
def test_the_ranks_share_each_batch(
    gloo_pool: Any, pair_folder: Path, tokenizer_folder: str, world_size: int, workers: int
) -> None:
    folder = str(pair_folder / "train")
    (whole,) = gloo_pool.run(1, batches, folder, tokenizer_folder, 0, 6)
    ranks = gloo_pool.run(world_size, batches, folder, tokenizer_folder, workers, 6)
    for number, (ids, rows, tokens, hashes) in enumerate(whole):
        parts = [rank[number] for rank in ranks]
        assert {len(part[0]) for part in parts} == {16 // world_size}
        assert sorted(one for part in parts for one in part[0]) == sorted(ids)
        by_row = dict(zip(rows, hashes, strict=True))
        assert all(by_row[row] == h for part in parts for row, h in zip(part[1], part[3], strict=True))
        assert sum(part[2] for part in parts) == tokens
        assert max(part[2] for part in parts) <= 1.35 * tokens / world_size


def test_a_bad_chunk_of_one_rank_is_the_same_line_on_all(
    gloo_pool: Any, pair_folder: Path, tokenizer_folder: str
) -> None:
    answers = gloo_pool.run(4, batches, str(pair_folder / "train"), tokenizer_folder, 0, 21, 5)
    assert answers == [answers[0]] * 4
    done, message = answers[0]
    assert 0 <= done < 21
    assert (
        message == "chunk 5: damaged (another order: a new run); or go on with --data.on_corrupt substitute"
    )


def without_workers(folder: str, tokenizer_folder: str) -> str:
    """What each rank says where rank 1 cannot start the processes that read."""
    rank, world_size = rank_and_world_size()
    shards = PairShards.open(folder)
    plan = Plan(TrainingSet({"toy": shards}), Mixture(["toy"], [shards.count], [None], 16), 0, 4)
    reader = TrainingReader(ShareReader(plan, "stop", rank, world_size, 0), PairTokenizer(tokenizer_folder))
    loader = PairLoader(reader, 0, Exchange())

    def refuse(first: int) -> Any:
        raise OSError(12, "Cannot allocate memory")

    if rank:
        loader._open = refuse  # type: ignore[method-assign]
    try:
        next(iter(loader))
    except DataError as error:
        return str(error)
    return ""


def test_a_rank_that_cannot_start_its_readers_stops_all(
    gloo_pool: Any, pair_folder: Path, tokenizer_folder: str
) -> None:
    one, other = gloo_pool.run(2, without_workers, str(pair_folder / "train"), tokenizer_folder)
    assert one == other
    assert "failed: OSError: [Errno 12] Cannot allocate memory" in one
