"""The check on real processes: a right recipe holds, wrong plug-ins are found, and the cause is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from lightning_cpt.errors import ConfigError
from lightning_cpt.gradients.cases import CASES, Case
from lightning_cpt.gradients.check import Found, build_twin, check, pickled
from lightning_cpt.gradients.ranks import Ranks
from lightning_cpt.gradients.verdict import diagnose


def ratios(found: Found, group: str, world_size: int = 2) -> list[float]:
    rows = [
        row for row in found.law if (row.group, row.world_size, row.dtype) == (group, world_size, "float64")
    ]
    return [row.distance.ratio for row in rows]


def test_two_ranks_hold_the_law_in_every_case(found: Callable[..., Found]) -> None:
    result = found([], CASES)
    assert result.holds
    assert len(result.law) == len(CASES) * 2 * 2 * 2
    assert len(result.mixed) == 4
    # Something was computed: not all rows are the reference itself.
    assert sum(row.distance.relative_error > 0 for row in result.law) > len(result.law) / 2


def test_a_factor_of_the_world_size(found: Callable[..., Found], plugins: str) -> None:
    result = found(["--model.loss.class_path", f"{plugins}.TimesWorldSize"])
    assert not result.holds
    assert ratios(result, "encoder") + ratios(result, "scale") == [pytest.approx(2)] * 2
    (line,) = diagnose(result.law)
    assert line.startswith("encoder, scale: W times the gradient on W ranks: a factor of the world size")


def test_detached_columns(found: Callable[..., Found], plugins: str) -> None:
    result = found(["--model.loss.class_path", f"{plugins}.DetachedColumns"])
    assert ratios(result, "scale") == [pytest.approx(1)]
    (line,) = diagnose(result.law)
    assert line.startswith("encoder: wrong direction on several ranks (cosine down to 0.")


def test_own_slice_put_back(found: Callable[..., Found], plugins: str) -> None:
    result = found(["--model.loss.class_path", f"{plugins}.OwnSlicePutBack"])
    assert ratios(result, "encoder") == [pytest.approx(0.5)]
    (line,) = diagnose(result.law)
    assert line.startswith("encoder: 1/W of the gradient on W ranks: gathered without gradient")


def test_a_plug_ins_own_parameters_and_an_encoder_of_ones_own(
    found: Callable[..., Found], plugins: str
) -> None:
    loss = ["--model.loss.class_path", f"{plugins}.WithHead", "--model.loss.init_args.width", "8"]
    own = {"class_path": f"{plugins}.Large", "init_args": {"width": 2048}}
    result = found(["--model.encoder", str(own), *loss], [Case("chunks", chunk_tokens=40, recompute=True)])
    assert result.holds
    groups = ["encoder", "scale", "encoder.projection", "loss.bias", "loss.head"]
    assert list(dict.fromkeys(row.group for row in result.law)) == groups


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (
            "Fails",
            r"the process, in the case 'the full batch' in float64, failed: ValueError: no such thing \(.*:\d+\)$",
        ),
        ("Dies", r"rank 1 of 2, in the case 'one chunk' in float64, died with exit status 3$"),
        ("Hangs", r"rank . of 2, in the case 'one chunk' in float64, gave no answer within 8 s"),
    ],
)
def test_a_rank_that_does_not_answer_is_one_line(plugin: str, message: str, plugins: str) -> None:
    step, _ = build_twin(["--config", "quickstart", "--model.loss.class_path", f"{plugins}.{plugin}"])
    with Ranks(2, patience=8.0) as ranks:
        pids = [process.pid for process, _ in ranks._ranks]
        ranks.load(pickled(step))
        with pytest.raises(ConfigError, match=message):
            check(ranks, (1, 2), cases=[Case("one chunk")], sequences=16)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_what_cannot_be_sent_to_the_ranks(plugins: str) -> None:
    step, _ = build_twin(["--config", "quickstart"])
    unpicklable: Any = lambda: 0  # noqa: E731
    step.loss.hook = unpicklable
    with pytest.raises(ConfigError, match=r"^model: cannot be sent to the ranks"):
        pickled(step)
