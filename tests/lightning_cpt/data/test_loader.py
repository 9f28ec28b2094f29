"""The training loader: the same batches for any workers and ranks, resumable anywhere, errors as one line."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.errors import CorruptChunk
from data_prep.shards import PairShards
from data_prep.shards.quarantine import quarantine_chunks
from lightning_cpt.data.loader import PairLoader, is_worker_lost, worker_lost
from lightning_cpt.data.mixture import Mixture
from lightning_cpt.data.plan import Plan, TrainingSet
from lightning_cpt.data.reader import ShareReader, TrainingReader, global_batch
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import PairTokenizer

BATCHES = 21  # 345 pairs, 16 a batch


@pytest.fixture(scope="module")
def shards(pair_folder: Path) -> PairShards:
    return PairShards.open(pair_folder / "train")


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: str) -> PairTokenizer:
    return PairTokenizer(tokenizer_folder, max_length_x=24, max_length_y=24)


def plan_of(shards: PairShards, batch_size: int = 16, seed: int = 0, window_chunks: int = 4) -> Plan:
    mixture = Mixture(["toy"], [shards.count], [None], batch_size)
    return Plan(TrainingSet({"toy": shards}), mixture, seed, window_chunks)


def loader(shards: PairShards, tokenizer: PairTokenizer, workers: int = 0, **changes: Any) -> PairLoader:
    options = {"batch_size", "seed", "window_chunks"} & changes.keys()
    plan = plan_of(shards, **{key: changes.pop(key) for key in options})
    reader = ShareReader(plan, changes.pop("on_corrupt", "stop"), workers=workers)
    return PairLoader(TrainingReader(reader, tokenizer, **changes), workers)


def ids(loader: PairLoader, batches: int) -> list[list[str]]:
    """Pair ids of the next batches, as Lightning takes them: by count, never to the iterator's end."""
    taken: list[list[str]] = []
    while len(taken) < batches:
        taken += [b.ids for b in itertools.islice(loader, min(batches - len(taken), BATCHES))]
    return taken


def test_an_epoch_has_each_pair_at_most_once_and_the_next_another_order(
    shards: PairShards, tokenizer: PairTokenizer
) -> None:
    batches = ids(loader(shards, tokenizer), 2 * BATCHES)
    first, second = batches[:BATCHES], batches[BATCHES:]
    assert len(set(itertools.chain(*first))) == len(set(itertools.chain(*second))) == 16 * BATCHES
    assert first != second


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(shards: PairShards, tokenizer: PairTokenizer, workers: int) -> None:
    alone, helped = loader(shards, tokenizer), loader(shards, tokenizer, workers)
    for a, b in itertools.islice(zip(alone, helped, strict=True), 5):
        assert a.ids == b.ids
        assert torch.equal(a.x.ids, b.x.ids)
        assert torch.equal(a.y.lengths, b.y.lengths)
        assert torch.equal(a.hashes, b.hashes)
    helped.close()


@pytest.mark.parametrize(("world_size", "workers"), [(1, 2), (2, 0), (4, 1), (8, 3), (16, 2)])
def test_any_ranks_and_workers_read_the_same_global_batches(
    shards: PairShards, tokenizer: PairTokenizer, world_size: int, workers: int
) -> None:
    whole = ids(loader(shards, tokenizer), BATCHES + 2)
    plan = plan_of(shards)
    readers = [ShareReader(plan, rank=rank, world_size=world_size, workers=workers) for rank in range(world_size)]
    found = [[record["id"] for record in global_batch(readers, number)] for number in range(BATCHES + 2)]
    assert whole == found


def test_ranks_that_cannot_share_a_batch(shards: PairShards) -> None:
    with pytest.raises(ConfigError, match=r"data\.batch_size: 16 is not divisible by 3 ranks"):
        ShareReader(plan_of(shards), world_size=3)


@pytest.mark.parametrize("taken", [0, 1, 20, 21, 22, 45])
@pytest.mark.parametrize(("workers_before", "workers_after"), [(0, 0), (2, 1)])
def test_a_resumed_loader_goes_on_behind_the_last_batch(
    shards: PairShards, tokenizer: PairTokenizer, taken: int, workers_before: int, workers_after: int
) -> None:
    whole = ids(loader(shards, tokenizer), 50)
    before = loader(shards, tokenizer, workers_before)
    assert ids(before, taken) == whole[:taken]
    after = loader(shards, tokenizer, workers_after)
    iter(after)  # Lightning does this, and asks for the length, before it restores the state
    assert len(after) == BATCHES
    after.load_state_dict(before.state_dict())
    before.close()
    assert len(after) == BATCHES
    assert ids(after, 50 - taken) == whole[taken:]
    after.close()


def test_what_is_prefetched_is_not_handed_over(shards: PairShards, tokenizer: PairTokenizer) -> None:
    busy = loader(shards, tokenizer, workers=2)
    batches = iter(busy)
    next(batches)
    assert busy.state_dict()["batches"] == 1
    busy.close()


def test_loading_leaves_the_global_generator_alone(shards: PairShards, tokenizer: PairTokenizer) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    busy = loader(shards, tokenizer, workers=1)
    next(iter(busy))
    busy.close()
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 8}, r"^data\.batch_size: 8, but the checkpoint was made with 16; leave it at 16"),
        ({"seed": 1}, r"^data\.seed: 1, but the checkpoint was made with 0"),
        ({"window_chunks": 2}, r"^data\.window_chunks: 2, but"),
    ],
)
def test_a_state_of_another_run_is_refused(
    shards: PairShards, tokenizer: PairTokenizer, changes: dict[str, int], message: str
) -> None:
    state = loader(shards, tokenizer).state_dict()
    with pytest.raises(ConfigError, match=message):
        loader(shards, tokenizer, **changes).load_state_dict(state)


def test_a_state_of_other_data_is_refused(
    shards: PairShards, tokenizer: PairTokenizer, pair_folder: Path
) -> None:
    other = loader(PairShards.open(pair_folder / "test"), tokenizer)
    with pytest.raises(ConfigError, match=r"^data\.folder: .* is not the data of the checkpoint"):
        other.load_state_dict(loader(shards, tokenizer).state_dict())


def test_a_quarantine_after_the_checkpoint_is_named(
    tmp_path: Path, shards: PairShards, tokenizer: PairTokenizer
) -> None:
    state = loader(shards, tokenizer).state_dict()
    shutil.copytree(shards.folder, tmp_path / "train")
    (shard,) = (entry["name"] for entry in shards.manifest["shards"])
    quarantine_chunks(tmp_path / "train", shard, [3])
    with pytest.raises(ConfigError, match=r"^[^\n]*train: chunks went into quarantine after the checkpoint[^\n]*--undo"):
        loader(PairShards.open(tmp_path / "train"), tokenizer).load_state_dict(state)
    quarantine_chunks(tmp_path / "train", shard, [3], undo=True)
    loader(PairShards.open(tmp_path / "train"), tokenizer).load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_chunk_is_one_line_in_the_main_process(
    tmp_path: Path, shards: PairShards, tokenizer: PairTokenizer, workers: int
) -> None:
    damaged = loader(damage(shards, tmp_path / "train"), tokenizer, workers)
    with pytest.raises(CorruptChunk, match=r"^[^\n]*chunk \d+ [^\n]*cpt prep quarantine[^\n]*--data\.on_corrupt substitute$"):
        ids(damaged, BATCHES)
    handed_over = damaged.state_dict()["batches"]
    assert handed_over < BATCHES
    with pytest.raises(CorruptChunk):  # it is not skipped by trying again
        ids(damaged, BATCHES - handed_over)


def test_each_chunk_of_a_pass_is_read_once_by_one_worker_of_one_rank(
    shards: PairShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = PairShards.read_packed

    def counted(self: PairShards, i: int) -> list[dict[str, Any]]:
        read.append(i)
        return original(self, i)

    monkeypatch.setattr(PairShards, "read_packed", counted)
    # Each worker has a reader of its own, as in a run.
    readers = [ShareReader(plan_of(shards), rank=rank, world_size=2, workers=2) for rank in (0, 0, 1, 1)]
    for number in range(BATCHES):
        for at, reader in enumerate(readers):
            reader.read(number, at % 2)
    assert len(read) == len(set(read))
    assert len(read) >= len(shards.chunk_counts) - 1  # the last pairs are no whole batch


def damage(shards: PairShards, folder: Path) -> PairShards:
    """A copy in which one chunk is overwritten in its middle."""
    shutil.copytree(shards.folder, folder)
    tar = next(folder.glob("*.tar"))
    data = bytearray(tar.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2048] = bytes(2048)  # more than a header and padding
    tar.write_bytes(data)
    return PairShards.open(folder)


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_can_be_filled_from_the_chunk_before_it(
    shards: PairShards,
    tokenizer: PairTokenizer,
    workers: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = damage(shards, tmp_path / "train")
    sound = ids(loader(shards, tokenizer), BATCHES)
    filled = loader(damaged, tokenizer, workers, on_corrupt="substitute")
    found = ids(filled, BATCHES)
    filled.close()
    lost = {(a, b) for one, other in zip(sound, found, strict=True) for a, b in zip(one, other, strict=True) if a != b}
    assert 0 < len(lost) <= 32  # the records of one chunk, or of two
    assert len({b for _, b in lost}) == len(lost)
    said = capsys.readouterr()
    assert (said.out + said.err).count("on_corrupt: substitute") in (1, 2)
    # Resumed in the middle of it, by another number of workers, the same stand in.
    again = loader(damaged, tokenizer, 1, on_corrupt="substitute")
    state = filled.state_dict()
    again.load_state_dict({**state, "batches": 9})
    assert ids(again, BATCHES - 9) == found[9:]
    again.close()


def test_a_batch_carries_tokens_rows_hashes_and_negatives(
    shards: PairShards, tokenizer: PairTokenizer
) -> None:
    batch = next(iter(loader(shards, tokenizer, hard_negatives=2)))
    records = list(shards)
    chosen = [records[row] for row in batch.rows]
    assert batch.ids == [record["id"] for record in chosen]
    assert torch.equal(batch.x.ids, tokenizer([r["x"] for r in chosen], "x").ids)
    assert torch.equal(batch.y.ids, tokenizer([r["y"] for r in chosen], "y").ids)
    assert batch.negatives is not None
    assert torch.equal(batch.negatives.ids, tokenizer([r["negatives"][0] for r in chosen], "y").ids)
    np.testing.assert_array_equal(batch.hashes.numpy().view(np.uint64), shards.hashes[batch.rows.numpy()])
    assert next(iter(loader(shards, tokenizer))).negatives is None


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("DataLoader worker (pid 12) is killed by signal: Killed. ", True),
        ("DataLoader worker (pid(s) 12, 13) exited unexpectedly", True),
        ("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback: mine", False),
    ],
)
def test_a_workers_own_error_is_not_taken_for_a_kill(text: str, lost: bool) -> None:
    assert is_worker_lost(RuntimeError(text)) == lost
    if lost:
        assert str(worker_lost(RuntimeError(text))).endswith("fewer data.workers need less memory")
