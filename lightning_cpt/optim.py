"""What the optimizer is given: parameter groups and the learning rate's course."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_cpt.errors import ConfigError


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of the trainable parameters: tensors of two and more dimensions decay, the others never do.

    Biases, norms and the loss's scale have 0 or 1 dimension.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def learning_rate_factor(step: int, warmup_steps: int, total_steps: int, final_fraction: float) -> float:
    """Share of the peak learning rate at optimizer step ``step`` (from 0): a line up, then half a cosine down.

    It is 1 at step ``warmup_steps``, ``final_fraction`` at ``total_steps`` and after.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    course = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * course)) / 2


def warmup_cosine(
    optimizer: Optimizer, warmup_steps: int, total_steps: int, final_fraction: float
) -> LambdaLR:
    """A scheduler, stepped once per optimizer step, of :func:`learning_rate_factor`.

    Raises:
        ConfigError: a warm-up as long as the run, or a fraction outside 0 to 1.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ConfigError(
            f"warmup_steps: {warmup_steps} does not fit into a run of {total_steps} steps; use fewer"
        )
    if not 0 <= final_fraction <= 1:
        raise ConfigError(f"final_fraction: {final_fraction} is not between 0 and 1")
    return LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, warmup_steps, total_steps, final_fraction)
    )
