"""Stops a training that goes wrong while its last checkpoint is still good, and says what to do about it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lightning_cpt.data.batch import PairBatch
from lightning_cpt.errors import TrainingError
from lightning_cpt.gather import rank_and_world_size, whole
from lightning_cpt.memory import ActivationMemory

_SHOWN = 5  # ids in one line
_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|failed to allocate|ALLOC_FAILED", re.IGNORECASE
)
_RANK_LOST = re.compile(
    r"Connection (reset|closed|refused) by peer|Connection closed by|remote process exited|Broken pipe|Socket closed"
)

_Own = TypeVar("_Own")


class Named(NamedTuple):
    """The names of a batch's records, without the batch.

    Args:
        ids: of each.
        sources: of each; none where the records do not say.
    """

    ids: list[str]
    sources: list[str]

    @classmethod
    def of(cls, batch: PairBatch) -> Named:
        return cls(batch.ids, batch.sources)


class Bad(NamedTuple):
    """What one rank knows of a loss that is no number.

    Args:
        loss: the rank's own, as text; empty where it is finite.
        records: pairs of the rank.
        ids: of those whose vectors of x or y are no numbers, in full.
        hard: hard negatives whose vectors are none.
        owners: the records that these belong to, in full, where the batch knows that.
    """

    loss: str
    records: int
    ids: list[str]
    hard: int
    owners: list[str]


def check_loss(loss: Tensor, vectors: list[Tensor], batch: PairBatch, step: int) -> None:
    """Stop all ranks, with the same line, at a loss that is no number on any of them; all have to ask.

    Mostly it is none on all at once, as all ranks' vectors are in it. But a mask may hide the bad one from a rank,
    and a plug-in's loss may be anything: whoever then asked alone for the others' records would wait for ever. So
    one number is exchanged each step, as the loss exchanges its counts: microseconds against a batch's encoding.

    Args:
        vectors: of x and of y, ``(n, dim)`` each, and of negatives.
        step: optimizer steps done.

    Raises:
        TrainingError: naming the step, and any rank's records whose vectors are no numbers.
    """
    good = torch.isfinite(loss.detach())
    if not _on_any_rank(~good):
        return
    bad = [~torch.isfinite(side.detach()).all(1) for side in vectors]  # (n,), (n,) and (m,)
    rows = torch.stack(bad[:2]).any(0).nonzero().squeeze(1).tolist()
    names = _names(Named.of(batch))
    hard = [at for side in bad[2:] for at in side.nonzero().squeeze(1).tolist()]
    own = Bad(
        "" if good else str(float(loss.detach())),
        len(batch),
        [names[row] for row in rows],
        len(hard),
        [names[row] for row in _owners(hard, batch.negative_counts)],
    )
    raise TrainingError(f"step {step}: {_account(_of_all_ranks(own))}")


def _owners(negatives: list[int], counts: Tensor) -> list[int]:
    """Rows of the records with these hard negatives, each once; none where the counts are not known."""
    rows = torch.arange(len(counts)).repeat_interleave(counts).tolist()  # (m,)
    return sorted({rows[at] for at in negatives}) if rows else []


def _on_any_rank(flag: Tensor) -> bool:
    if rank_and_world_size()[1] == 1:
        return bool(flag)
    number = flag.int()
    dist.all_reduce(number, op=dist.ReduceOp.MAX)
    return bool(number)


def _of_all_ranks(own: _Own) -> list[_Own]:
    """Every rank's object, in the order of the ranks."""
    _, world_size = rank_and_world_size()
    if world_size == 1:
        return [own]
    found: list[Any] = [None] * world_size
    dist.all_gather_object(found, own)
    return found


def _names(batch: Named) -> list[str]:
    """Id and source of each record."""
    known = len(batch.sources) == len(batch.ids)
    sources = batch.sources if known else [""] * len(batch.ids)
    return [f"{id_!r}{f' of {of}' if of else ''}" for id_, of in zip(batch.ids, sources, strict=True)]


def _account(ranks: list[Bad]) -> str:
    """What is wrong, where, and what to do."""
    ids = [name for rank in ranks for name in rank.ids]
    owners = [name for rank in ranks for name in rank.owners]
    records, hard = sum(rank.records for rank in ranks), sum(rank.hard for rank in ranks)
    loss = next(rank.loss for rank in ranks if rank.loss)
    where = f"{len(ids)} of {records} records have no finite vector{_shown(ids)}"
    if hard:
        where += f"; nor {'has a hard negative' if hard == 1 else f'have {hard} hard negatives'}{_shown(owners, ' of ')}"
    return f"the loss is {loss} ({where}); {_cure(len(ids), records, hard)}"


def _shown(ids: list[str], before: str = ": ") -> str:
    more = " ..." if len(ids) > _SHOWN else ""
    return f"{before}{', '.join(ids[:_SHOWN])}{more}" if ids else ""


def _cure(bad: int, records: int, hard: int) -> str:
    if bad == records or not bad + hard:
        return "the weights have run away: go on from the last checkpoint with a lower model.learning_rate or trainer.gradient_clip_val"
    if not bad:
        return "look at the records' negatives with `cpt prep head`, or leave them out: data.hard_negatives 0"
    return "look at these records with `cpt prep head`, and leave them out"


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Norm of all gradients together, of all ranks' pieces where they are in pieces, ``()``."""
    all_ = list(parameters)
    found = [p.grad for p in all_ if p.grad is not None]
    if not found:
        return torch.zeros((), device=all_[0].device if all_ else None)
    return whole(torch.nn.utils.get_total_norm(found))


def check_gradient(norm: Tensor, batches: Sequence[Named], step: int) -> None:
    """Stop all ranks before the optimizer takes a gradient that is no number into the weights; all have to ask.

    Args:
        batches: what this rank's gradient was summed over since the step before.
        step: optimizer steps done.

    Raises:
        TrainingError: naming the step, and the sources and first records of all ranks' batches.
    """
    if not _on_any_rank(~torch.isfinite(norm)):
        return
    ranks = _of_all_ranks((float(norm), [name for batch in batches for name in _names(batch)]))
    found = next(number for number, _ in ranks if not math.isfinite(number))
    names = [name for _, rank in ranks for name in rank]
    known = f"{len(names)} records{_shown(names)}" if names else "records that are not known"
    raise TrainingError(
        f"step {step}: the gradient's norm is {found} at a finite loss, in a step of {known}; go on from the last "
        "checkpoint with a lower model.learning_rate, or precision 32-true"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host has no memory left."""
    runtime = isinstance(error, torch.OutOfMemoryError | RuntimeError | MemoryError)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        runtime and _OUT_OF_MEMORY.search(str(error)) is not None
    )


def is_rank_lost(error: BaseException) -> bool:
    """Whether another rank went away while this one waited for it."""
    return isinstance(error, RuntimeError) and _RANK_LOST.search(str(error)) is not None


def smaller(chunk_tokens: int, memory: ActivationMemory, batch_size: int, training: bool) -> str:
    """What to try after running out of memory: to keep less first, then smaller chunks, then a smaller batch.

    Only training keeps activations, and one chunk's are kept whatever the budget is, so that a smaller one changes
    nothing where no more were.
    """
    if training and memory.kept > 1 and memory.budget > 0:
        return f"model.encoder.activation_memory {_less(memory)}"
    if chunk_tokens > 1024:
        return f"model.encoder.chunk_tokens {chunk_tokens // 2}"
    return f"data.batch_size {max(1, batch_size // 2)}"


def _less(memory: ActivationMemory) -> str:
    """The next smaller budget, in the unit of the present one."""
    if memory.budget == float("inf"):
        return "auto"
    given = re.fullmatch(r"\s*([\d.]+)\s*([A-Za-z]*)\s*", str(memory.setting))
    number, unit = (float(given[1]), given[2]) if given else (memory.budget / 2**30, "GiB")
    half = f"{number / 2:.2f}" if unit else f"{number // 2:.0f}"
    return f"{half.rstrip('0').rstrip('.') if unit else half}{unit}" if float(half) else "0"
