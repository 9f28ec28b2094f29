"""The methods that the loss benchmark compares, each to be run in a process of its own."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.processes import HostPeak, trim
from lightning_cpt.losses import TILE_MEGABYTES, info_nce

WIDTH = 1024
SCALE = 20.0


class Lone:
    """One method on random unit vectors, pairs alike enough that the softmax is neither flat nor one-hot.

    Args:
        name: ours, plain, clip or products.
        size: Pairs.
        device, threads: Where.
    """

    def __init__(self, name: str, size: int, device: str, threads: int) -> None:
        self.peak = 0  # bytes that a step takes on CUDA
        torch.set_num_threads(threads)
        self.method = {"ours": _ours, "plain": _plain, "clip": _clip, "products": _products}[name]
        self.device = torch.device(device)
        self.x, self.y = self._vectors(size)
        self.scale = torch.tensor(SCALE, device=device, requires_grad=True)
        if name == "products":
            self.x.requires_grad_(False)
            self.y.requires_grad_(False)
        self._warm()

    def _vectors(self, size: int) -> tuple[Tensor, Tensor]:
        made = torch.Generator().manual_seed(size)
        x = torch.randn(size, WIDTH, generator=made)  # (N, d)
        y = x + 3 * torch.randn(size, WIDTH, generator=made)
        return tuple(F.normalize(side, dim=1).to(self.device).requires_grad_() for side in (x, y))  # type: ignore[return-value]

    def _warm(self) -> None:
        """A tiny step, so that libraries are loaded and threads are there."""
        x, y = (side[:64].detach().requires_grad_(side.requires_grad) for side in (self.x, self.y))
        loss = self.method(x, y, self.scale)
        if loss is not None:
            loss.backward()
        self.scale.grad = None

    def step(self) -> dict[str, float]:
        """Seconds, and the peak of memory beyond the embeddings and their gradients, in MiB."""
        self.x.grad = self.y.grad = None
        given = 2 * self.x.numel() * self.x.element_size()  # bytes of the two gradients
        if self.device.type == "cuda":
            if self.peak:  # blocks at hand: making them is not timed
                torch.empty(self.peak, dtype=torch.uint8, device=self.device)
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            seconds = self._timed()
            peak = self.peak = torch.cuda.max_memory_allocated() - before
            torch.cuda.empty_cache()
        else:
            with HostPeak() as host:
                seconds = self._timed()
            peak = host.rise
            trim()
        beyond = peak - (given if self.x.requires_grad else 0)
        return {"seconds": seconds, "peak_mib": max(0, beyond) / 2**20}

    def _timed(self) -> float:
        began = time.perf_counter()
        loss = self.method(self.x, self.y, self.scale)
        if loss is not None:
            loss.backward()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def gradients(self) -> dict[str, Tensor]:
        """Loss and gradients, float64 on the CPU."""
        loss = self.method(self.x, self.y, self.scale)
        assert loss is not None
        loss.backward()
        parts = {"loss": loss.detach(), "x": self.x.grad, "y": self.y.grad, "scale": self.scale.grad}
        return {name: part.double().cpu() for name, part in parts.items() if part is not None}


def _ours(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    return info_nce(x, y, scale, rank=0, world_size=1, all_x=x, all_y=y).loss


def _plain(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    logits = scale * (x @ y.T)  # (N, N)
    target = torch.arange(len(x), device=x.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _clip(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    found = _clip_file()
    if found is None:
        # Its algorithm on one process: two products, two cross-entropies.
        target = torch.arange(len(x), device=x.device)
        return (F.cross_entropy(scale * x @ y.T, target) + F.cross_entropy(scale * y @ x.T, target)) / 2
    return _load(found).ClipLoss()(x, y, scale)


def _clip_file() -> Path | None:
    """open_clip's loss.py, which needs torch alone; the package itself would need torchvision and timm too."""
    spec = importlib.util.find_spec("open_clip")
    return Path(spec.origin).with_name("loss.py") if spec and spec.origin else None


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("open_clip_loss", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clip_name() -> str:
    return "open_clip's ClipLoss" if _clip_file() else "ClipLoss's algorithm (open_clip)"


def products(size: int) -> int:
    """How many products of N x N x d ours takes: a matrix of several tiles is computed twice."""
    return 3 if 4 * size**2 <= TILE_MEGABYTES << 20 else 4


@torch.no_grad()
def _products(x: Tensor, y: Tensor, scale: Tensor) -> None:
    """The same products as ours takes, tile by tile, and nothing else."""
    height = min(len(x), max(1, (TILE_MEGABYTES << 20) // (4 * len(x))))
    rows, columns = torch.empty_like(x), torch.zeros_like(y)
    again = products(len(x)) == 4
    for start in range(0, len(x), height):
        tile = slice(start, start + height)
        logits = x[tile] @ y.T  # (t, N)
        if again:
            logits = x[tile] @ y.T
        rows[tile] = logits @ y
        columns.addmm_(logits.T, x[tile])
