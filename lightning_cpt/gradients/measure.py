"""The gradient of one case on one rank, by group of parameters, and how far it is from the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.gather import rank_and_world_size
from lightning_cpt.gradients.cases import SMALL_TILE, Batch, Case, batches
from lightning_cpt.gradients.plain import PlainInfoNCE
from lightning_cpt.gradients.wide import InFloat64, compute_chunks_in_float64
from lightning_cpt.losses import InfoNCE
from lightning_cpt.memory import ActivationMemory
from lightning_cpt.ragged import Ragged

Gradients = dict[str, np.ndarray]  # group: its parameters' gradients, one behind the other

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bf16-mixed": torch.float32}


class Step(nn.Module):
    """Encoder and loss, wired as ContrastiveModule's training step has them."""

    def __init__(self, encoder: TextEncoder, loss: InfoNCE) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = loss

    def forward(self, batch: Batch) -> Tensor:
        parts = [batch.x, batch.y, batch.negatives]
        rows = self.encoder(Ragged.cat(parts)).split([len(part) for part in parts])
        hard = rows[2] if len(batch.negatives) else None
        loss: Tensor = self.loss(rows[0], rows[1], hard, batch.keys).loss
        return loss


@dataclass(frozen=True)
class Job:
    """What a rank is asked for.

    Args:
        case: The way to run the batch.
        precision: A key of ``DTYPES``.
        pairs: Of the whole batch.
        unused: Whether DDP looks for parameters without a gradient, as the recipe's strategy has it.
        plain: Take the gradient of our own loss by autograd, not by its own rule; a plug-in's stays what it is.
    """

    case: Case
    precision: str
    pairs: int
    unused: bool = False
    plain: bool = False


def gradients(step: Step, job: Job) -> Gradients:
    """The gradient of the mean of the case's batches' losses, after DDP where there are several ranks."""
    case = job.case
    rank, world_size = rank_and_world_size()
    _set_up(step.to(DTYPES[job.precision]), case)
    if job.precision == "float64":
        compute_chunks_in_float64(step.encoder)
    if job.plain and type(step.loss) is InfoNCE:
        step.loss = PlainInfoNCE(step.loss)
    running: nn.Module = step
    if torch.distributed.is_initialized():
        running = DistributedDataParallel(step, find_unused_parameters=job.unused)
    for at, batch in enumerate(batches(case, job.pairs, rank, world_size)):
        with _synchronised(running, at == case.micro - 1):
            with _computing(job.precision):
                loss = running(batch) / case.micro
            loss.backward()
    return by_group(step)


def _set_up(step: Step, case: Case) -> None:
    step.encoder.chunk_tokens = case.chunk_tokens
    step.encoder.memory = ActivationMemory(0 if case.recompute else "all")
    if case.masked:
        step.loss.mask = [0, 1, 2]  # by x, y and document
    if case.tiled:
        step.loss.tile_bytes = SMALL_TILE


def _computing(precision: str) -> AbstractContextManager[object]:
    """What the forward pass runs in; bf16-mixed is as Lightning's plugin does it, without a cache of weights."""
    if precision == "bf16-mixed":
        return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)
    return InFloat64() if precision == "float64" else nullcontext()


def _synchronised(model: nn.Module, last: bool) -> AbstractContextManager[object]:
    return nullcontext() if last or not isinstance(model, DistributedDataParallel) else model.no_sync()


def by_group(step: Step) -> Gradients:
    """Encoder, scale, and each further child or parameter of the loss, or of an encoder of one's own."""
    found: dict[str, list[np.ndarray]] = {}
    for name, parameter in step.named_parameters():
        if parameter.requires_grad:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            found.setdefault(group_of(name), []).append(grad.double().flatten().numpy())
    return {group: np.concatenate(parts) for group, parts in sorted(found.items(), key=_order)}


def group_of(name: str) -> str:
    """The group of a parameter of a Step."""
    part, child = name.split(".")[:2]
    if (part, child) == ("encoder", "backbone"):
        return "encoder"
    return "scale" if (part, child) == ("loss", "log_scale") else f"{part}.{child}"


def _order(item: tuple[str, object]) -> tuple[bool, bool, str]:
    return item[0] != "encoder", item[0] != "scale", item[0]


class Distance(NamedTuple):
    """How far a gradient is from the reference.

    Args:
        relative_error: |g - g_ref| / |g_ref|.
        ratio: |g| / |g_ref|.
        cosine: of the angle between the two.
    """

    relative_error: float
    ratio: float
    cosine: float


SAME = Distance(0.0, 1.0, 1.0)


def distances(
    found: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], noise: float
) -> dict[str, Distance]:
    """The distance of each group.

    Args:
        noise: Share of the whole gradient below which a group's own is nothing but rounding: what does not change
            the loss, such as a bias on all logits, has a gradient of exactly or nearly zero.
    """
    floor = noise * math.hypot(*(_norm(ref) for ref in reference.values()))
    return {group: _distance(found[group], ref, floor) for group, ref in reference.items()}


def _distance(g: np.ndarray, ref: np.ndarray, floor: float) -> Distance:
    size, wanted = _norm(g), _norm(ref)
    if size <= floor and wanted <= floor:
        return SAME
    if not math.isfinite(size + wanted) or wanted == 0:
        return Distance(math.inf, math.inf if wanted == 0 else math.nan, math.nan)
    cosine = float((g * ref).sum()) / (size * wanted) if size else math.nan
    return Distance(_norm(g - ref) / wanted, size / wanted, cosine)


def _norm(vector: np.ndarray) -> float:
    return math.sqrt(float((vector * vector).sum()))  # not by BLAS, whose threads would take the ranks' cores
