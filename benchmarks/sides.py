"""The two sides of the training benchmark, and the plain step: one batch, one model, forward to optimizer step."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from benchmarks.corpus import load_tokens
from benchmarks.processes import HostPeak, touch, trim
from lightning_cpt.chunks import plan_chunks
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.losses import InfoNCE
from lightning_cpt.ragged import Ragged

SCALE = 20.0  # sentence-transformers' own
WARM_PAIRS = 8


@dataclass(frozen=True)
class Setup:
    """What all sides share.

    Args:
        start: Folder of the weights and the tokenizer that they start from.
        tokens: File of the pairs' token ids.
        device: cpu or cuda; on cuda steps are in bf16 mixed precision.
        threads: Of each process.
        max_length: Most tokens of a sequence.
    """

    start: str
    tokens: str
    device: str
    threads: int
    max_length: int


class Side:
    """One way to make a training step; subclasses say how the gradient is made.

    Args:
        setup: What all sides share.
        pairs: Take the first so many of the file's pairs.
        by_length: Order the pairs by their tokens first.
    """

    def __init__(self, setup: Setup, pairs: int, *, by_length: bool = False) -> None:
        torch.set_num_threads(setup.threads)
        disable_progress_bar()
        self.setup = setup
        self.device = torch.device(setup.device)
        x, y = (side.select(torch.arange(pairs)) for side in load_tokens(Path(setup.tokens)))
        if by_length:
            order = (x.lengths + y.lengths).argsort(stable=True)  # (pairs,)
            x, y = x.select(order), y.select(order)
        self.pairs = pairs
        self.x, self.y = x, y
        self.half = self.device.type == "cuda"  # mixed precision; off where gradients are compared
        self.model: Any = self.build().to(self.device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)
        self.batch: Any = None
        self.peak: int | None = None  # bytes that a step takes

    def build(self) -> Any:
        raise NotImplementedError

    def prepare(self, x: Ragged, y: Ragged) -> Any:
        """The batch as the step wants it, on the device: not timed."""
        raise NotImplementedError

    def backward(self, batch: Any) -> float:
        """Make the gradient; returns the loss."""
        raise NotImplementedError

    def backbone(self) -> Any:
        raise NotImplementedError

    def embed(self, batch: Any) -> Tensor:
        """Unit vectors of x, then of y, ``(2 n, d)``."""
        raise NotImplementedError

    def warm(self) -> None:
        """A step of a few pairs: libraries are loaded and the optimizer has its state."""
        self._step(self._few(WARM_PAIRS))

    def _few(self, number: int) -> Any:
        few = torch.arange(min(number, self.pairs))
        return self.prepare(self.x.select(few), self.y.select(few))

    def step(self) -> dict[str, float]:
        """One step of the whole batch: seconds, loss and the peak of memory over what was there before, in MiB."""
        if self.batch is None:
            self.batch = self.prepare(self.x, self.y)
        if self.device.type == "cuda":
            return self._step_on_cuda()
        if self.peak is None:  # what a first step takes; its time is that of new pages, too
            with HostPeak() as peak:
                self._step(self.batch)
            self.peak = peak.rise
        touch(self.peak)
        seconds, loss = self._timed()
        trim()
        return {"seconds": seconds, "loss": loss, "peak_mib": self.peak / 2**20}

    def _step_on_cuda(self) -> dict[str, float]:
        if self.peak is None:  # a first whole step loads kernels
            self._step(self.batch)
        else:  # blocks at hand, as in a process that has just made such a step
            torch.empty(self.peak, dtype=torch.uint8, device=self.device)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        seconds, loss = self._timed()
        self.peak = torch.cuda.max_memory_allocated() - before
        torch.cuda.empty_cache()  # the other sides' processes need the room
        return {"seconds": seconds, "loss": loss, "peak_mib": self.peak / 2**20}

    def _timed(self) -> tuple[float, float]:
        began = time.perf_counter()
        loss = self._step(self.batch)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began, loss

    def _step(self, batch: Any) -> float:
        loss = self.backward(batch)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def gradient(self, path: str, pairs: int, *, mixed: bool = False) -> dict[str, Any]:
        """Write the gradient of the first pairs at the present weights to a file; in float32, or as it is timed."""
        half, self.half = self.half, mixed
        self.optimizer.zero_grad()
        loss = self.backward(self._few(pairs))
        grads = [p.grad for _, p in sorted(self.backbone().named_parameters())]
        np.save(path, torch.cat([g.flatten().float().cpu() for g in grads]).numpy())
        self.optimizer.zero_grad()
        self.half = half
        return {"loss": loss}

    @torch.no_grad()
    def embeddings(self, pairs: int) -> np.ndarray:
        half, self.half = self.half, False
        found: np.ndarray = self.embed(self._few(pairs)).float().cpu().numpy()
        self.half = half
        return found


class Ours(Side):
    """TextEncoder and InfoNCE, as ContrastiveModule's training step calls them.

    Args:
        chunk_tokens, activation_memory: TextEncoder's.
    """

    def __init__(self, setup: Setup, pairs: int, *, chunk_tokens: int, activation_memory: int | str) -> None:
        self.options: dict[str, Any] = {"chunk_tokens": chunk_tokens, "activation_memory": activation_memory}
        self.loss = InfoNCE(initial_temperature=1 / SCALE, learnable=False, mask=[]).to(setup.device)
        super().__init__(setup, pairs)

    def build(self) -> Any:
        length = self.setup.max_length
        return TextEncoder(self.setup.start, max_length_x=length, max_length_y=length, **self.options)

    def prepare(self, x: Ragged, y: Ragged) -> Any:
        return [x.to(self.device), y.to(self.device)]

    def _autocast(self) -> Any:
        """As Lightning's bf16-mixed has it, without the cache of weights."""
        return torch.autocast("cuda", torch.bfloat16, cache_enabled=False) if self.half else nullcontext()

    def backward(self, batch: Any) -> float:
        with self._autocast():
            loss = self.loss(*self.embed(batch).chunk(2)).loss
        loss.backward()
        return float(loss.detach())

    def embed(self, batch: Any) -> Tensor:
        vectors: Tensor = self.model(Ragged.cat(batch))
        return vectors

    def backbone(self) -> Any:
        return self.model.backbone

    def work(self) -> dict[str, Any]:
        """What the last step computed, and its FLOPs on real tokens: forward and backward, nothing twice."""
        from dataclasses import asdict

        from lightning_cpt.flops import count_costs

        work, costs = self.model.work, count_costs(self.backbone())
        needed = costs and 3 * costs.forward(work.tokens, work.squares, work.skipped_tokens)
        return {
            **asdict(work),
            "padding_free": bool(getattr(self.model, "_unpadded", False)),
            "model_flops": needed,
        }


class Plain(Ours):
    """The same sorted chunks through the bare backbone, everything kept, plain cross-entropy: a step without us."""

    def __init__(self, setup: Setup, pairs: int, *, chunk_tokens: int) -> None:
        super().__init__(setup, pairs, chunk_tokens=chunk_tokens, activation_memory="all")

    def embed(self, batch: Any) -> Tensor:
        both = Ragged.cat(batch)
        plan = plan_chunks(both.lengths, self.options["chunk_tokens"])
        vectors = torch.cat([self._encode(both.select(index)) for index in plan])  # (2 n, d)
        return vectors[torch.cat(plan).argsort().to(self.device)]

    def _encode(self, chunk: Ragged) -> Tensor:
        ids = chunk.pad(0)  # (m, longest); what stands behind a sequence is not seen under causal attention
        states = self.backbone()(input_ids=ids).last_hidden_state
        ends = (chunk.lengths - 1).to(self.device)
        return F.normalize(states[torch.arange(len(ends), device=self.device), ends].float(), dim=-1)

    def backward(self, batch: Any) -> float:
        with self._autocast():
            x, y = self.embed(batch).chunk(2)
        logits = SCALE * x @ y.T  # (n, n)
        target = torch.arange(len(x), device=self.device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        loss.backward()
        return float(loss.detach())


class Peer(Side):
    """sentence-transformers: its model of the same weights, our token ids, its cached or plain loss.

    Args:
        loss: Options of CachedMultipleNegativesRankingLoss; None takes MultipleNegativesRankingLoss.
    """

    def __init__(
        self, setup: Setup, pairs: int, *, loss: dict[str, int] | None = None, by_length: bool = False
    ) -> None:
        self.options = loss
        super().__init__(setup, pairs, by_length=by_length)
        self.loss: Callable[..., Tensor] = symmetric_loss(self.model, self.options)
        if self.device.type == "cuda":
            # As accelerate prepares a model for bf16: forward under autocast, float32 out, also in the second pass.
            self.model.forward = self._mixed(self.model.forward)

    def build(self) -> Any:
        return peer_model(self.setup.start, self.setup.max_length)

    def _mixed(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast("cuda", torch.bfloat16, enabled=self.half):
                out = forward(*args, **kwargs)
            return {**out, "sentence_embedding": out["sentence_embedding"].float()}

        return call

    def prepare(self, x: Ragged, y: Ragged) -> Any:
        return [features(side, self.device) for side in (x, y)]

    def backward(self, batch: Any) -> float:
        loss = self.loss([dict(side) for side in batch], None)
        loss.backward()
        return float(loss.detach())

    def embed(self, batch: Any) -> Tensor:
        return torch.cat([self.model(dict(side))["sentence_embedding"] for side in batch])

    def backbone(self) -> Any:
        return self.model[0].model


def peer_model(start: str, max_length: int, pooling: str = "lasttoken") -> SentenceTransformer:
    """sentence-transformers' model of the same function: the state at the last token, to length 1."""
    transformer = Transformer(start, max_seq_length=max_length, model_kwargs={"dtype": torch.float32})
    width = transformer.get_embedding_dimension()
    return SentenceTransformer(modules=[transformer, Pooling(width, pooling), Normalize()], device="cpu")


def symmetric_loss(model: SentenceTransformer, cached: dict[str, int] | None, scale: float = SCALE) -> Any:
    """Its loss with the mean of both directions' cross-entropies: cached by these options, or plain."""
    options: dict[str, Any] = {
        "scale": scale,
        "directions": ("query_to_doc", "doc_to_query"),
        "partition_mode": "per_direction",
    }
    if cached is None:
        return MultipleNegativesRankingLoss(model, **options)
    return CachedMultipleNegativesRankingLoss(model, **options | cached)


def features(side: Ragged, device: torch.device | str) -> dict[str, Tensor]:
    """What its collator hands to the loss for one column: padded to the batch's longest."""
    return {"input_ids": side.pad(0).to(device), "attention_mask": side.mask().long().to(device)}
