"""Law 1: after DDP the gradient is the full batch's, for the encoder AND the scale, measured on real processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.gather import all_gather_with_grad, rank_and_world_size
from lightning_cpt.losses import InfoNCE, Keys, info_nce
from lightning_cpt.ragged import Ragged

PAIRS = 16
LIMITS = {torch.float64: 1e-10, torch.float32: 1e-5}

# GPT-2, since Llama's norm computes in float32 whatever it is given, which would blur a float64 comparison.
CONFIG = {
    "model_type": "gpt2",
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 64,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}


class Step(nn.Module):
    """Encoder and loss, as a training step uses them."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = InfoNCE()

    def vectors(self, x: Ragged, y: Ragged, negatives: Ragged) -> tuple[Tensor, Tensor, Tensor | None]:
        together = self.encoder(Ragged.cat([x, y, negatives]))
        x_rows, y_rows, hard = together.split([len(x), len(y), len(negatives)])
        return x_rows, y_rows, hard if len(negatives) else None

    def forward(self, x: Ragged, y: Ragged, negatives: Ragged, keys: Keys | None = None) -> Tensor:
        return self.loss(*self.vectors(x, y, negatives), keys=keys).loss


class OwnSlicePutBack(Step):
    """SimCSE's recipe: no gradient through the gather, own rows put back, the loss over all rows."""

    factor = 1.0

    def forward(self, x: Ragged, y: Ragged, negatives: Ragged, keys: Keys | None = None) -> Tensor:
        mine = self.vectors(x, y, negatives)[:2]
        rows = [put_back(part) for part in mine]
        whole = {"all_x": rows[0], "all_y": rows[1], "rank": 0, "world_size": 1}
        return info_nce(*rows, self.loss.scale, **whole).loss * self.factor  # type: ignore[arg-type]


class TimesWorldSize(OwnSlicePutBack):
    """Tevatron's recipe: the same, times the world size."""

    @property
    def factor(self) -> float:  # type: ignore[override]
        return float(dist.get_world_size())


class LocalRowsOwnSlice(Step):
    """A common home-made form: local rows against gathered columns of which only the own ones have gradient."""

    def forward(self, x: Ragged, y: Ragged, negatives: Ragged, keys: Keys | None = None) -> Tensor:
        mine = self.vectors(x, y, negatives)[:2]
        rank, world_size = rank_and_world_size()
        rows = {"all_x": put_back(mine[0]), "all_y": put_back(mine[1])}
        return info_nce(*mine, self.loss.scale, rank=rank, world_size=world_size, **rows).loss


class LocalRowsTimesWorldSize(Step):
    """Contrastors' recipe: the right one, times the world size."""

    def forward(self, x: Ragged, y: Ragged, negatives: Ragged, keys: Keys | None = None) -> Tensor:
        return super().forward(x, y, negatives) * dist.get_world_size()


def put_back(local: Tensor) -> Tensor:
    rank, world_size = rank_and_world_size()
    rows = list(all_gather_with_grad(local).detach().chunk(world_size))
    rows[rank] = local
    return torch.cat(rows)


def build(kind: type[Step], state: dict[str, Any], dtype: torch.dtype) -> Step:
    step = kind(TextEncoder.from_dict(state["encoder"]))
    step.load_state_dict(state["weights"])
    return step.to(dtype)


def batches(count: int, hard: str) -> Iterator[tuple[Ragged, Ragged, list[Ragged]]]:
    """`count` batches of `PAIRS` pairs; per pair 0, 1, 3 or (uneven) 0 to 3 hard negatives."""
    generator = torch.Generator().manual_seed(5)

    def texts(n: int) -> Ragged:
        lengths = torch.randint(2, 24, (n,), generator=generator)
        return Ragged(torch.randint(5, 200, (int(lengths.sum()),), generator=generator), lengths)

    for _ in range(count):
        yield (
            texts(PAIRS),
            texts(PAIRS),
            [texts(i % 4 if hard == "uneven" else int(hard)) for i in range(PAIRS)],
        )


def share(batch: tuple[Ragged, Ragged, list[Ragged]], rank: int, world_size: int) -> tuple[Ragged, ...]:
    n = PAIRS // world_size
    own = torch.arange(rank * n, rank * n + n)
    x, y, negatives = batch
    return x.select(own), y.select(own), Ragged.cat([negatives[i] for i in own.tolist()])


def keys(negatives: list[Ragged], rank: int, world_size: int) -> Keys:
    """Hashes of which some are equal across any two ranks: of x, of y, and of a negative and another pair's y."""
    pairs = torch.arange(3 * PAIRS).view(PAIRS, 3)
    pairs[PAIRS - 1, 0] = pairs[0, 0]
    pairs[PAIRS - 2, 1] = pairs[1, 1]
    pairs[3, 1] = pairs[2, 1]
    texts = [torch.arange(len(hard)) + 100 * i + 1000 for i, hard in enumerate(negatives)]
    if len(texts[1]):
        texts[1][0] = pairs[PAIRS - 3, 1]
    n = PAIRS // world_size
    own = slice(rank * n, rank * n + n)
    return Keys(pairs[own], torch.cat(texts[own]))


def gradients(
    step: nn.Module, micro: int, hard: str, rank: int, world_size: int, masked: bool = False
) -> tuple[Tensor, Tensor]:
    """Gradient of the mean of the micro-batches' losses: of the encoder, in one vector, and of the scale."""
    for at, batch in enumerate(batches(micro, hard)):
        last = at == micro - 1
        with step.no_sync() if isinstance(step, DistributedDataParallel) and not last else nullcontext():
            hashes = keys(batch[2], rank, world_size) if masked else None
            (step(*share(batch, rank, world_size), hashes) / micro).backward()
    named = {name.removeprefix("module."): p.grad for name, p in step.named_parameters()}
    scale = named.pop("loss.log_scale")
    assert all(grad is not None for grad in named.values())
    return torch.cat([grad.flatten() for grad in named.values() if grad is not None]), scale


def on_one_rank(
    kind: str,
    state: dict[str, Any],
    dtype: torch.dtype,
    chunk_tokens: int,
    micro: int,
    hard: str,
    masked: bool,
    tile_rows: int,
) -> tuple[Tensor, Tensor]:
    rank, world_size = rank_and_world_size()
    step = build(globals()[kind], state, dtype)
    step.encoder.chunk_tokens = chunk_tokens
    step.loss.tile_bytes = tile_rows * PAIRS * dtype.itemsize
    return gradients(DistributedDataParallel(step), micro, hard, rank, world_size, masked)


@pytest.fixture(scope="module")
def state(tokenizer_folder: str) -> dict[str, Any]:
    torch.manual_seed(3)
    step = Step(TextEncoder(config=CONFIG, tokenizer=tokenizer_folder, max_length_x=64, max_length_y=64))
    return {"encoder": step.encoder.to_dict(), "weights": step.state_dict()}


def errors(
    pool: Any,
    state: dict[str, Any],
    world_size: int,
    *,
    kind: type[Step] = Step,
    dtype: torch.dtype = torch.float64,
    chunk_tokens: int = 100_000,
    micro: int = 1,
    hard: str = "0",
    masked: bool = False,
    tile_rows: int = 1000,
) -> list[tuple[float, float]]:
    """|g - g_ref| / |g_ref| of encoder and scale, on every rank; the reference is one undivided float64 batch."""
    reference = build(Step, state, torch.float64)
    expected = gradients(reference, micro, hard, 0, 1, masked)
    found = pool.run(
        world_size, on_one_rank, kind.__name__, state, dtype, chunk_tokens, micro, hard, masked, tile_rows
    )
    return [
        tuple(float((g - ref).norm() / ref.norm()) for g, ref in zip(pair, expected, strict=True))
        for pair in found
    ]


@pytest.mark.parametrize("chunk_tokens", [100_000, 40])
@pytest.mark.parametrize("hard", ["0", "1", "3", "uneven"])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_float64(
    gloo_pool: Any, state: dict[str, Any], world_size: int, hard: str, chunk_tokens: int
) -> None:
    for encoder, scale in errors(gloo_pool, state, world_size, hard=hard, chunk_tokens=chunk_tokens):
        assert encoder < LIMITS[torch.float64]
        assert scale < LIMITS[torch.float64]


@pytest.mark.parametrize("hard", ["0", "3"])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_float32(gloo_pool: Any, state: dict[str, Any], world_size: int, hard: str) -> None:
    found = errors(gloo_pool, state, world_size, hard=hard, chunk_tokens=40, dtype=torch.float32)
    for encoder, scale in found:
        assert encoder < LIMITS[torch.float32]
        assert scale < LIMITS[torch.float32]


@pytest.mark.parametrize("tile_rows", [1, 3])
@pytest.mark.parametrize("hard", ["0", "uneven"])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_masked_and_in_tiles(
    gloo_pool: Any, state: dict[str, Any], world_size: int, hard: str, tile_rows: int
) -> None:
    options: dict[str, Any] = {"hard": hard, "chunk_tokens": 40, "masked": True}
    for encoder, scale in errors(gloo_pool, state, world_size, tile_rows=tile_rows, **options):
        assert encoder < LIMITS[torch.float64]
        assert scale < LIMITS[torch.float64]
    with_mask, without = (
        gradients(build(Step, state, torch.float64), 1, hard, 0, 1, masked)[0] for masked in (True, False)
    )
    assert float((with_mask - without).norm() / without.norm()) > 1e-3


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_accumulated_batches_are_the_mean_of_their_losses(
    gloo_pool: Any, state: dict[str, Any], world_size: int
) -> None:
    for encoder, scale in errors(gloo_pool, state, world_size, micro=2, hard="1", chunk_tokens=40):
        assert encoder < LIMITS[torch.float64]
        assert scale < LIMITS[torch.float64]


@pytest.mark.parametrize(
    ("kind", "encoder_error", "scale_error"),
    [
        (OwnSlicePutBack, 0.5, 0.0),  # half the gradient on 2 ranks
        (TimesWorldSize, 0.0, 1.0),  # twice the scale's gradient
        (LocalRowsOwnSlice, None, 0.0),  # another direction
        (LocalRowsTimesWorldSize, 1.0, 1.0),
    ],
)
def test_the_measure_catches_the_known_wrong_recipes(
    gloo_pool: Any, state: dict[str, Any], kind: type[Step], encoder_error: float | None, scale_error: float
) -> None:
    for encoder, scale in errors(gloo_pool, state, 2, kind=kind):
        assert scale == pytest.approx(scale_error, abs=1e-9)
        if encoder_error is None:
            assert encoder > 0.05
        else:
            assert encoder == pytest.approx(encoder_error, abs=1e-9)
