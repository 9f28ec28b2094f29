"""Chunks give the values and the gradient of the undivided batch, dropout included."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn

from lightning_cpt.chunks import Work, _as_many, encode_in_chunks, plan_chunks
from lightning_cpt.losses import InfoNCE
from lightning_cpt.memory import ActivationMemory
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


def encode(model: nn.Module, sequences: Ragged, budget: int, recompute: bool) -> Tensor:
    memory = ActivationMemory(0 if recompute else "all")
    return encode_in_chunks(model, sequences, token_budget=budget, memory=memory)[0]


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
    chunked = encode(model, sequences, budget, recompute)
    assert distance(chunked, whole) < 1e-14
    expected = gradient(model, lambda: model(sequences))
    found = gradient(model, lambda: encode(model, sequences, budget, recompute))
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


def test_the_devices_random_state_is_kept_for_recomputed_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """checkpoint keeps the random state of the devices of the tensors it is handed; it must be handed them."""
    handed: list[object] = []

    def spy(function: Callable[..., Tensor], *args: object, use_reentrant: bool) -> Tensor:
        handed.extend(args)
        return function(*args)

    monkeypatch.setattr("lightning_cpt.chunks.checkpoint", spy)
    encode(toy(), batch(), budget=100, recompute=True)
    assert handed
    assert all(isinstance(part, Tensor) for part in handed)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_dropout_repeats_in_the_recomputed_chunks_on_cuda() -> None:
    model, sequences = toy(dropout=0.3).cuda(), batch().to("cuda")
    gradients = []
    for recompute in (True, False):
        torch.manual_seed(5)
        gradients.append(gradient(model, lambda again=recompute: encode(model, sequences, 100, again)))  # type: ignore[misc]
    assert torch.allclose(*gradients)


def test_dropout_repeats_in_the_recomputed_chunks() -> None:
    model, sequences = toy(dropout=0.3), batch()
    torch.manual_seed(7)
    expected = two_pass(model, sequences, 50)
    torch.manual_seed(7)
    found = gradient(model, lambda: encode(model, sequences, 50, True))
    torch.manual_seed(7)
    kept = gradient(model, lambda: encode(model, sequences, 50, False))
    torch.manual_seed(8)
    other = gradient(model, lambda: encode(model, sequences, 50, True))
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
            lambda keep=not recompute: encode(model, sequences, 50, not keep),
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
            encode(model, sequences, 50, recompute)
        return sum(sizes)

    assert kept_by(True) < kept_by(False) / 10


def test_without_gradients_nothing_is_checkpointed() -> None:
    model, sequences = toy(), batch()
    with torch.no_grad():
        vectors = encode(model, sequences, 50, True)
    assert not vectors.requires_grad


def test_lightnings_bf16_sums_the_chunks_in_float32() -> None:
    """Its plugin switches autocast's weight cache off; with it the chunks' gradients would add up in bf16."""
    model, sequences = toy(dtype=torch.float32), batch()
    exact = gradient(model, lambda: model(sequences))
    plugin = MixedPrecision("bf16-mixed", "cpu")

    def mixed(budget: int) -> float:
        def in_bf16() -> Tensor:
            with plugin.forward_context():
                assert not torch.is_autocast_cache_enabled()
                return encode(model, sequences, budget, True)

        return distance(gradient(model, in_bf16), exact)

    undivided = mixed(100_000)
    assert 0 < undivided < 0.05
    assert mixed(1) < 1.2 * undivided  # 48 chunks add no error of their own


def test_a_budget_keeps_the_last_chunks_and_the_work_says_so() -> None:
    model, sequences = toy(dropout=0.3), batch()
    memory = ActivationMemory(0)
    torch.manual_seed(7)
    expected = two_pass(model, sequences, 50)
    sizes = [len(i) * int(sequences.lengths[i].max()) for i in plan_chunks(sequences.lengths, 50)]
    works: list[Work] = []

    def partly() -> Tensor:
        vectors, work = encode_in_chunks(model, sequences, token_budget=50, memory=memory)
        works.append(work)
        return vectors

    gradient(model, partly)  # the first pass finds out what a token takes
    assert memory.bytes_per_token is not None
    memory._given = memory.bytes_per_token * sum(sizes[-3:]) + 1
    torch.manual_seed(7)
    assert distance(gradient(model, partly), expected) < 1e-13
    first, then = works
    assert (first.kept_chunks, then.kept_chunks) == (1, 3)
    assert then.chunks == len(sizes)
    assert then.sequences == len(sequences)
    assert then.tokens == int(sequences.lengths.sum())
    assert then.padded_tokens == sum(sizes)
    assert then.recomputed_tokens == sum(sizes[:-3])
    assert then.squares == int(sequences.lengths.square().sum()) <= then.padded_squares
    assert then.recomputed_squares < then.padded_squares


@pytest.mark.parametrize("number", [4, 9, 60])
def test_ranks_in_step_run_as_many_chunks_with_the_same_sequences(number: int) -> None:
    sequences = batch()
    plan = plan_chunks(sequences.lengths, 400)
    chunks = sequences.select(torch.cat(plan)).split([len(index) for index in plan])
    number = max(number, len(chunks))
    parts, dummies = _as_many(chunks, number, torch.device("cpu"))
    assert len(parts) == number
    assert dummies == max(0, number - len(sequences))
    assert torch.equal(Ragged.cat(parts[dummies:]).ids, Ragged.cat(chunks).ids)
    assert torch.equal(Ragged.cat(parts[dummies:]).lengths, Ragged.cat(chunks).lengths)


def test_two_forward_passes_before_one_backward_pass() -> None:
    model, sequences = toy(), batch()
    model.zero_grad()
    (loss_of(model(sequences)) + 3 * loss_of(model(sequences))).backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    first, second = (encode(model, sequences, 50, recompute=True) for _ in range(2))
    (loss_of(first) + 3 * loss_of(second)).backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert distance(found, expected) < 1e-13


def test_clipped_and_accumulated_steps_equal_those_of_undivided_batches() -> None:
    weights = []
    for forward in (lambda model: model(batch()), lambda model: encode(model, batch(), 50, recompute=True)):
        model = toy()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for _ in range(3):
            optimizer.zero_grad()
            for share in (0.25, 0.75):
                (share * loss_of(forward(model))).backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            assert norm > 0.01
            optimizer.step()
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert distance(weights[1], weights[0]) < 1e-13
