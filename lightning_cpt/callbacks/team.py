"""All ranks encode together what rank 0 is asked for: a share of the texts each, tokenised once."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import xxhash
from torch import nn

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.ragged import Ragged
from lightning_cpt.scored import token_count
from lightning_cpt.tokenization import Side

_CACHED_BYTES = 2**30  # of token ids that a rank keeps for the next evaluation


class OutOfTime(Exception):
    """The evaluation's time budget is used up."""


class TokenCache:
    """Token ids of text lists that come again at every evaluation, up to a GiB of them."""

    def __init__(self) -> None:
        self._kept: dict[str, Ragged] = {}
        self._bytes = 0

    def __call__(self, key: str, make: Callable[[], Ragged]) -> Ragged:
        if key in self._kept:
            return self._kept[key]
        batch = make()
        size = batch.ids.numel() * batch.ids.element_size()
        if self._bytes + size <= _CACHED_BYTES:
            self._kept[key] = batch
            self._bytes += size
        return batch


class Team:
    """The ranks' part in an evaluation that rank 0 leads. Where there is one process, it is that process alone.

    Args:
        group: A gloo group of all ranks whose time-out is longer than an evaluation; None without ranks.
        cache: Keeps this rank's share of the token ids.
    """

    def __init__(self, group: dist.ProcessGroup | None, cache: TokenCache) -> None:
        self.group, self.cache = group, cache
        self.rank = dist.get_rank(group) if group is not None else 0
        self.size = dist.get_world_size(group) if group is not None else 1

    def broadcast(self, message: Any = None) -> Any:
        """Rank 0's message, on every rank."""
        if self.group is None:
            return message
        box = [message]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def follow(self, encoder: TextEncoder) -> Any:
        """Encode this rank's share of every list that rank 0 announces, until it sends its result; returns that."""
        while True:
            kind, *content = self.broadcast()
            if kind == "result":
                return content[0]
            try:
                self.gather(encoder, *content)
            except Exception:  # rank 0 has heard of it, and its result says so
                continue

    def finish(self, result: Any) -> Any:
        """Rank 0 ends the evaluation with what all ranks return."""
        self.broadcast(("result", result))
        return result

    def encode(self, encoder: TextEncoder, texts: list[str], side: Side) -> np.ndarray:
        """On rank 0: the vectors of all texts, float32 (n, dim); the other ranks :meth:`follow`."""
        self.broadcast(("encode", texts, side))
        out = np.empty((len(texts), encoder.dim), np.float32)
        for rank, share in enumerate(self.gather(encoder, texts, side)):
            mine = out[rank :: self.size]
            mine[:] = share[: len(mine)]
        return out

    def gather(self, encoder: TextEncoder, texts: list[str], side: Side) -> list[np.ndarray]:
        """Encode this rank's share; every rank's rows on rank 0, padded to equal numbers, nothing on the others.

        Raises:
            Exception: what went wrong on the first rank where something did, on all ranks.
        """
        mine = texts[self.rank :: self.size]  # neighbours are of like length, so the shares are too
        batch, error = _attempt(
            lambda: self.cache(_key(mine, side), lambda: encoder.tokenization(mine, side))
        )
        if encoder.in_step:  # a rank without ids would leave the others waiting in the middle of the model
            self._agreed(error)
            error = None
        if error is None:
            rows, error = _attempt(lambda: _encoded(encoder, batch))
        self._agreed(error)
        if self.group is None:
            return [rows]
        padded = torch.zeros(-(-len(texts) // self.size), rows.shape[1])
        padded[: len(rows)] = torch.from_numpy(rows)
        into = [torch.empty_like(padded) for _ in range(self.size)] if self.rank == 0 else None
        dist.gather(padded, into, dst=0, group=self.group)
        return [part.numpy() for part in into or ()]

    def _agreed(self, error: Exception | None) -> None:
        """Raise the first error of any rank on all of them."""
        errors: list[Exception | None] = [error]
        if self.group is not None:
            errors = [None] * self.size
            dist.all_gather_object(errors, error and portable(error), group=self.group)
        for one in errors:
            if one is not None:
                raise one


class TeamEncoder:
    """The encoder in training by eval_suite's protocol, on rank 0.

    Args:
        encoder: What is trained.
        team: Who encodes.
        name: Its name in results.
        fingerprint: What stands for its weights in results.
        facts: What results say of it.
        deadline: On time.monotonic()'s clock; encoding that begins later raises OutOfTime.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        team: Team,
        *,
        name: str,
        fingerprint: str,
        facts: dict[str, Any],
        deadline: float | None,
    ) -> None:
        self.encoder, self.team, self.deadline = encoder, team, deadline
        self.name, self.fingerprint, self.facts = name, fingerprint, facts
        self.max_length = encoder.tokenization.max_length

    def token_count(self, texts: list[str]) -> list[int]:
        """How many tokens each text has uncut, delimiters included."""
        return token_count(self.encoder, texts)

    def encode(self, texts: list[str], side: Side) -> np.ndarray:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise OutOfTime
        return self.team.encode(self.encoder, texts, side)


def _attempt(work: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What it returns, or its error: a rank that stopped alone would leave the others waiting."""
    try:
        return work(), None
    except Exception as error:
        return None, error


def portable(error: Exception) -> Exception:
    """The error itself, or its words where other processes cannot be sent it."""
    try:
        sent = pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does when it is taken apart and put together
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error if type(sent) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")


def _encoded(encoder: TextEncoder, batch: Ragged) -> np.ndarray:
    return _encode_in_step(encoder, batch) if encoder.in_step else encoder.encode_tokens(batch)


def _encode_in_step(encoder: TextEncoder, batch: Ragged) -> np.ndarray:
    """Where every rank must run as many chunks, since each gathers weights; the training's own record stays."""
    work = encoder.work
    try:
        with modes_kept(encoder), torch.no_grad():
            encoder.eval()
            vectors: np.ndarray = encoder(batch.to(encoder.device)).float().cpu().numpy()
    finally:
        encoder.work = work
    return vectors


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Put each submodule back into the mode, train or eval, in which it was."""
    modes = {part: part.training for part in module.modules()}
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _key(texts: Sequence[str], side: str) -> str:
    digest = xxhash.xxh3_128(side.encode())
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()
