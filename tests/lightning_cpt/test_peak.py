"""A device's peak: the right line of the table for the names that GPUs report, else a measurement."""

from __future__ import annotations

import pytest
import torch

from lightning_cpt import peak
from lightning_cpt.peak import compute_dtype, find_peak, measure_peak

CUDA = torch.device("cuda:0")


@pytest.mark.parametrize(
    ("name", "half", "single"),
    [
        ("NVIDIA H200", 989.4, 66.9),
        ("NVIDIA H200 NVL", 835.5, 60),
        ("NVIDIA GH200 480GB", 989.4, 66.9),
        ("NVIDIA H100 80GB HBM3", 989.4, 66.9),
        ("NVIDIA H100 PCIe", 756, 51.2),
        ("NVIDIA H100 NVL", 835.5, 60),
        ("NVIDIA A100-SXM4-80GB", 312, 19.5),
        ("NVIDIA A100 80GB PCIe", 312, 19.5),
        ("NVIDIA L40S", 362, 91.6),
        ("NVIDIA L4", 121, 30.3),
    ],
)
def test_data_sheets(monkeypatch: pytest.MonkeyPatch, name: str, half: float, single: float) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert find_peak(CUDA, torch.bfloat16) == (pytest.approx(half * 1e12), "data sheet")
    assert find_peak(CUDA, torch.float32) == (pytest.approx(single * 1e12), "data sheet")


def test_tf32_counts_where_it_is_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-40GB")
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert find_peak(CUDA, torch.float32) == (pytest.approx(156e12), "data sheet")


@pytest.mark.parametrize(
    "name", ["NVIDIA GeForce RTX 4090", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "Something New"]
)
def test_chips_without_a_sheet_are_measured(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    monkeypatch.setattr(peak, "measure_peak", lambda *_: 5e12)
    assert find_peak(CUDA, torch.bfloat16) == (5e12, "measured")


def test_other_devices_are_unknown() -> None:
    assert find_peak(torch.device("meta"), torch.float32) is None


def test_a_measurement_on_the_cpu_is_sane_and_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    found = find_peak(torch.device("cpu"), torch.float32)
    assert found is not None
    assert found.source == "measured"
    assert 1e8 < found.flops < 1e14
    assert torch.equal(before, torch.get_rng_state())
    again = measure_peak(torch.device("cpu"), torch.float32, torch.get_num_threads())
    assert again == found.flops  # once per process


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("32-true", torch.float32),
        ("32", torch.float32),
        ("bf16-mixed", torch.bfloat16),
        ("16-mixed", torch.float16),
        ("64-true", torch.float64),
        ("transformer-engine", torch.bfloat16),
    ],
)
def test_precision(precision: str, dtype: torch.dtype) -> None:
    assert compute_dtype(precision) == dtype
