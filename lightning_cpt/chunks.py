"""Encodes a ragged batch in length-sorted chunks of bounded padded size, with the gradient of one big batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from lightning_cpt.gather import exchange_counts
from lightning_cpt.memory import ActivationMemory
from lightning_cpt.ragged import Ragged, moved
from lightning_cpt.recompute import Recompute

Forward = Callable[[Ragged], Tensor]


@dataclass(frozen=True, slots=True)
class Work:
    """What one forward pass computed, and what its backward pass will compute again.

    Args:
        sequences: sequences encoded.
        tokens: their tokens.
        padded_tokens: tokens that went through the model, padding included.
        recomputed_tokens: those that the backward pass computes again, padding included.
        squares: sum of the sequences' squared lengths, to which attention's work is proportional.
        padded_squares: the same of the padded rows.
        recomputed_squares: the same of those computed again.
        skipped_tokens: tokens that the last layer's feed-forward left out, as nobody reads their states.
        padded_skipped_tokens: the same with padding.
        recomputed_skipped_tokens: the same of those computed again.
        chunks: calls of the model.
        kept_chunks: those that keep their activations.
    """

    sequences: int
    tokens: int
    padded_tokens: int
    recomputed_tokens: int
    squares: int
    padded_squares: int
    recomputed_squares: int
    skipped_tokens: int
    padded_skipped_tokens: int
    recomputed_skipped_tokens: int
    chunks: int
    kept_chunks: int


def plan_chunks(lengths: Tensor, token_budget: int) -> list[Tensor]:
    """Positions of the sequences of each chunk, shortest sequences first.

    Args:
        lengths: tokens per sequence, ``(n,)``.
        token_budget: most tokens of a chunk with its padding (rows x longest); a single sequence that is
            longer makes a chunk of its own.

    Returns:
        Index tensors that together hold every position once.
    """
    order = torch.argsort(lengths, stable=True)  # (n,)
    cuts, start = [], 0
    for at, length in enumerate(lengths[order].tolist()):
        if at > start and (at + 1 - start) * length > token_budget:
            cuts.append(at - start)
            start = at
    return list(order.split([*cuts, len(order) - start]))


def encode_in_chunks(
    forward: Forward,
    batch: Ragged,
    *,
    token_budget: int,
    memory: ActivationMemory,
    padding_free: bool = False,
    tail: bool = False,
    in_step: bool = False,
    weights: Callable[[], set[int]] = set,
    recompute: Recompute | None = None,
) -> tuple[Tensor, Work]:
    """``forward`` over ``batch``, chunk by chunk, rows in the batch's own order.

    The result stays in the graph of autograd: one ordinary ``backward`` of a loss over it gives the gradient
    of the undivided batch, under DDP, accumulation, clipping and mixed precision as they are.

    Args:
        forward: a chunk ``Ragged`` of m sequences -> ``(m, d)``.
        batch: n sequences.
        token_budget: most padded tokens per chunk.
        memory: decides how many chunks keep their activations. The others keep only their results and run
            again in the backward pass, with the same dropout: the memory of one chunk for a second forward pass.
        padding_free: ``forward`` computes no padding.
        tail: ``forward`` runs the last feed-forward at the ends of the sequences alone.
        in_step: the weights are cut over the ranks: run and recompute as many chunks on every rank, since each
            gathers weights from all of them, and add up each chunk's gradient in pieces before the next.
        weights: addresses of the storages of weights, asked for when a chunk's activations are counted.
        recompute: gives each chunk a backward pass of its own, with gradients alone; None leaves them in one graph, by
            torch's checkpoint.

    Returns:
        ``(n, d)``, and the work that it is.
    """
    graph = torch.is_grad_enabled()
    if graph:
        memory.start(batch.device)
    plan = plan_chunks(batch.lengths, token_budget) if len(batch) else []
    order = torch.cat(
        [torch.empty(0, dtype=torch.int64), *plan]
    )  # (n,) the batch's positions, chunk behind chunk
    chunks, dummies = batch.select(order).split([len(index) for index in plan]), 0
    if in_step:
        (most,) = _most_of_all_ranks([len(chunks)], batch.device)
        chunks, dummies = _as_many(chunks, most, batch.device)
    sizes = [_size(chunk, padding_free) for chunk in chunks]
    kept = memory.keep(sizes) if graph else len(chunks)
    if in_step and graph:
        kept = -_most_of_all_ranks([-kept], batch.device)[0]
    if graph:
        memory.kept = kept
    encoded = []
    for number, chunk in enumerate(chunks):
        encode: Callable[[], Tensor] = partial(forward, chunk)
        keeps = number >= len(chunks) - kept
        # Again on a larger one: the weights' 16-bit copies weigh the less, the more tokens there are.
        if graph and keeps and number == len(chunks) - 1 and sizes[-1] > memory.measured:
            encode = partial(memory.measure, encode, sizes[-1], weights())
        if recompute:
            encode = partial(recompute, forward, chunk, encode if keeps else None)
        elif not keeps:
            encode = partial(_checkpointed, forward, chunk)
        encoded.append(_apart(encode) if in_step and graph else encode())
    work = _account(batch, chunks, sizes, padding_free, kept, tail)
    return torch.cat(encoded)[moved(dummies + order.argsort(), batch.device)], work


def _checkpointed(forward: Forward, chunk: Ragged) -> Tensor:
    """Encode a chunk that runs again in the backward pass.

    ``checkpoint`` keeps the random state of the devices whose tensors it is handed, and looks for them in tuples
    and lists only: handed the Ragged itself, it would draw another dropout on CUDA the second time.
    """

    def encode(ids: Tensor, lengths: Tensor) -> Tensor:
        return forward(Ragged(ids, lengths))

    encoded: Tensor = checkpoint(encode, chunk.ids, chunk.lengths, use_reentrant=False)
    return encoded


def _apart(encode: Callable[[], Tensor]) -> Tensor:
    """What ``encode`` returns, with a backward pass of its own.

    Within one pass autograd hands on a weight's gradient only once all chunks have added theirs: FSDP2 would find
    the whole of it behind the last chunk, and could cut none of it before.
    """
    encoded: Tensor = _Apart.apply(torch.empty(0, requires_grad=True), encode)
    return encoded


class _Apart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, needs_gradient: Tensor, encode: Callable[[], Tensor]) -> Tensor:
        with torch.enable_grad():
            ctx.encoded = encode()
        encoded: Tensor = ctx.encoded.detach()
        return encoded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None]:
        encoded, ctx.encoded = ctx.encoded, None  # with it go the chunk's activations
        if encoded is None:
            raise RuntimeError(
                "under fsdp2 one encoding takes one backward pass: add up its losses, and call backward once"
            )
        if encoded.requires_grad:
            encoded.backward(gradient)
        return None, None


def _size(chunk: Ragged, padding_free: bool) -> int:
    """Tokens that a chunk puts through the model."""
    return chunk.ids.numel() if padding_free else len(chunk) * int(chunk.lengths.max())


def _most_of_all_ranks(numbers: list[int], device: torch.device) -> list[int]:
    return [max(column) for column in zip(*exchange_counts(numbers, device), strict=True)]


def _as_many(chunks: Sequence[Ragged], number: int, device: torch.device) -> tuple[list[Ragged], int]:
    """The same sequences in ``number`` chunks: the largest are halved, and where no rows are left to part, dummies
    of one token stand in before the first, which no loss sees; how many of them there are."""
    parts, dummies = list(chunks), 0
    while len(parts) + dummies < number:
        at = max(range(len(parts)), key=lambda i: (len(parts[i]) > 1, parts[i].ids.numel()), default=0)
        rows = len(parts[at]) if parts else 0
        if rows > 1:
            parts[at : at + 1] = parts[at].split([rows // 2, rows - rows // 2])
        else:
            dummies += 1
    dummy = Ragged(torch.ones(1, dtype=torch.int64, device=device), torch.ones(1, dtype=torch.int64))
    return [dummy] * dummies + parts, dummies


def _account(
    batch: Ragged, chunks: Sequence[Ragged], sizes: Sequence[int], padding_free: bool, kept: int, tail: bool
) -> Work:
    squares = [
        int(chunk.lengths.square().sum()) if padding_free else len(chunk) * int(chunk.lengths.max()) ** 2
        for chunk in chunks
    ]
    again = len(chunks) - kept
    rows = [len(chunk) for chunk in chunks]
    return Work(
        sequences=len(batch),
        tokens=batch.ids.numel(),
        padded_tokens=sum(sizes),
        recomputed_tokens=sum(sizes[:again]),
        squares=int(batch.lengths.square().sum()),
        padded_squares=sum(squares),
        recomputed_squares=sum(squares[:again]),
        skipped_tokens=tail * (batch.ids.numel() - len(batch)),
        padded_skipped_tokens=tail * (sum(sizes) - sum(rows)),
        recomputed_skipped_tokens=tail * (sum(sizes[:again]) - sum(rows[:again])),
        chunks=len(chunks),
        kept_chunks=kept,
    )
