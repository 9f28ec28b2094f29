"""One table for the token embedding's gradient: plain autograd's values, whatever the graph's shape; nothing stays."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_cpt import encoder as encoder_module
from lightning_cpt.embedding import Lookups, summable
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.ragged import Ragged
from lightning_cpt.recompute import Recompute

TEXTS = [
    "a",
    "",
    "def f(x):\n    return x",
    "b" * 60,
    "two words",
    "two words",
    "[brackets] {every} ]where[ }{",
]


def build(kind: str, tokenizer: str, **options: Any) -> TextEncoder:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = {"model_type": kind, **shape, "intermediate_size": 64, "max_position_embeddings": 80}
    lengths: dict[str, Any] = {"max_length_x": 48, "max_length_y": 40, "chunk_tokens": 64}
    return TextEncoder(config=config, tokenizer=tokenizer, **{**lengths, **options}).double()


def gradients(encoder: TextEncoder, passes: int = 1) -> dict[str, Tensor]:
    """Of a weighted sum over ``passes`` forward passes of other texts, before one backward pass."""
    encoder.zero_grad()
    torch.manual_seed(1)  # dropout's, too
    loss = torch.zeros((), dtype=torch.float64)
    for number in range(passes):
        vectors = encoder(encoder.tokenization(TEXTS[number:], "x"))
        loss = loss + (vectors * torch.linspace(-1, 2, vectors.numel()).view_as(vectors).double()).sum()
    loss.backward()
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


def used(table: nn.Embedding) -> Any:
    """Ids -> rows, through Lookups of the table."""
    lookups = Lookups(table)
    encode, recompute = lookups.used(lambda chunk: table(chunk.ids)), Recompute(table, lookups)
    return lambda *ids: recompute(encode, Ragged(torch.tensor(ids), torch.tensor([len(ids)])))


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("memory", ["all", "0"])
@pytest.mark.parametrize("kind", ["llama", "bert"])  # bert's table has a padding token
def test_the_gradient_is_autograds(
    kind: str, memory: str, passes: int, tokenizer_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = build(kind, tokenizer_folder, activation_memory=memory)
    assert encoder.work is None
    found = gradients(encoder, passes)
    assert encoder.work is not None
    assert encoder.work.chunks > 2
    monkeypatch.setattr(encoder_module, "summable", lambda module: False)
    expected = gradients(encoder, passes)
    assert list(found) == list(expected)
    for name, grad in expected.items():
        assert torch.allclose(found[name], grad, rtol=1e-12, atol=1e-14), name
    assert expected[next(name for name in expected if "embed" in name)].abs().sum() > 0


def test_the_padding_token_gets_none() -> None:
    table = nn.Embedding(5, 3, padding_idx=1)
    found = used(table)(0, 1, 1, 4)
    assert torch.equal(found, table(torch.tensor([0, 1, 1, 4])))
    found.sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad[:, 0].tolist() == [1, 0, 0, 0, 1]


def test_a_second_backward_pass_begins_anew() -> None:
    table = nn.Embedding(5, 3)
    look = used(table)
    found = look(2, 2).sum() + look(3).sum()
    for _ in range(2):
        table.weight.grad = None
        found.backward(retain_graph=True)
        assert table.weight.grad is not None
        assert table.weight.grad[:, 0].tolist() == [0, 0, 2, 1, 0]


def test_a_table_with_another_use_gets_both_gradients() -> None:
    table = nn.Embedding(4, 2)
    (used(table)(1).sum() + 10 * table.weight.sum()).backward()
    assert table.weight.grad is not None
    assert table.weight.grad[:, 0].tolist() == [10, 11, 10, 10]


def test_a_gradient_of_the_gradient_is_refused() -> None:
    table = nn.Embedding(4, 2)
    (grad,) = torch.autograd.grad(used(table)(1).square().sum(), table.weight, create_graph=True)
    with pytest.raises(RuntimeError):
        grad.sum().backward()


def test_the_graph_is_freed_without_the_collector() -> None:
    table = nn.Embedding(5, 3)
    gc.disable()
    try:
        lookups = Lookups(table)
        found = lookups.used(lambda chunk: table(chunk.ids))(Ragged(torch.tensor([2]), torch.tensor([1])))
        kept = weakref.ref(lookups)
        del lookups, found
        assert kept() is None
    finally:
        gc.enable()


def test_outside_the_module_is_itself() -> None:
    table = nn.Embedding(5, 3)
    with pytest.raises(IndexError):
        used(table)(7)
    assert "forward" not in vars(table)


def hooked() -> nn.Embedding:
    table = nn.Embedding(5, 3)
    table.forward = lambda ids: ids  # type: ignore[method-assign,assignment]
    return table


@pytest.mark.parametrize(
    ("module", "good"),
    [
        (nn.Embedding(5, 3), True),
        (nn.Embedding(5, 3, padding_idx=0), True),
        (nn.Embedding(5, 3, max_norm=1.0), False),
        (nn.Embedding(5, 3, sparse=True), False),
        (nn.Embedding(5, 3, scale_grad_by_freq=True), False),
        (nn.Embedding(5, 3, dtype=torch.bfloat16), False),
        (nn.Embedding(5, 3, device="meta"), False),
        (nn.Embedding(5, 3).requires_grad_(False), False),
        (hooked(), False),
        (type("Scaled", (nn.Embedding,), {})(5, 3), False),
        (None, False),
    ],
)
def test_what_is_summable(module: Any, good: bool) -> None:
    assert summable(module) is good
