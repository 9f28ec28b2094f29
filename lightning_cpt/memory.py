"""How much memory kept activations may take, how much a token's take, and so how many chunks keep theirs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, UntypedStorage
from torch.distributed.tensor import DTensor

from lightning_cpt.errors import ConfigError

Setting = Literal["auto", "all"] | int | str

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_CUDA_SHARE = 0.9  # of the device: the allocator's blocks never fit together without gaps
_HOST_SHARE = 0.5  # of what is free: other processes come and go


def parse_bytes(setting: Setting) -> float | None:
    """Bytes of a setting: infinity for ``all``, None for ``auto``.

    Raises:
        ConfigError: neither, nor a number of bytes with or without a unit.
    """
    if setting in ("auto", "all"):
        return None if setting == "auto" else float("inf")
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]i?B)?\s*", str(setting), re.IGNORECASE)
    if isinstance(setting, bool) or not found:
        raise ConfigError(
            f"activation_memory: {setting!r} is no amount of memory; write auto, all, 0, a number of bytes, or such as 8GiB"
        )
    return float(found[1]) * _UNITS[(found[2] or "").upper()]


class ActivationMemory:
    """Decides how many chunks keep their activations until the backward pass, where the others compute theirs again.

    Args:
        setting: bytes for kept activations, such as ``8GiB``; ``0`` keeps nothing that needs not be kept, ``all``
            everything; ``auto`` is what is free: on CUDA as measured in the first optimizer step, in which
            nothing is kept; elsewhere half of the memory that is free at the start.

    Raises:
        ConfigError: a setting that is none of these.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._given = parse_bytes(setting)
        self._found: float | None = None  # what `auto` came to
        self._at_start: int | None = None
        self.ranks_here = 1  # processes of the run that share this machine's memory
        self.bytes_per_token: float | None = None  # of a chunk's activations, padding included
        self.measured = 0  # tokens of the chunk that they were counted on
        self.kept = 0  # chunks that the last forward pass with gradients kept, or was about to keep

    @property
    def budget(self) -> float:
        """Bytes that kept activations may take now."""
        return self._given if self._given is not None else self._found or 0.0

    @property
    def settled(self) -> bool:
        """Whether the budget is what it will stay."""
        return self._given is not None or self._found is not None

    def start(self, device: torch.device) -> None:
        """To be called before each forward pass with gradients."""
        if self.settled:
            return
        if device.type != "cuda":
            self._found = _HOST_SHARE * free_memory() / self.ranks_here
        elif self._at_start is None:
            self._at_start = torch.cuda.memory_allocated(device)

    def settle(self, device: torch.device) -> None:
        """Find CUDA's budget; to be called after the first optimizer step."""
        if self.settled or self._at_start is None:
            return
        # The step's peak came before the optimizer had its state, which is there from now on.
        grown = torch.cuda.memory_allocated(device) - self._at_start
        needed = torch.cuda.max_memory_allocated(device) + max(0, grown)
        free, _ = torch.cuda.mem_get_info(device)
        usable = free + torch.cuda.memory_reserved(device)
        self._found = max(0.0, _CUDA_SHARE * usable - needed)

    def keep(self, tokens: Sequence[int]) -> int:
        """How many of the chunks, counted from the last, keep their activations.

        The last one has to be whole when the backward pass begins, kept or not. Those kept beside it are freed
        before the first other one is computed again, so the peak is the larger of both, not their sum.

        Args:
            tokens: tokens of each chunk, padding included.
        """
        if self.budget == float("inf"):
            return len(tokens)
        if self.bytes_per_token is None:
            return min(1, len(tokens))
        taken, count = 0.0, 0
        for chunk in reversed(tokens):
            taken += chunk * self.bytes_per_token
            if count and taken > self.budget:
                break
            count += 1
        return count

    def measure(self, forward: Callable[[], Tensor], tokens: int, weights: set[int]) -> Tensor:
        """Run a kept chunk, and count what it keeps.

        Args:
            tokens: of the chunk, padding included.
            weights: addresses of the storages of weights, which are no activations.
        """
        seen: dict[int, UntypedStorage] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            result = forward()
        # Weights that FSDP2 had gathered have given their memory back by now.
        self.bytes_per_token = sum(one.nbytes() for at, one in seen.items() if at not in weights) / tokens
        self.measured = tokens
        return result


def storages(tensors: Iterable[Tensor]) -> set[int]:
    """Addresses of the tensors' memory; one that is cut over the ranks has none of its own while it is whole."""
    return {t.untyped_storage().data_ptr() for t in tensors if not isinstance(t, DTensor)}


def free_memory() -> int:
    """Bytes of host memory that could be taken, within the limits of a container."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            rows = dict(line.split(":") for line in file)
        free = int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return min(free, _container_free(free))


def _container_free(default: int) -> int:
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as limit:
            most = limit.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as current:
            return default if most == "max" else max(0, int(most) - int(current.read()))
    except (OSError, ValueError):
        return default
