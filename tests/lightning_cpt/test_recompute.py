"""Chunks that run again without a graph in between: the kept chunks' gradient, once a weight; nothing else stays."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_cpt import encoder as encoder_module
from lightning_cpt.embedding import Lookups
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.memory import ActivationMemory
from lightning_cpt.ragged import Ragged
from lightning_cpt.recompute import Recompute

TEXTS = ["word", "", "b" * 60, *("two words " * n for n in (1, 1, 2, 3))]
SEQUENCES = Ragged(torch.tensor([1, 2, 3]), torch.tensor([3]))


def build(kind: str, tokenizer: str, memory: str, **config: Any) -> TextEncoder:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = {"model_type": kind, **shape, "intermediate_size": 64, "max_position_embeddings": 80, **config}
    lengths: dict[str, Any] = {"max_length_x": 48, "max_length_y": 40, "chunk_tokens": 64}
    return TextEncoder(config=config, tokenizer=tokenizer, activation_memory=memory, **lengths)


def loss_of(encoder: TextEncoder, passes: int = 1) -> Tensor:
    """A weighted sum over ``passes`` forward passes of other texts."""
    torch.manual_seed(1)  # dropout's, too
    loss = torch.zeros((), dtype=torch.float64)
    for number in range(passes):
        vectors = encoder(encoder.tokenization(TEXTS[number:], "x"))
        loss = loss + (vectors * torch.linspace(-1, 2, vectors.numel()).view_as(vectors).double()).sum()
    assert encoder.work is not None
    assert encoder.work.chunks > 2
    return loss


def gradients(encoder: TextEncoder, loss: Tensor) -> dict[str, Tensor]:
    encoder.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], error: float = 1e-12) -> None:
    assert list(found) == list(expected)
    for name, grad in expected.items():
        assert (found[name] - grad).norm() <= error * grad.norm() + 1e-14, name


@contextmanager
def one_graph() -> Iterator[None]:
    """All chunks in one ordinary graph of autograd, the embedding among them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_module, "Recompute", lambda module, lookups: None)
        patch.setattr(encoder_module, "summable", lambda module: False)
        yield


def only_norms(encoder: TextEncoder) -> None:
    for name, weight in encoder.named_parameters():
        weight.requires_grad_("norm" in name.lower())


def shared_layers(encoder: TextEncoder) -> None:
    first, second = encoder.backbone.get_submodule("layers").children()
    second.get_submodule("mlp.up_proj").weight = first.get_submodule("mlp.up_proj").weight


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize(
    ("kind", "change", "plain_embedding"),
    [
        ("llama", None, False),
        ("llama", None, True),
        ("llama", only_norms, False),
        ("llama", shared_layers, False),
        ("bert", None, False),
        ("bert", None, True),
    ],
)
def test_the_gradient_is_that_of_one_graph(
    kind: str,
    change: Callable[[TextEncoder], None] | None,
    plain_embedding: bool,
    passes: int,
    tokenizer_folder: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if plain_embedding:
        monkeypatch.setattr(encoder_module, "summable", lambda module: False)
    found = {}
    for memory in ("0", "all"):
        encoder = build(kind, tokenizer_folder, memory).double()
        if change:
            change(encoder)
        loss_of(encoder)  # from the second pass on nothing but the last chunk is kept
        found[memory] = gradients(encoder, loss_of(encoder, passes))
        assert encoder.work is not None
        assert (encoder.work.kept_chunks < encoder.work.chunks) == (memory == "0")
    with one_graph():
        expected = gradients(encoder, loss_of(encoder, passes))
    assert len(expected) > 3
    assert_same(found["0"], expected)
    assert_same(found["all"], expected)


def test_nothing_to_learn_is_nothing_to_run_again(tokenizer_folder: str) -> None:
    encoder = build("llama", tokenizer_folder, "0").requires_grad_(False)
    assert not loss_of(encoder).requires_grad


def test_weights_that_a_chunk_does_not_read_get_no_gradient() -> None:
    used, idle = nn.Linear(2, 2), nn.Linear(2, 2)
    module = nn.ModuleList([used, idle])
    Recompute(module)(lambda chunk: used(torch.ones(1, 2)), SEQUENCES).sum().backward()
    assert used.weight.grad is not None
    assert idle.weight.grad is None
    Recompute(module)(lambda chunk: torch.ones(1, 2), SEQUENCES).sum().backward()
    assert used.weight.grad.tolist() == [[1, 1], [1, 1]]


def test_each_weight_hears_of_its_gradient_once(tokenizer_folder: str) -> None:
    """DDP counts the gradients of a backward pass: a second one of a weight is an error there."""
    encoder = build("llama", tokenizer_folder, "0")
    loss = loss_of(encoder)
    heard = dict.fromkeys((name for name, _ in encoder.named_parameters()), 0)

    def hear(name: str) -> Callable[[Tensor], None]:
        def hook(weight: Tensor) -> None:
            heard[name] += 1

        return hook

    for name, weight in encoder.named_parameters():
        weight.register_post_accumulate_grad_hook(hear(name))
    loss.backward()
    assert set(heard.values()) == {1}


def nodes(tensor: Tensor) -> int:
    """Of the graph behind a tensor."""
    seen: set[Any] = set()
    open_ends = [tensor.grad_fn]
    while open_ends:
        node = open_ends.pop()
        if node is not None and node not in seen:
            seen.add(node)
            open_ends += [behind for behind, _ in node.next_functions]
    return len(seen)


def test_a_chunk_is_one_node_of_the_graph(tokenizer_folder: str) -> None:
    encoder = build("llama", tokenizer_folder, "0")
    texts = ["word " * 9] * 5
    few, many = (nodes(encoder(encoder.tokenization(texts * times, "x"))) for times in (1, 3))
    more = len(texts) * 2  # chunks: each text is one
    assert many - few == more


@pytest.mark.parametrize("memory", ["0", "all"])
def test_dropout_repeats(memory: str, tokenizer_folder: str) -> None:
    encoder = build("bert", tokenizer_folder, memory, hidden_dropout_prob=0.3).double().train()
    found, drawn = gradients(encoder, loss_of(encoder)), torch.rand(3)
    with one_graph():
        encoder.memory = ActivationMemory("all")
        assert_same(found, gradients(encoder, loss_of(encoder)))
    assert torch.equal(torch.rand(3), drawn)  # and what is drawn behind is what it was


def test_another_backward_pass_begins_anew(tokenizer_folder: str) -> None:
    encoder = build("llama", tokenizer_folder, "0").double()
    loss = loss_of(encoder)
    encoder.zero_grad()
    loss.backward(retain_graph=True)
    first = {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}
    assert_same(gradients(encoder, loss), first)


@pytest.mark.parametrize("memory", ["0", "all"])
def test_mixed_precision_is_what_it_was(memory: str, tokenizer_folder: str) -> None:
    """A backward pass has no autocast of its own."""

    def mixed(memory: str) -> dict[str, Tensor]:
        encoder.memory = ActivationMemory(memory)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            loss = loss_of(encoder)
        return gradients(encoder, loss)

    encoder = build("llama", tokenizer_folder, memory)
    found = mixed(memory)
    with one_graph():
        expected = mixed("all")
        exact = gradients(encoder, loss_of(encoder))
    for name, grad in expected.items():
        assert (found[name] - grad).norm() < 1e-2 * (exact[name] - grad).norm() + 1e-7, name


@pytest.mark.parametrize("wanted", ["layers.1.mlp.up_proj.weight", "embed_tokens.weight"])
def test_a_backward_pass_to_some_weights_leaves_nothing_behind(wanted: str, tokenizer_folder: str) -> None:
    encoder = build("llama", tokenizer_folder, "0").double()
    expected = gradients(encoder, loss_of(encoder))
    loss = loss_of(encoder)
    (some,) = torch.autograd.grad(loss, [encoder.backbone.get_parameter(wanted)], retain_graph=True)
    assert_same({wanted: some}, {wanted: expected[f"backbone.{wanted}"]})
    assert_same(gradients(encoder, loss), expected)


def test_a_table_with_another_use_gets_both_gradients() -> None:
    module = nn.Embedding(4, 2)
    lookups = Lookups(module)
    encode = lookups.used(lambda chunk: module(chunk.ids) + 10 * module.weight.sum())
    Recompute(module, lookups)(encode, SEQUENCES).sum().backward()
    assert module.weight.grad is not None
    assert module.weight.grad[:, 0].tolist() == [60, 61, 61, 61]


def test_a_weight_that_was_replaced_meanwhile_stays_so() -> None:
    module = nn.Linear(2, 2)
    old = module.weight
    encoded = Recompute(module)(lambda chunk: module(torch.ones(1, 2)), SEQUENCES)
    new = module.weight = nn.Parameter(torch.zeros(2, 2))
    encoded.sum().backward()
    assert module.weight is new
    assert old.grad is not None
    assert new.grad is None


def test_with_functional_weights() -> None:
    module = nn.Linear(2, 2)
    own = module.weight
    given = torch.ones(2, 2, requires_grad=True)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = module

        def forward(self) -> Tensor:
            return Recompute(self)(lambda chunk: self.part(torch.ones(1, 2)), SEQUENCES)

    encoded = torch.func.functional_call(Encoder(), {"part.weight": 2 * given})
    encoded.sum().backward()
    assert given.grad is not None
    assert given.grad.tolist() == [[2, 2], [2, 2]]
    assert module.weight is own
    assert own.grad is None


def test_recurrent_layers_which_hold_their_weights_twice() -> None:
    module = nn.GRU(3, 2)
    torch.manual_seed(0)
    x = torch.randn(4, 1, 3)
    module(x)[0].sum().backward()
    expected = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    encoded = Recompute(module)(lambda chunk: module(x)[0], SEQUENCES)
    found = torch.autograd.grad(encoded.sum(), list(module.parameters()))
    assert_same(dict(zip(expected, found, strict=True)), expected)
    assert all(weight.grad is None for weight in module.parameters())


@pytest.mark.parametrize("keeps", [False, True])
def test_the_graph_is_freed_without_the_collector(keeps: bool) -> None:
    module = nn.Embedding(4, 2)
    gc.disable()
    try:
        lookups = Lookups(module)
        recompute, encode = Recompute(module, lookups), lookups.used(lambda chunk: module(chunk.ids))
        encoded = recompute(encode, SEQUENCES, partial(encode, SEQUENCES) if keeps else None)
        kept: list[weakref.ref[Any]] = [weakref.ref(recompute._weights), weakref.ref(lookups)]
        del recompute, lookups, encoded, encode
        assert [one() for one in kept] == [None, None]
    finally:
        gc.enable()


def test_everything_is_back_in_place_after_an_error() -> None:
    module = nn.Embedding(4, 2)
    weight, lookups = module.weight, Lookups(module)

    def forward(chunk: Ragged) -> Tensor:
        torch.rand(1)
        if torch.is_grad_enabled():
            raise MemoryError("again")
        rows: Tensor = module(chunk.ids)
        return rows

    encoded = Recompute(module, lookups)(lookups.used(forward), SEQUENCES)
    random = torch.get_rng_state()
    with pytest.raises(MemoryError, match="again"):
        encoded.sum().backward()
    assert module.weight is weight
    assert torch.equal(torch.get_rng_state(), random)
    assert "forward" not in vars(module)


def test_a_gradient_of_the_gradient_is_refused() -> None:
    module = nn.Linear(2, 2)
    encoded = Recompute(module)(lambda chunk: module(torch.ones(1, 2)), SEQUENCES)
    (grad,) = torch.autograd.grad(encoded.square().sum(), module.weight, create_graph=True)
    with pytest.raises(RuntimeError):
        grad.sum().backward()


@pytest.mark.parametrize("change", [None, shared_layers])
def test_the_bits_are_the_same_however_many_chunks_are_kept(
    change: Callable[[TextEncoder], None] | None, tokenizer_folder: str
) -> None:
    """A resumed run may keep another number than the one that was stopped."""
    encoder = build("llama", tokenizer_folder, "all")
    if change:
        change(encoder)
    found = []
    for memory in ("all", "0", "500KB"):
        encoder.memory = ActivationMemory(memory)
        loss_of(encoder)
        found.append(gradients(encoder, loss_of(encoder)))
        assert encoder.work is not None
        found[-1]["kept"] = torch.tensor(encoder.work.kept_chunks)
    kept = [int(one.pop("kept")) for one in found]
    assert kept[0] > kept[2] > kept[1] == 1
    for other in found[1:]:
        assert all(torch.equal(other[name], grad) for name, grad in found[0].items())
