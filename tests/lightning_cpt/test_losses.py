"""InfoNCE against a loop over its definition, and its numerical care."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightning_cpt.errors import ConfigError
from lightning_cpt.losses import InfoNCE, info_nce


def units(rows: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    vectors = torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1).to(dtype)


def by_hand(x: Tensor, y: Tensor, scale: float, negatives: Tensor, rows: range) -> float:
    """The definition, one row at a time: x against every y and every hard negative, y against every x."""
    total = 0.0
    for i in rows:
        to_y = [scale * float(x[i] @ other) for other in [*y, *negatives]]
        to_x = [scale * float(y[i] @ other) for other in x]
        total -= to_y[i] - math.log(sum(map(math.exp, to_y)))
        total -= to_x[i] - math.log(sum(map(math.exp, to_x)))
    return total / (2 * len(rows))


@pytest.mark.parametrize("hard", [0, 6, 18])
@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 2), (1, 2), (2, 3)])
def test_rows_of_any_rank_equal_the_definition(hard: int, rank: int, world_size: int) -> None:
    n = 6 // world_size
    x, y, negatives = units(6, 1), units(6, 2), units(hard, 3)
    rows = range(rank * n, rank * n + n)
    result = info_nce(
        x[rows.start : rows.stop],
        y[rows.start : rows.stop],
        12.5,
        rank=rank,
        world_size=world_size,
        all_x=x,
        all_y=y,
        all_negatives=negatives if hard else None,
    )
    assert float(result.loss) == pytest.approx(by_hand(x, y, 12.5, negatives, rows), rel=1e-12)
    assert result.negatives_per_query == 5 + hard


def test_accuracies_count_the_right_answers() -> None:
    x = torch.eye(4)
    y = x[[0, 1, 1, 1]]
    result = info_nce(x, y, 10.0, rank=0, world_size=1, all_x=x, all_y=y)
    assert float(result.accuracy_x_to_y) == 0.25  # a tie is no hit
    assert float(result.accuracy_y_to_x) == 0.5
    negatives = x[:1] * 2  # beats the right y of the first x; y -> x does not see it
    harder = info_nce(x, y, 10.0, rank=0, world_size=1, all_x=x, all_y=y, all_negatives=negatives)
    assert float(harder.accuracy_x_to_y) == 0.0
    assert float(harder.accuracy_y_to_x) == 0.5


def test_autocast_does_not_reach_the_loss() -> None:
    x, y = units(256, 1, torch.float32), units(256, 2, torch.float32)
    y = torch.nn.functional.normalize(x + 0.3 * y, dim=-1)
    plain = info_nce(x, y, 100.0, rank=0, world_size=1, all_x=x, all_y=y)
    with torch.autocast("cpu", torch.bfloat16):
        inside = info_nce(x, y, 100.0, rank=0, world_size=1, all_x=x, all_y=y)
    assert torch.equal(plain.loss, inside.loss)
    low = info_nce(x.bfloat16(), y.bfloat16(), 100.0, rank=0, world_size=1, all_x=x, all_y=y)
    assert low.loss.dtype == torch.float32


def test_extreme_logits_stay_finite() -> None:
    x = units(4, 1, torch.float32)
    loss = info_nce(x, -x, 1000.0, rank=0, world_size=1, all_x=x, all_y=-x).loss
    assert torch.isfinite(loss)
    assert float(loss) > 100


def test_wrong_shapes_are_refused() -> None:
    x = units(4, 1)
    with pytest.raises(ValueError, match="on 2 ranks"):
        info_nce(x, x, 1.0, rank=0, world_size=2, all_x=x, all_y=x)


def test_the_scale_starts_at_clips_value_and_is_learned() -> None:
    loss = InfoNCE()
    assert float(loss.scale.detach()) == pytest.approx(1 / 0.07)
    assert loss.log_scale.dtype == torch.float32
    loss(units(4, 1, torch.float32), units(4, 2, torch.float32)).loss.backward()
    assert loss.log_scale.grad is not None
    assert not InfoNCE(learnable=False).log_scale.requires_grad


def test_the_clamp_holds_the_scale_at_100_and_leaves_the_rest() -> None:
    loss = InfoNCE()
    before = float(loss.log_scale.detach())
    loss.clamp_()
    assert float(loss.log_scale.detach()) == before
    with torch.no_grad():
        loss.log_scale.fill_(9.0)
    loss.clamp_()
    assert float(loss.scale.detach()) == pytest.approx(100, rel=1e-6)
    loss(units(4, 1, torch.float32), units(4, 2, torch.float32)).loss.backward()
    assert float(loss.log_scale.grad) != 0  # type: ignore[arg-type]  # at the bound it still learns


@pytest.mark.parametrize("temperature", [0.0, -1.0, 0.001, float("nan")])
def test_an_impossible_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match="initial_temperature"):
        InfoNCE(temperature)
