"""Stops a training that goes wrong while its last checkpoint is still good, and says what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lightning_cpt.data.batch import PairBatch
from lightning_cpt.errors import TrainingError
from lightning_cpt.gather import whole

_SHOWN = 5  # ids in one line
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|failed to allocate", re.IGNORECASE)


def check_loss(loss: Tensor, vectors: list[Tensor], batch: PairBatch, step: int) -> None:
    """Stop at a loss that is no number; it is none on any rank then, as all ranks' vectors are in it.

    Args:
        vectors: of x and of y, ``(n, dim)`` each, and of negatives.
        step: optimizer steps done.

    Raises:
        TrainingError: naming the step, and the records whose vectors are no numbers.
    """
    if torch.isfinite(loss):
        return
    bad = ~torch.stack([torch.isfinite(side.detach()).all(1) for side in vectors[:2]]).all(0)  # (n,)
    ids = [_name(batch, i) for i in bad.nonzero().squeeze(1).tolist()]
    where = f"{len(ids)} of {len(batch)} records have no finite vector"
    if ids:
        where += f": {', '.join(ids[:_SHOWN])}{' ...' if len(ids) > _SHOWN else ''}"
    raise TrainingError(
        f"step {step}: the loss is {float(loss.detach())} ({where}); "
        + _cure(all_bad=len(ids) in (0, len(batch)))
    )


def _name(batch: PairBatch, row: int) -> str:
    """Id and source of a record."""
    source = batch.sources[row] if len(batch.sources) == len(batch) else ""
    return f"{batch.ids[row]!r}{f' of {source}' if source else ''}"


def _cure(all_bad: bool) -> str:
    if all_bad:
        return "the weights have run away: go on from the last checkpoint with a lower model.learning_rate or trainer.gradient_clip_val"
    return "look at these records with `cpt prep head`, and leave them out"


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Norm of all gradients together, of all ranks' pieces where they are in pieces, ``()``."""
    found = [p.grad for p in parameters if p.grad is not None]
    return whole(torch.nn.utils.get_total_norm(found)) if found else torch.zeros(())


def check_gradient(norm: Tensor, step: int) -> None:
    """Stop before the optimizer takes a gradient that is no number into the weights.

    Raises:
        TrainingError: naming the step.
    """
    if not torch.isfinite(norm):
        raise TrainingError(
            f"step {step}: the gradient's norm is {float(norm)} at a finite loss; go on from the last checkpoint with a "
            "lower model.learning_rate, or precision 32-true"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host has no memory left."""
    runtime = isinstance(error, torch.OutOfMemoryError | RuntimeError | MemoryError)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        runtime and _OUT_OF_MEMORY.search(str(error)) is not None
    )


def smaller(chunk_tokens: int, activation_memory: int | str, batch_size: int) -> str:
    """What to try after running out of memory: to keep less first, then smaller chunks, then a smaller batch."""
    if activation_memory not in (0, "0"):
        return "model.encoder.activation_memory 0, which keeps no chunk's activations"
    if chunk_tokens > 1024:
        return f"model.encoder.chunk_tokens {chunk_tokens // 2}"
    return f"data.batch_size {max(1, batch_size // 2)}"
