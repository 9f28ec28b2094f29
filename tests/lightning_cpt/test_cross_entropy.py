"""The tiled cross-entropy against plain autograd over the whole matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_cpt.cross_entropy import cross_entropy
from lightning_cpt.losses import FalseNegatives, Keys, _wide, info_nce

N, DIM = 24, 8


def units(rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, DIM, generator=generator, dtype=torch.float64), dim=-1)


def keys(repeats: int) -> Tensor:
    """Hashes of x, y and document of which ``repeats`` stand twice in each column, elsewhere each time."""
    columns = [torch.arange(N) * 1000 + k for k in range(3)]
    for k, column in enumerate(columns):
        for r in range(repeats):
            column[(7 * k + 2 * r + 1) % N] = column[(7 * k + 2 * r) % N]
    return torch.stack(columns, 1)


def plain(
    x: Tensor, answers: Tensor, scale: Tensor, hidden: Tensor, rows: slice, all_x: Tensor, y: Tensor
) -> Tensor:
    """Both directions of ``rows`` by autograd over whole matrices, ``hidden`` (n, answers) left out."""
    own = torch.arange(rows.start, rows.stop)
    far = float("-inf")
    forth = (scale * x @ answers.T).masked_fill(hidden[rows], far)
    back = (scale * y @ all_x.T).masked_fill(hidden[rows, : len(all_x)], far)
    return (F.cross_entropy(forth, own) + F.cross_entropy(back, own)) / 2


def hidden_by_hand(pairs: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    table = torch.zeros(N, N + len(negatives), dtype=torch.bool)
    for i in range(N):
        for j in range(N):
            table[i, j] = i != j and bool((pairs[i] == pairs[j]).any())
        for m, text in enumerate(negatives):
            table[i, N + m] = bool(positives[i] == text)
    return table


@pytest.mark.parametrize("tile_rows", [1, 5, 100])
@pytest.mark.parametrize("repeats", [0, 3])
@pytest.mark.parametrize("hard", [0, 10])
@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (1, 2), (2, 4)])
def test_value_and_gradients_equal_plain_autograd(
    tile_rows: int, repeats: int, hard: int, rank: int, world_size: int
) -> None:
    leaves: dict[str, Tensor] = {"x": units(N, 1), "y": units(N, 2), "negatives": units(hard, 3)}
    leaves["scale"] = torch.tensor(9.0, dtype=torch.float64)
    pairs = keys(repeats)
    texts = torch.arange(hard) * 1000 + 1  # the first ones are the texts of some pairs' y
    if not repeats:
        texts = -texts
    n = N // world_size
    rows = slice(rank * n, rank * n + n)
    hidden = hidden_by_hand(pairs[:, :2], pairs[:, 1], texts)
    assert bool(hidden.any()) == bool(repeats)

    def ours(x: Tensor, y: Tensor, negatives: Tensor, scale: Tensor) -> Any:
        return info_nce(
            x[rows],
            y[rows],
            scale,
            rank=rank,
            world_size=world_size,
            all_x=x,
            all_y=y,
            all_negatives=negatives if hard else None,
            false_negatives=FalseNegatives(pairs[:, :2], pairs[:, 1], texts),
            tile_bytes=tile_rows * (N + hard) * 8,
        )

    def naive(x: Tensor, y: Tensor, negatives: Tensor, scale: Tensor) -> Tensor:
        return plain(x[rows], torch.cat([y, negatives]), scale, hidden, rows, x, y[rows])

    found = ours(**leaves)
    assert float(found.masked_per_query) == pytest.approx(float(hidden[rows].sum()) / n)
    assert float(found.negatives_per_query) == pytest.approx(N + hard - 1 - float(hidden[rows].sum()) / n)
    values, gradients = [], []
    for loss in (lambda **parts: ours(**parts).loss, naive):
        parts = {name: value.clone().requires_grad_() for name, value in leaves.items()}
        value = loss(**parts)
        (3 * value).backward()
        values.append(float(value))
        gradients.append({name: part.grad for name, part in parts.items()})
    assert values[0] == pytest.approx(values[1], rel=1e-13)
    for name, mine in gradients[0].items():
        if name == "negatives" and not hard:
            continue
        assert mine is not None
        torch.testing.assert_close(mine, gradients[1][name], rtol=1e-12, atol=1e-14)


def test_twice_backward_gives_twice_the_gradient() -> None:
    x, y = units(N, 1).requires_grad_(), units(N, 2)
    loss = cross_entropy(x, y, 5.0, first=0, both=True, tile_bytes=400).loss
    (once,) = torch.autograd.grad(loss, x, retain_graph=True)
    (twice,) = torch.autograd.grad(2 * loss, x)
    torch.testing.assert_close(2 * once, twice)


def test_no_gradient_is_taken_where_none_is_wanted() -> None:
    x = units(N, 1)
    with torch.no_grad():
        found = cross_entropy(x.requires_grad_(), x, 5.0, first=0, both=True, tile_bytes=400)
    assert not found.loss.requires_grad
    assert float(found.accuracy) == float(found.column_accuracy) == 1.0


def test_a_collapsed_encoder_is_right_about_nothing() -> None:
    x = torch.ones(4, DIM)
    found = cross_entropy(x, x, 5.0, first=0, both=True, tile_bytes=1 << 20)
    assert float(found.accuracy) == float(found.column_accuracy) == 0.0


@pytest.mark.parametrize("both", [False, True])
def test_memory_grows_with_the_tile_not_with_the_matrix(both: bool) -> None:
    """The largest tensor that any operation makes, seen through the dispatcher."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        most = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else [out]:
                if isinstance(tensor, Tensor):
                    self.most = max(self.most, tensor.numel())
            return out

    rows = F.normalize(torch.randn(512, DIM), dim=-1).requires_grad_()
    with Largest() as largest:
        cross_entropy(rows, rows, 5.0, first=0, both=both, tile_bytes=16 * 512 * 4).loss.backward()
    assert largest.most <= 16 * 512


def test_masks_follow_the_keys_that_are_asked_for() -> None:
    from lightning_cpt.losses import InfoNCE

    x, y = _wide(units(N, 1)), _wide(units(N, 2))
    pairs = keys(0)
    pairs[3, 2] = pairs[4, 2]  # one document
    given = Keys(pairs, pairs[:0, 0])
    for mask, masked in ((("x", "y"), 0.0), (("document",), 2 / N), ((), 0.0)):
        found = InfoNCE(mask=mask)(x, y, None, given)
        assert float(found.masked_per_query) == pytest.approx(masked)
