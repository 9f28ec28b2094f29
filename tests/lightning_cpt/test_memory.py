"""The memory for activations: what is asked for, what a chunk takes, how many chunks that is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_cpt.errors import ConfigError
from lightning_cpt.memory import ActivationMemory, free_memory, parse_bytes, storages

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("setting", "size"),
    [
        (0, 0),
        (4096, 4096),
        ("8GiB", 8 * 2**30),
        ("1.5 gb", 1.5e9),
        ("300MiB", 300 * 2**20),
        ("all", float("inf")),
    ],
)
def test_amounts_are_read(setting: Any, size: float) -> None:
    assert parse_bytes(setting) == size
    assert ActivationMemory(setting).budget == size


@pytest.mark.parametrize("setting", ["much", "-1", "8 GiBs", "", True, "1e9"])
def test_other_words_are_refused(setting: Any) -> None:
    with pytest.raises(ConfigError, match=r"activation_memory: .* write auto, all, 0"):
        ActivationMemory(setting)


def test_the_last_chunks_are_kept_as_far_as_they_fit() -> None:
    memory = ActivationMemory(1000)
    assert memory.keep([10, 20, 30]) == 1  # nothing is known yet
    memory.bytes_per_token = 10.0
    assert memory.keep([10, 20, 30]) == 3
    assert memory.keep([10, 40, 60]) == 2
    assert memory.keep([10, 60, 60]) == 1
    assert memory.keep([10, 60, 600]) == 1  # the last has to be whole in any case
    assert memory.keep([]) == 0


def test_all_and_nothing_need_no_measure() -> None:
    assert ActivationMemory("all").keep([5, 5, 5]) == 3
    nothing = ActivationMemory(0)
    nothing.bytes_per_token = 1.0
    assert nothing.keep([5, 5, 5]) == 1


def test_a_chunks_activations_are_counted_once_and_without_weights() -> None:
    layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    memory = ActivationMemory(0)
    inputs = torch.randn(5, 8)
    result = memory.measure(lambda: layers(inputs), 5, storages(layers.parameters()))
    assert result.requires_grad
    assert memory.bytes_per_token == 4 * (8 + 16)  # the input of either product; tanh's result is the second


def test_auto_takes_half_of_what_is_free_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_cpt.memory.free_memory", lambda: 1000)
    memory = ActivationMemory("auto")
    memory.ranks_here = 2
    assert not memory.settled
    memory.start(CPU)
    assert memory.settled
    assert memory.budget == 250


def test_auto_on_cuda_takes_what_the_first_step_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of 1,000: 100 held at the start, a peak of 300, and 150 of optimizer state from then on."""
    held = [100]
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda device: held[0])
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: 300)
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: 400)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (500, 1000))  # 100 belong to somebody else
    memory, device = ActivationMemory("auto"), torch.device("cuda")
    memory.start(device)
    assert memory.budget == 0
    held[0] = 250
    memory.start(device)  # a second batch of the same step changes nothing
    memory.settle(device)
    assert memory.budget == pytest.approx(0.9 * 900 - 450)


def test_the_host_has_some_memory() -> None:
    assert 2**20 < free_memory() < 2**50
