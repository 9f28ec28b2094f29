"""Parameter groups and the learning rate's course."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from lightning_cpt.errors import ConfigError
from lightning_cpt.losses import InfoNCE
from lightning_cpt.optim import learning_rate_factor, parameter_groups, warmup_cosine


def test_vectors_and_the_scale_never_decay() -> None:
    module = nn.ModuleDict({"linear": nn.Linear(3, 4), "norm": nn.LayerNorm(4), "loss": InfoNCE()})
    decayed, spared = parameter_groups(module, 0.1)
    assert decayed == {"params": [module["linear"].weight], "weight_decay": 0.1}
    assert spared["weight_decay"] == 0
    assert {id(p) for p in spared["params"]} == {id(p) for p in module.parameters() if p.ndim < 2}


def test_frozen_parameters_and_empty_groups_are_left_out() -> None:
    layer = nn.Linear(3, 4).requires_grad_(False)
    assert parameter_groups(layer, 0.1) == []


def test_the_course_goes_up_and_down() -> None:
    course = [learning_rate_factor(step, 4, 20, 0.1) for step in range(25)]
    assert course[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(a > b for a, b in pairwise(course[4:21]))
    assert course[12] == pytest.approx(0.55)  # half-way between 1 and 0.1
    assert course[20:] == [pytest.approx(0.1)] * 5


def test_the_scheduler_follows_the_pure_function_and_resumes() -> None:
    def fresh() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
        return optimizer, warmup_cosine(optimizer, 2, 10, 0.0)

    optimizer, scheduler = fresh()
    for step in range(12):
        assert optimizer.param_groups[0]["lr"] == 2 * learning_rate_factor(step, 2, 10, 0.0)
        if step == 5:
            later, resumed = fresh()
            later.load_state_dict(optimizer.state_dict())
            resumed.load_state_dict(scheduler.state_dict())
        optimizer.step()
        scheduler.step()
    for step in range(5, 12):
        assert later.param_groups[0]["lr"] == 2 * learning_rate_factor(step, 2, 10, 0.0)
        later.step()
        resumed.step()


@pytest.mark.parametrize(
    ("warmup", "total", "final", "key"), [(10, 10, 0, "warmup_steps"), (0, 5, 2, "final_fraction")]
)
def test_an_impossible_course_is_refused(warmup: int, total: int, final: float, key: str) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    with pytest.raises(ConfigError, match=key):
        warmup_cosine(optimizer, warmup, total, final)
