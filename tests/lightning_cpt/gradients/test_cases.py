"""The cases do what their names say, float64 is float64 throughout, and 16-bit sums are noticed."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import lightning_cpt.cross_entropy
from lightning_cpt import encoder as encoder_module
from lightning_cpt.cross_entropy import Rivals, _Sums
from lightning_cpt.gradients import measure
from lightning_cpt.gradients.cases import CASES, PAIRS, Case, batches, pairs_for
from lightning_cpt.gradients.check import build_twin, check, mixed_jobs
from lightning_cpt.gradients.measure import Gradients, Job, Step, distances, gradients
from lightning_cpt.gradients.plain import PlainInfoNCE
from lightning_cpt.gradients.verdict import diagnose, mixed_rows
from lightning_cpt.gradients.wide import InFloat64
from lightning_cpt.losses import InfoNCE
from lightning_cpt.ragged import Ragged

NAMED = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def step() -> Step:
    return build_twin(["--config", "quickstart"])[0]


def run(step: Step, case: Case, precision: str = "float64", pairs: int = PAIRS) -> tuple[Gradients, Step]:
    mine = copy.deepcopy(step)
    return gradients(mine, Job(case, precision, pairs)), mine


class Here:
    """Stands for the ranks, in this process, where a test can spoil what they run."""

    beside = 0

    def __init__(self, step: Step) -> None:
        self._step = step

    def run(self, world_size: int, job: Job) -> list[Gradients]:
        return [gradients(copy.deepcopy(self._step), job)]

    def send(self, ranks: Any, job: Job) -> None:
        pass

    def receive(self, ranks: Any, job: Job) -> list[Gradients]:
        return self.run(1, job)


def spoilt_groups(step: Step, cases: Any = CASES) -> dict[str, set[str]]:
    """The cases in which a group breaks the law on one rank."""
    ranks: Any = Here(step)
    broken: dict[str, set[str]] = {}
    for row in check(ranks, (1,), cases=cases, sequences=16).law:
        if not row.ok:
            broken.setdefault(row.group, set()).add(row.case)
    return broken


def test_a_wrong_gradient_of_the_scale_is_found_on_one_rank(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = _Sums._scale_gradients

    def wrong(self: _Sums) -> None:
        right(self)
        self.scale_grad *= 1.001

    monkeypatch.setattr(_Sums, "_scale_gradients", wrong)
    assert spoilt_groups(step) == {"scale": set(NAMED)}


def test_a_wrong_share_is_found_on_one_rank(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    right = _Sums._differentiate

    def wrong(self: _Sums, logits: Tensor, tile: slice) -> None:
        logits[:, -1] += 0.01  # of the last column
        right(self, logits, tile)

    monkeypatch.setattr(_Sums, "_differentiate", wrong)
    assert spoilt_groups(step) == {"encoder": set(NAMED), "scale": set(NAMED)}


def test_a_mask_that_hides_too_little_is_found_on_one_rank(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rivals, "hide", lambda *_: 0)
    assert spoilt_groups(step)["encoder"] == {"false negatives masked", "all of these"}


def test_the_plain_loss_is_for_our_own_alone(step: Step) -> None:
    class Other(InfoNCE):
        pass

    for loss, plain in ((InfoNCE(), True), (Other(), False)):
        mine = Step(copy.deepcopy(step.encoder), loss)
        gradients(mine, Job(Case("the full batch"), "float64", 4, plain=True))
        assert isinstance(mine.loss, PlainInfoNCE) == plain


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 16])
def test_the_ranks_share_the_batch_evenly(world_size: int) -> None:
    case = NAMED["all of these"]
    pairs = pairs_for(world_size)
    whole = list(batches(case, pairs, 0, 1))
    shares = [list(batches(case, pairs, rank, world_size)) for rank in range(world_size)]
    assert len(whole) == 2
    for at, batch in enumerate(whole):
        for name in ("x", "y", "negatives"):
            parts = [getattr(share[at], name) for share in shares]
            assert torch.equal(Ragged.cat(parts).ids, getattr(batch, name).ids)
        assert {len(share[at].x) for share in shares} == {pairs // world_size}
        keys: Any = [share[at].keys for share in shares]
        assert torch.equal(torch.cat([k.pairs for k in keys]), batch.keys.pairs)  # type: ignore[union-attr]
        assert torch.equal(torch.cat([k.negatives for k in keys]), batch.keys.negatives)  # type: ignore[union-attr]


def test_chunks_are_cut_kept_and_computed_again(step: Step) -> None:
    work = {name: run(step, NAMED[name])[1].encoder.work for name in NAMED}
    assert [work["one chunk"].chunks, work["one chunk"].kept_chunks] == [1, 1]  # type: ignore[union-attr]
    kept, again = work["chunks, kept"], work["chunks, recomputed"]
    assert kept.kept_chunks == kept.chunks == again.chunks > 4  # type: ignore[union-attr]
    assert again.kept_chunks == 1  # type: ignore[union-attr]


def test_masking_and_negatives_change_the_gradient(step: Step) -> None:
    plain, _ = run(step, NAMED["uneven negatives"])
    for name in ("one chunk", "3 hard negatives", "false negatives masked"):
        assert distances(run(step, NAMED[name])[0], plain, 0.0)["encoder"].relative_error > 0.01


def test_the_tiles_are_several(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = []
    logits = lightning_cpt.cross_entropy._Sums._logits
    monkeypatch.setattr(
        lightning_cpt.cross_entropy._Sums,
        "_logits",
        lambda self, tile: tiles.append(tile) or logits(self, tile),
    )
    run(step, NAMED["one chunk"])
    assert len(tiles) == 1
    run(step, NAMED["loss in tiles"], "float32", pairs=4)
    assert len({(tile.start, tile.stop) for tile in tiles[1:]}) == 2


def test_whatever_asks_for_float32_gets_float64() -> None:
    x = torch.ones(2, dtype=torch.float64)
    with InFloat64():
        results = [
            x.float(),
            x.to(torch.float32),
            x.to(dtype=torch.float32),
            torch.zeros(2, dtype=torch.float32),
        ]
        results.append(torch.softmax(x, 0, dtype=torch.float32))
    assert {result.dtype for result in results} == {torch.float64}
    assert x.float().dtype == torch.float32


def test_sums_in_16_bits_break_the_law_of_many_chunks(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> list[Any]:
        reference, one, many = (gradients(copy.deepcopy(step), job) for job in mixed_jobs(256))
        return mixed_rows(one, many, reference, ("one chunk", "256 chunks"))

    assert all(row.ok for row in rows())
    # The cache's 16-bit copies of the weights collect the chunks' gradients in 16 bits, where all chunks are one graph.
    monkeypatch.setattr(encoder_module, "Recompute", lambda module, lookups: None)
    monkeypatch.setattr(encoder_module, "summable", lambda module: False)
    assert all(row.ok for row in rows())
    cached = torch.autocast("cpu", torch.bfloat16, cache_enabled=True)
    plain = measure._computing
    monkeypatch.setattr(measure, "_computing", lambda p: cached if p == "bf16-mixed" else plain(p))
    broken = rows()
    assert not all(row.ok for row in broken)
    assert diagnose(broken)[0].startswith("encoder: bf16-mixed drifts from float32 with the number of chunks")


def test_many_chunks_are_one_sequence_each(step: Step) -> None:
    _, _, many = mixed_jobs(64)
    mine = copy.deepcopy(step)
    gradients(mine, replace(many, precision="float32"))
    assert mine.encoder.work.chunks == mine.encoder.work.sequences == 64  # type: ignore[union-attr]
