"""Most FLOP/s that a device can do in a precision: from its data sheet, or measured where there is none."""

from __future__ import annotations

import re
import time
from functools import cache
from typing import NamedTuple

import torch

# Dense TFLOP/s by the makers' data sheets: float32 without and with TF32, 16 bits. None: not on that chip.
# Lightning has a table too (fabric.utilities.throughput); it is not used, as it does not know the name that an
# H200 reports, has sparse numbers for H200 and H100 NVL, and takes an L40S for an L4.
_SHEETS: dict[str, tuple[float, float | None, float | None]] = {
    "b200": (75, 1125, 2250),
    "gh200": (66.9, 494.7, 989.4),
    "h200 nvl": (60, 417.5, 835.5),
    "h200": (66.9, 494.7, 989.4),
    "h100 nvl": (60, 417.5, 835.5),
    "h100 pcie": (51.2, 378, 756),
    "h100": (66.9, 494.7, 989.4),
    "a100": (19.5, 156, 312),
    "l40s": (91.6, 183, 362),
    "l40": (90.5, 90.5, 181),
    "l4": (30.3, 60, 121),
    "a40": (37.4, 74.8, 149.7),
    "rtx a6000": (38.7, 77.4, 154.8),
}
_DTYPES = {"16": torch.float16, "bf16": torch.bfloat16, "64": torch.float64}
_SECONDS = 0.2  # of the measurement, in each process once
_LARGEST = 8192


class Peak(NamedTuple):
    """FLOP/s of one device, and where the number comes from: data sheet, measured or given."""

    flops: float
    source: str


def compute_dtype(precision: str) -> torch.dtype:
    """What the matrix multiplications of a Lightning precision (`bf16-mixed`, ...) are done in."""
    if precision.startswith("transformer-engine"):
        return torch.bfloat16
    return _DTYPES.get(precision.partition("-")[0], torch.float32)


def find_peak(device: torch.device, dtype: torch.dtype) -> Peak | None:
    """The device's peak; None for a kind of device that is not known here."""
    if device.type == "cuda" and (listed := _listed(torch.cuda.get_device_name(device), dtype)):
        return Peak(listed, "data sheet")
    if device.type not in ("cpu", "cuda", "mps"):
        return None
    return Peak(measure_peak(device, dtype, torch.get_num_threads()), "measured")


def _listed(name: str, dtype: torch.dtype) -> float | None:
    """FLOP/s by the data sheet of the chip of that name; a slice of one (MIG) has no sheet of its own."""
    name = name.lower()
    chip = next((chip for chip in _SHEETS if re.search(rf"\b{chip}\b", name)), None)
    if chip is None or "mig" in name.split():
        return None
    single, tensor, half = _SHEETS[chip]
    if dtype in (torch.float16, torch.bfloat16):
        found = half
    elif dtype == torch.float32:
        found = single if torch.get_float32_matmul_precision() == "highest" else tensor
    else:
        return None
    return found * 1e12 if found else None


@cache
def measure_peak(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """FLOP/s of the best of several square matrix multiplications, large enough to fill the device.

    Draws no random numbers, so that a run is the same with and without it.
    """
    size, started, best = 256, time.perf_counter(), 0.0
    seconds = _time(size, device, dtype)  # the first one also loads libraries
    while time.perf_counter() - started < _SECONDS:
        seconds = _time(size, device, dtype)
        best = max(best, 2 * size**3 / seconds)
        if seconds < _SECONDS / 20 and size < _LARGEST:
            size *= 2
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return best or 2 * size**3 / seconds


def _time(size: int, device: torch.device, dtype: torch.dtype) -> float:
    """Seconds of one product of two ``(size, size)`` matrices."""
    matrix = torch.arange(size * size, device=device).view(size, size).sin().to(dtype)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        synchronize(device)
        start = time.perf_counter()
        matrix @ matrix
        synchronize(device)
    return max(time.perf_counter() - start, 1e-9)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
