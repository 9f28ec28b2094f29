"""The callback in real runs out of a recipe: its numbers against the data, the same losses, two ranks."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data_prep.pairs import Pair
from data_prep.shards import open_splits, write_shards
from lightning_cpt.callbacks.batch_audit import BatchAudit
from lightning_cpt.data.batch import PairBatch
from lightning_cpt.errors import ConfigError
from lightning_cpt.gather import rank_and_world_size
from lightning_cpt.ragged import Ragged

AUDIT = "lightning_cpt.callbacks.batch_audit.BatchAudit"
# Ends a run in the middle, as a full clock does.
STOPPER = """
import os
from lightning.pytorch import Callback

class Stopper(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.should_stop = trainer.global_step == int(os.environ.get("STOP_AT", 0))
"""


def callbacks(folder: Path, every: int | None) -> list[dict[str, Any]]:
    """The recorder of losses and ids, what stops a run, and the audit."""
    (folder / "stopper.py").write_text(STOPPER)
    found: list[dict[str, Any]] = [
        {"class_path": "recorder.Recorder", "init_args": {"folder": str(folder)}},
        {"class_path": "stopper.Stopper"},
    ]
    return found + ([{"class_path": AUDIT, "init_args": {"every_n_steps": every}}] if every else [])


def audit_of(folder: Path) -> dict[str, Any]:
    def strict(name: str) -> Any:
        raise ValueError(name)

    text = (folder / "batch_audit.json").read_text()
    found: dict[str, Any] = json.loads(text, parse_constant=strict)
    return found


def test_one_source_against_its_shards(
    tmp_path: Path, here: Callable[..., Any], recipe: Callable[..., Path], pair_folder: Path
) -> None:
    """Every step audited: what was cut and how long it was is known from the shards, the rest from the log."""
    changes = {"trainer.callbacks": callbacks(tmp_path, 1), "data.hard_negatives": 1, "trainer.max_steps": 5}
    _, err = here("fit", "--config", recipe(changes))
    found = audit_of(tmp_path / "run")
    (row,) = found["sources"].values()
    assert (found["first_step"], found["last_step"], found["audited_steps"]) == (1, 5, [1, 2, 3, 4, 5])
    records = {record["id"]: record for record in open_splits(pair_folder)["train"]}
    ids = [name for line in (tmp_path / "ids-0.txt").read_text().splitlines() for name in json.loads(line)[1]]
    assert row["pairs"] == row["audited_pairs"] == len(ids) == 5 * 16
    for side in "xy":
        lengths = [len(records[name][side]) for name in ids]  # one token is one byte
        assert row[f"cut_{side}"] == pytest.approx(sum(n > 22 for n in lengths) / 80)
        assert 0 < row[f"cut_{side}"] < 1
        assert row[f"tokens_{side}"] == pytest.approx(sum(min(n, 22) + 2 for n in lengths) / 80, rel=1e-5)
    assert (row["share_wanted"], row["share_had"]) == (1, 1)
    logged = csv_rows(tmp_path / "run")
    for name, key in (
        ("masked_per_query", "train/masked_per_query"),
        ("negatives_per_query", "train/negatives_per_query"),
    ):
        assert row[name] == pytest.approx(sum(float(r[key]) for r in logged) / 5, rel=1e-4)
    table = [line for line in err.splitlines() if line.startswith("cpt: ")]
    assert any(line.split()[1:3] == ["toy", "80"] for line in table)


def test_a_folder_that_cannot_be_written_ends_no_run(
    tmp_path: Path, here: Callable[..., Any], recipe: Callable[..., Path]
) -> None:
    (tmp_path / "taken").write_text("")
    audit = {"class_path": AUDIT, "init_args": {"folder": str(tmp_path / "taken")}}
    _, err = here("fit", "--config", recipe({"trainer.callbacks": [audit], "trainer.max_steps": 5}))
    assert "taken: cannot be written (File exists); the run goes on" in err
    assert (tmp_path / "run" / "last.ckpt").exists()


def csv_rows(folder: Path) -> list[dict[str, str]]:
    with next(folder.glob("logs/version_*/metrics.csv")).open() as file:
        return [row for row in csv.DictReader(file) if row.get("train/masked_per_query")]


@pytest.fixture
def two_sources(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """One of plain pairs, and one whose pairs come in threes: of one x, one y or one document."""
    found = {}
    for name in ("plain", "threes"):
        pairs = []
        for at in range(160):
            third = at // 3 if name == "threes" else at
            kind = at // 3 % 3 if name == "threes" else -1
            x, y, document = (
                f"{name} {third if kind == k else at} {side}" for k, side in enumerate(("x", "y", "d"))
            )
            pairs.append(Pair(id=f"{name}{at}", x=x, y=y, source=name, meta={"document": document}))
        write_shards(tmp_path / name / "train", pairs, source=name, records_per_chunk=16)
        found[name] = {"folder": str(tmp_path / name), "weight": {"plain": 3, "threes": 1}[name]}
    return found


@pytest.mark.parametrize("mixing", ["single_source", "mixed"])
def test_a_row_for_each_source(
    tmp_path: Path,
    here: Callable[..., Any],
    recipe: Callable[..., Path],
    two_sources: dict[str, Any],
    mixing: str,
) -> None:
    changes = {
        "trainer.callbacks": callbacks(tmp_path, 3),
        "trainer.max_steps": 16,
        "data.folder": None,
        "data.sources": two_sources,
        "data.mixing": mixing,
    }
    here("fit", "--config", recipe(changes))
    found = audit_of(tmp_path / "run")
    assert found["audited_steps"] == [1, 3, 6, 9, 12, 15, 16]
    steps = [json.loads(line)[1] for line in (tmp_path / "ids-0.txt").read_text().splitlines()]
    assert len(steps) == 16
    for name, row in found["sources"].items():
        seen = sum(one.startswith(name) for ids in steps for one in ids)
        assert row["pairs"] == seen
        assert row["share_had"] == pytest.approx(seen / 256, rel=1e-5)
        assert row["share_wanted"] == {"plain": 0.75, "threes": 0.25}[name]
        audited = [[i for i in steps[at - 1] if i.startswith(name)] for at in found["audited_steps"]]
        assert row["audited_pairs"] == sum(map(len, audited))
        assert row["duplicate_x"] == sum(map(repeated, audited)) * (name == "threes")
    assert found["sources"]["threes"]["duplicate_x"] > 0 or mixing == "mixed"
    assert (found["sources"]["plain"]["padding"] is None) == (mixing == "mixed")
    assert 0 < found["all"]["padding"] < 1
    assert found["all"]["audited_pairs"] == 7 * 16
    masked = {int(r["step"]) + 1: float(r["train/masked_per_query"]) for r in csv_rows(tmp_path / "run")}
    mean = sum(masked[step] for step in found["audited_steps"]) / 7
    assert found["all"]["masked_per_query"] == pytest.approx(mean, rel=1e-4)
    assert mean > 0 or mixing == "mixed"
    assert {pair["source"] for pair in found["pairs"]} == {"plain", "threes"}
    for pair in found["pairs"]:
        number = pair["id"].removeprefix(pair["source"])
        # The tiny tokenizer has no decoder: tokens, which are bytes, with spaces between them.
        x, y = (pair[side].replace(" ", "").replace("Ġ", " ") for side in "xy")
        assert y.startswith(f"<y>{pair['source']} ")
        assert x.endswith(" x</x>")
        assert number in x or pair["source"] == "threes"
    assert "&lt;y&gt; p l a i n" in (tmp_path / "run" / "batch_audit.html").read_text()


def repeated(ids: list[str]) -> int:
    """Pairs whose x a pair before them has: those of one third whose number is a multiple of three."""
    thirds = [int(i.removeprefix("threes")) // 3 for i in ids if i.startswith("threes")]
    return sum(count - 1 for third, count in Counter(thirds).items() if third % 3 == 0)


def test_losses_are_the_same_bits_with_it_also_through_a_resume(
    tmp_path: Path, here: Callable[..., Any], recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unbroken and without the audit, against stopped at step 9, continued from there, and audited all the time."""
    common: dict[str, Any] = {
        "data.token_dropout": 0.2,  # beside the model's own dropout
        "data.workers": 1,
        "trainer.max_steps": 14,
        "trainer.val_check_interval": 5,
        "run.checkpoint_every": 6,
    }
    here("fit", "--config", recipe({**common, "trainer.callbacks": callbacks(tmp_path, None)}))
    plain = losses(tmp_path)
    audited = {
        **common,
        "trainer.callbacks": callbacks(tmp_path, 2),
        "run.folder": str(tmp_path / "audited"),
    }
    monkeypatch.setenv("STOP_AT", "9")
    here("fit", "--config", recipe(audited))
    assert audit_of(tmp_path / "audited")["audited_steps"] == [1, 2, 4, 6, 8, 9]
    monkeypatch.delenv("STOP_AT")
    last = tmp_path / "audited" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 9
    here("fit", "--ckpt_path", last)
    found = audit_of(tmp_path / "audited")
    assert (found["first_step"], found["last_step"]) == (10, 14)
    assert found["audited_steps"] == [10, 12, 14]
    assert losses(tmp_path) == plain
    assert len(plain) == 14
    assert len({line.split()[0] for line in plain.values()}) == 14


def losses(folder: Path) -> dict[int, str]:
    """Step -> the loss in full and the first pair's id; the file is taken away."""
    path = folder / "losses-0.txt"
    lines = path.read_text().splitlines()
    path.unlink()
    return {int(line.split()[0]): line.split(maxsplit=1)[1] for line in lines}


def test_accumulated_batches_all_count_but_one_of_each_step_is_audited(
    tmp_path: Path, here: Callable[..., Any], recipe: Callable[..., Path]
) -> None:
    changes = {
        "trainer.callbacks": [{"class_path": AUDIT}],  # every step, as the recipe logs every step
        "trainer.accumulate_grad_batches": 3,
        "trainer.max_steps": 3,
    }
    here("fit", "--config", recipe(changes))
    (row,) = audit_of(tmp_path / "run")["sources"].values()
    assert (row["pairs"], row["audited_pairs"]) == (9 * 16, 3 * 16)


def test_a_trial_run_writes_nothing(
    tmp_path: Path, here: Callable[..., Any], recipe: Callable[..., Path]
) -> None:
    path = recipe({"trainer.callbacks": [{"class_path": AUDIT}], "trainer.fast_dev_run": True})
    _, err = here("fit", "--config", path)
    assert "negatives" in err
    assert not list(tmp_path.rglob("batch_audit.*"))


def hooks(folder: str) -> dict[str, Any] | None:
    """Two steps of this rank's halves of a batch of eight, through the callback's hooks; rank 0's file."""
    rank, world_size = rank_and_world_size()
    hashes = torch.tensor([[1, 5, 9], [2, 6, 9], [1, 7, 8], [3, 6, 7]] * 2)
    mine = slice(rank * 8 // world_size, (rank + 1) * 8 // world_size)
    n = 8 // world_size
    side = Ragged.from_lists([[1, 2, 3]] * n)
    batch = PairBatch(
        side,
        side,
        None,
        [f"p{at}" for at in range(mine.start, mine.stop)],
        torch.arange(8)[mine],
        hashes[mine],
        sources=(["a"] * 5 + ["b"] * 3)[mine],
        cut=torch.tensor([[at == 7, at < 2] for at in range(8)])[mine],
    )
    trainer: Any = SimpleNamespace(
        world_size=world_size,
        is_global_zero=rank == 0,
        global_step=0,
        log_every_n_steps=50,
        fast_dev_run=False,
        default_root_dir=folder,
        train_dataloader=None,
    )
    module: Any = SimpleNamespace(
        loss=SimpleNamespace(mask=[0, 1]),
        encoder=SimpleNamespace(work=SimpleNamespace(padded_tokens=8 * n)),
    )
    callback = BatchAudit()
    callback.setup(trainer, module, "fit")
    callback.on_train_start(trainer, module)
    for step in (1, 2):
        callback.on_before_backward(trainer, module, torch.zeros(()))
        trainer.global_step = step
        callback.on_train_batch_end(trainer, module, None, batch, step - 1)
    callback.on_train_end(trainer, module)
    return audit_of(Path(folder)) if rank == 0 else None


def test_two_ranks_are_counted_together(gloo_pool: Any, tmp_path: Path) -> None:
    (alone,) = gloo_pool.run(1, hooks, str(tmp_path))
    both = gloo_pool.run(2, hooks, str(tmp_path))
    assert both[1] is None
    assert both[0]["ranks"] == 2
    assert {**both[0], "ranks": 1, "pairs": []} == {**alone, "pairs": []}
    row = both[0]["all"]
    assert (row["pairs"], row["audited_pairs"], row["duplicate_x"], row["duplicate_y"]) == (16, 16, 10, 10)
    assert both[0]["sources"]["a"]["cut_y"] == 0.4
    assert row["padding"] == 0.25
    assert both[0]["audited_steps"] == [1, 2]


@pytest.mark.parametrize(("key", "value"), [("every_n_steps", 0), ("pairs", -1)])
def test_settings_that_make_no_sense(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"BatchAudit.{key}: {value}"):
        BatchAudit(**{key: value})  # type: ignore[arg-type]
