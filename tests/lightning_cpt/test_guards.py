"""What stops a training: losses and gradients that are no numbers, memory that has run out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_cpt.data.batch import PairBatch
from lightning_cpt.errors import TrainingError
from lightning_cpt.gather import rank_and_world_size
from lightning_cpt.guards import (
    Named,
    check_gradient,
    check_loss,
    gradient_norm,
    is_out_of_memory,
    is_rank_lost,
    smaller,
)
from lightning_cpt.memory import ActivationMemory
from lightning_cpt.module import ContrastiveModule
from lightning_cpt.ragged import Ragged

NAN = float("nan")


def batch(n: int) -> PairBatch:
    texts = Ragged.from_lists([[1, 2]] * n)
    rows = torch.arange(n)
    made = PairBatch(
        texts, texts, None, [f"pair{i}" for i in range(n)], rows, torch.empty((0, 3), dtype=torch.int64)
    )
    made.sources = ["books"] * n
    return made


def on_one_of_two(rank_of_the_bad: int, bad: list[int], hard: list[int], elsewhere: float) -> str:
    """What check_loss says on this rank where one rank has bad records; ``elsewhere`` is the loss on the other."""
    rank, _ = rank_and_world_size()
    mine = rank == rank_of_the_bad
    sides = vectors(4, *(bad if mine else []))
    sides.append(vectors(6, *(hard if mine else []))[0])
    made = batch(4)
    made.ids = [f"rank{rank}-{i}" for i in range(4)]
    try:
        check_loss(torch.tensor(NAN if mine else elsewhere), sides, made, 7)
    except TrainingError as error:
        return str(error)
    return ""


def vectors(n: int, *bad: int) -> list[Tensor]:
    x, y = torch.ones(n, 3), torch.ones(n, 3)
    for row in bad:
        (x if row % 2 else y)[row, 1] = NAN
    return [x, y]


def test_a_number_passes() -> None:
    check_loss(torch.tensor(3.0), vectors(4), batch(4), 7)


def test_the_records_without_a_vector_are_named() -> None:
    with pytest.raises(
        TrainingError,
        match=r"step 7: the loss is nan \(2 of 9 records .*: 'pair2' of books, 'pair5' of books\)",
    ):
        check_loss(torch.tensor(NAN), vectors(9, 2, 5), batch(9), 7)
    with pytest.raises(TrainingError, match=r"'pair4' of books \.\.\.\)"):
        check_loss(torch.tensor(NAN), vectors(9, *range(7)), batch(9), 7)


@pytest.mark.parametrize(
    ("counts", "bad", "text"),
    [
        ([], (1,), "nor has a hard negative"),
        ([], (1, 3), "nor have 2 hard negatives"),
        ([0, 3, 1], (1,), "nor has a hard negative of 'pair1' of books"),
        ([0, 3, 1], (1, 3), "nor have 2 hard negatives of 'pair1' of books, 'pair2' of books"),
        ([2, 0, 2], (3,), "nor has a hard negative of 'pair2' of books"),
        ([2, 0, 2], (1,), "nor has a hard negative of 'pair0' of books"),
    ],
)
def test_the_record_of_a_hard_negative_without_a_vector_is_named(
    counts: list[int], bad: tuple[int, ...], text: str
) -> None:
    sides, made = [*vectors(3), vectors(4, *bad)[0]], batch(3)
    made.negative_counts = torch.tensor(counts, dtype=torch.int64)
    with pytest.raises(TrainingError, match=rf"\(0 of 3 records .*; {text}\); .* data.hard_negatives 0$"):
        check_loss(torch.tensor(NAN), sides, made, 7)


@pytest.mark.parametrize("elsewhere", [NAN, 2.0])
def test_all_ranks_name_the_record_of_one(gloo_pool: Any, elsewhere: float) -> None:
    """Also where the loss is a number on the rank without the record: it must not be left waiting, nor wait."""
    first, second = gloo_pool.run(2, on_one_of_two, 1, [2], [1], elsewhere)
    assert first == second
    assert first.startswith(
        "step 7: the loss is nan (1 of 8 records have no finite vector: 'rank1-2' of books;"
    )
    assert first.endswith(
        "nor has a hard negative); look at these records with `cpt prep head`, and leave them out"
    )


def test_a_rank_without_any_vector_is_no_weights_that_ran_away(gloo_pool: Any) -> None:
    first, second = gloo_pool.run(2, on_one_of_two, 0, [0, 1, 2, 3], [], NAN)
    assert first == second
    assert "4 of 8 records have no finite vector" in first
    assert "run away" not in first


def test_finite_on_all_ranks_passes(gloo_pool: Any) -> None:
    assert gloo_pool.run(2, on_one_of_two, 5, [], [], 2.0) == ["", ""]


@pytest.mark.parametrize("bad", [(), (0, 1, 2)])
def test_weights_that_ran_away_have_another_cure(bad: tuple[int, ...]) -> None:
    with pytest.raises(TrainingError, match=r"lower model\.learning_rate"):
        check_loss(torch.tensor(float("inf")), vectors(3, *bad), batch(3), 0)


def test_the_norm_is_that_of_all_gradients_together() -> None:
    parameters = [nn.Parameter(torch.zeros(n)) for n in (2, 3, 4)]
    parameters[0].grad, parameters[1].grad = torch.full((2,), 2.0), torch.full((3,), -1.0)
    norm = gradient_norm(parameters)
    assert float(norm) == pytest.approx(11**0.5)
    check_gradient(norm, [], 1)
    parameters[1].grad[0] = NAN  # type: ignore[index]
    with pytest.raises(
        TrainingError, match=r"step 1: the gradient's norm is nan .* records that are not known;"
    ):
        check_gradient(gradient_norm(parameters), [], 1)


def gradient_on_two(norms: list[float]) -> str:
    """What check_gradient says on this rank, after two batches."""
    rank, _ = rank_and_world_size()
    batches = [Named([f"rank{rank}-{i}"], sources) for i, sources in enumerate([["books"], []])]
    try:
        check_gradient(torch.tensor(norms[rank]), batches, 3)
    except TrainingError as error:
        return str(error)
    return ""


def test_the_records_of_all_ranks_gradients_are_named(gloo_pool: Any) -> None:
    names = "4 records: 'rank0-0' of books, 'rank0-1', 'rank1-0' of books, 'rank1-1'; go on"
    for norms in ([NAN, NAN], [1.0, NAN]):  # the second by a plug-in whose gradients are not all exchanged
        lines = gloo_pool.run(2, gradient_on_two, norms)
        assert lines[0] == lines[1]
        assert names in lines[0]
        assert "norm is nan" in lines[0]
    assert gloo_pool.run(2, gradient_on_two, [2.0, 1.0]) == ["", ""]


def test_lack_of_memory_is_known() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    )
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize(
    ("setting", "found", "proposed"),
    [
        ("all", None, "activation_memory auto"),
        ("auto", 3 << 30, "activation_memory 1.5GiB"),
        ("auto", None, "chunk_tokens 32768"),  # the first step keeps nothing yet
        ("64GiB", None, "activation_memory 32GiB"),
        ("500 MB", None, "activation_memory 250MB"),
        (5_000_000, None, "activation_memory 2500000"),
        ("1", None, "activation_memory 0"),
        (0, None, "chunk_tokens 32768"),
        ("0GiB", None, "chunk_tokens 32768"),
    ],
)
def test_the_next_smaller_budget_is_proposed(setting: Any, found: float | None, proposed: str) -> None:
    memory = ActivationMemory(setting)
    memory._found, memory.kept = found, 3
    line = smaller(65536, memory, 512, training=True)
    assert line == f"model.encoder.{proposed}"
    if "activation" in line:
        assert ActivationMemory(line.split()[1]).budget < memory.budget
    assert smaller(65536, memory, 512, training=False) == "model.encoder.chunk_tokens 32768"


def test_a_smaller_budget_is_not_proposed_where_one_chunk_alone_was_to_be_kept() -> None:
    memory = ActivationMemory("64GiB")
    memory.kept = 1
    assert smaller(65536, memory, 512, training=True) == "model.encoder.chunk_tokens 32768"


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:55988: Connection reset by peer.", True),
        ("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4321", True),
        ("NCCL error: remote process exited or there was a network error", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_a_rank_that_went_away_is_told_from_other_errors(text: str, lost: bool) -> None:
    assert is_rank_lost(RuntimeError(text)) == lost


def test_the_smallest_chunks_leave_a_smaller_batch() -> None:
    assert smaller(1024, ActivationMemory(0), 512, training=True) == "data.batch_size 256"


def test_validation_keeps_nothing_that_a_smaller_budget_could_free(
    here: Callable[..., Any], recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(ContrastiveModule, "validation_step", full)
    file = recipe({"model.encoder.activation_memory": "all", "model.encoder.chunk_tokens": 4096})
    _, err = here("validate", "--config", file, status=2)
    assert err.splitlines()[-1] == "cpt: error: out of memory; try --model.encoder.chunk_tokens 2048"


# Seen by `cpt` under the name `breaker`: spoils a weight, a gradient, or has no memory, at step 3.
BREAKER = """
import torch
from lightning.pytorch import Callback

class Breaker(Callback):
    def __init__(self, what: str) -> None:
        self.what = what

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 3 and self.what == "weight":
            pl_module.encoder.backbone.wte.weight.data[7:] = float("nan")
        if trainer.global_step == 3 and self.what == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step == 3 and self.what == "gradient":
            pl_module.loss.log_scale.grad.fill_(float("inf"))
"""


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("weight", "step 3: the loss is nan (16 of 16 records have no finite vector: 'train"),
        ("gradient", "step 3: the gradient's norm is inf at a finite loss, in a step of 16 records: 'train"),
        ("memory", "out of memory; try --model.encoder.activation_memory "),
    ],
)
def test_a_run_stops_in_one_line_and_its_checkpoint_stays_good(
    what: str, line: str, tmp_path: Path, here: Callable[..., Any], recipe: Callable[..., Path]
) -> None:
    (tmp_path / "breaker.py").write_text(BREAKER)
    callbacks = [{"class_path": "breaker.Breaker", "init_args": {"what": what}}]
    changes = {"trainer.callbacks": callbacks, "trainer.max_steps": 6, "run.checkpoint_every": 1}
    _, err = here("fit", "--config", recipe(changes), status=2)
    assert line in err.splitlines()[-1]
    assert "Traceback" not in err
    assert f"go on from step 3 with: cpt fit --ckpt_path {Path('run') / 'last.ckpt'}" in err
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())
