"""Chunks give the values and the gradient of the undivided batch, dropout included."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn

from lightning_cpt.chunks import encode_in_chunks, plan_chunks
from lightning_cpt.losses import InfoNCE
from lightning_cpt.ragged import Ragged

PAIRS, WIDTH = 24, 12


class Toy(nn.Module):
    """Embeds, mixes a sequence's tokens by their mean, drops out."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = nn.Embedding(40, WIDTH)
        self.mix = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Dropout(dropout), nn.Linear(64, WIDTH))

    def forward(self, chunk: Ragged) -> Tensor:
        weights = chunk.mask()[:, :, None].to(self.table.weight.dtype)
        states = self.mix(self.table(chunk.pad(0)))
        return nn.functional.normalize((states * weights).sum(1).float().to(weights.dtype), dim=-1)


def toy(dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> Toy:
    torch.manual_seed(0)
    return Toy(dropout).to(dtype)


def batch() -> Ragged:
    """Both sides of `PAIRS` pairs, of 1 to 30 tokens."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 31, (2 * PAIRS,), generator=generator)
    return Ragged(torch.randint(1, 40, (int(lengths.sum()),), generator=generator), lengths)


def loss_of(vectors: Tensor) -> Tensor:
    return InfoNCE()(vectors[:PAIRS], vectors[PAIRS:]).loss


def gradient(model: nn.Module, encode: Callable[[], Tensor]) -> Tensor:
    model.zero_grad()
    loss_of(encode()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def distance(a: Tensor, b: Tensor) -> float:
    return float(((a - b).norm() / b.norm()).detach())


@pytest.mark.parametrize("budget", [1, 7, 64, 10_000])
def test_a_plan_holds_each_sequence_once_within_the_budget(budget: int) -> None:
    lengths = batch().lengths
    plan = plan_chunks(lengths, budget)
    assert sorted(torch.cat(plan).tolist()) == list(range(len(lengths)))
    for index in plan:
        assert len(index) == 1 or len(index) * int(lengths[index].max()) <= budget
    longest = [int(lengths[index].max()) for index in plan]
    assert longest == sorted(longest)


def test_chunks_are_as_full_as_the_budget_allows() -> None:
    plan = plan_chunks(torch.tensor([5, 1, 5, 2, 5, 1]), 10)
    assert [index.tolist() for index in plan] == [[1, 5, 3], [0, 2], [4]]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("budget", [1, 50, 10_000])
def test_chunked_equals_undivided(budget: int, recompute: bool) -> None:
    model, sequences = toy(), batch()
    whole = model(sequences)
    chunked = encode_in_chunks(model, sequences, token_budget=budget, recompute=recompute)
    assert distance(chunked, whole) < 1e-14
    expected = gradient(model, lambda: model(sequences))
    found = gradient(
        model, lambda: encode_in_chunks(model, sequences, token_budget=budget, recompute=recompute)
    )
    assert distance(found, expected) < 1e-13


def two_pass(model: nn.Module, sequences: Ragged, budget: int) -> Tensor:
    """Gradient caching written out: encode without a graph, then again chunk by chunk with the saved dropout."""
    model.zero_grad()
    plan = plan_chunks(sequences.lengths, budget)
    states, pieces = [], []
    for index in plan:
        states.append(torch.get_rng_state())
        with torch.no_grad():
            pieces.append(model(sequences.select(index)))
    order = torch.cat(plan).argsort()
    cached = torch.cat(pieces)[order].requires_grad_()
    loss_of(cached).backward()
    assert cached.grad is not None
    for index, state in zip(plan, states, strict=True):
        torch.set_rng_state(state)
        model(sequences.select(index)).backward(cached.grad[index])
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_dropout_repeats_in_the_recomputed_chunks() -> None:
    model, sequences = toy(dropout=0.3), batch()
    torch.manual_seed(7)
    expected = two_pass(model, sequences, 50)
    torch.manual_seed(7)
    found = gradient(model, lambda: encode_in_chunks(model, sequences, token_budget=50, recompute=True))
    torch.manual_seed(7)
    kept = gradient(model, lambda: encode_in_chunks(model, sequences, token_budget=50, recompute=False))
    torch.manual_seed(8)
    other = gradient(model, lambda: encode_in_chunks(model, sequences, token_budget=50, recompute=True))
    assert distance(found, expected) < 1e-13
    assert distance(kept, expected) < 1e-13
    assert distance(other, expected) > 1e-2


def test_recomputing_does_not_move_the_random_state() -> None:
    model, sequences = toy(dropout=0.3), batch()
    after = []
    for recompute in (False, True):
        torch.manual_seed(7)
        gradient(
            model,
            lambda keep=not recompute: encode_in_chunks(
                model, sequences, token_budget=50, recompute=not keep
            ),
        )
        after.append(torch.rand(1).item())
    assert after[0] == after[1]


def test_recomputing_frees_the_activations() -> None:
    model, sequences = toy(), batch()

    def kept_by(recompute: bool) -> int:
        sizes = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            encode_in_chunks(model, sequences, token_budget=50, recompute=recompute)
        return sum(sizes)

    assert kept_by(True) < kept_by(False) / 10


def test_without_gradients_nothing_is_checkpointed() -> None:
    model, sequences = toy(), batch()
    with torch.no_grad():
        vectors = encode_in_chunks(model, sequences, token_budget=50, recompute=True)
    assert not vectors.requires_grad


def test_lightnings_bf16_sums_the_chunks_in_float32() -> None:
    """Its plugin switches autocast's weight cache off; with it the chunks' gradients would add up in bf16."""
    model, sequences = toy(dtype=torch.float32), batch()
    exact = gradient(model, lambda: model(sequences))
    plugin = MixedPrecision("bf16-mixed", "cpu")

    def mixed(budget: int) -> float:
        def encode() -> Tensor:
            with plugin.forward_context():
                assert not torch.is_autocast_cache_enabled()
                return encode_in_chunks(model, sequences, token_budget=budget, recompute=True)

        return distance(gradient(model, encode), exact)

    undivided = mixed(100_000)
    assert 0 < undivided < 0.05
    assert mixed(1) < 1.2 * undivided  # 48 chunks add no error of their own
