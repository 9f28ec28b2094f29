"""FSDP2 on two gloo ranks: the full batch's gradient, and a run that trains, saves, resumes and scores as DDP's does."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from lightning_cpt.backbone import blocks
from lightning_cpt.cli import main
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.gather import rank_and_world_size, whole
from lightning_cpt.losses import InfoNCE
from lightning_cpt.ragged import Ragged
from lightning_cpt.strategy import shard_modules

PAIRS = 12
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


def texts() -> Ragged:
    """x and y of all pairs; the first half of the pairs is far longer than the second."""
    generator = torch.Generator().manual_seed(2)
    lengths = torch.cat(
        [torch.randint(low, high, (PAIRS // 2,), generator=generator) for low, high in ((20, 40), (1, 5))]
    ).repeat(2)
    return Ragged(torch.randint(5, 200, (int(lengths.sum()),), generator=generator), lengths)


def share(rank: int, world_size: int) -> Ragged:
    n = PAIRS // world_size
    own = torch.arange(rank * n, rank * n + n)
    return texts().select(torch.cat([own, own + PAIRS]))


def gradients(
    encoder: TextEncoder, loss: InfoNCE, rank: int, world_size: int, at_once: bool = False
) -> dict[str, Tensor]:
    """Of two passes over the same texts, each with its backward pass, or both before one."""
    n, losses = PAIRS // world_size, []
    for _ in range(2):
        vectors = encoder(share(rank, world_size))
        losses.append(loss(vectors[:n], vectors[n:]).loss / 2)
        if not at_once:
            losses.pop().backward()
    if losses:
        sum(losses).backward()  # type: ignore[union-attr]
    parameters = {**dict(encoder.named_parameters()), "log_scale": loss.log_scale}
    return {name: whole(p.grad).clone() for name, p in parameters.items() if p.grad is not None}


def frozen(encoder: TextEncoder, layers: int) -> None:
    """Freeze the embeddings and the first layers."""
    for part in (encoder.backbone.wte, encoder.backbone.wpe, *blocks(encoder)[:layers]):  # type: ignore[attr-defined]
        part.requires_grad_(False)


def sharded(
    state: dict[str, Any],
    weights: Any,
    chunk_tokens: int,
    memory: Any,
    at_once: bool = False,
    fixed: int | None = None,
) -> Any:
    rank, world_size = rank_and_world_size()
    torch.manual_seed(0)
    encoder, loss = TextEncoder.from_dict({**state, "activation_memory": memory}), InfoNCE()
    encoder.load_state_dict(weights)
    if fixed is not None:
        frozen(encoder, fixed)
    encoder.chunk_tokens = chunk_tokens
    mesh = init_device_mesh("cpu", (world_size, 1), mesh_dim_names=("data_parallel", "tensor_parallel"))
    shard_modules(encoder, loss, mesh)
    encoder.in_step = True
    found = gradients(encoder, loss, rank, world_size, at_once)
    assert encoder.work is not None
    return found, encoder.work.chunks, encoder.work.kept_chunks


@pytest.mark.parametrize(("chunk_tokens", "memory"), [(10_000, "all"), (45, 0), (45, "all"), (45, 1_000_000)])
def test_the_gradient_is_the_full_batchs_though_ranks_have_unequal_texts(
    gloo_pool: Any, tokenizer_folder: str, chunk_tokens: int, memory: Any
) -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(config=CONFIG, tokenizer=tokenizer_folder, max_length_x=64, max_length_y=64)
    torch.manual_seed(0)
    state, weights = encoder.to_dict(), {key: value.clone() for key, value in encoder.state_dict().items()}
    expected = gradients(encoder, InfoNCE(), 0, 1)
    ranks = gloo_pool.run(2, sharded, state, weights, chunk_tokens, memory)
    assert ranks[0][1:] == ranks[1][1:]  # as many chunks and as many kept
    for found, chunks, kept in ranks:
        assert (chunks == 1) == (chunk_tokens > 1000)
        assert kept == {"all": chunks, 0: 1}.get(memory, kept)
        assert 1 < kept < chunks or memory in (0, "all")  # some of them
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            reference = expected[name]
            assert float((gradient - reference).norm()) <= 1e-5 * float(reference.norm()) + 1e-9, name


@pytest.mark.parametrize(("at_once", "fixed"), [(True, None), (False, 0), (False, 1), (True, 1)])
@pytest.mark.parametrize("memory", [0, "all", 1_000_000])
def test_two_passes_before_one_backward_and_frozen_layers(
    gloo_pool: Any, tokenizer_folder: str, memory: Any, at_once: bool, fixed: int | None
) -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(config=CONFIG, tokenizer=tokenizer_folder, max_length_x=64, max_length_y=64)
    state, weights = encoder.to_dict(), {key: value.clone() for key, value in encoder.state_dict().items()}
    if fixed is not None:
        frozen(encoder, fixed)
    expected = gradients(encoder, InfoNCE(), 0, 1)
    for found, *_ in gloo_pool.run(2, sharded, state, weights, 45, memory, at_once, fixed):
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            reference = expected[name]
            assert float((gradient - reference).norm()) <= 1e-5 * float(reference.norm()) + 1e-9, name


class Watch:
    """What a rank holds of the layers whenever the last of them has run, and before each pass through them.

    Attributes:
        gathered: layers with whole weights at once, at most.
        summed: for each pass, how many weights of the layers have a gradient in pieces.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.layers = blocks(encoder)
        self.weights = [p for layer in self.layers for p in layer.parameters()]
        self.gathered, self.summed = 0, list[int]()
        self.layers[0].register_forward_pre_hook(self._before)
        for layer in self.layers:
            layer.register_forward_hook(self._behind)

    def _before(self, layer: Any, inputs: Any) -> None:
        self.summed.append(sum(isinstance(p.grad, DTensor) for p in self.weights))

    def _behind(self, layer: Any, inputs: Any, outputs: Any) -> None:
        whole = [not isinstance(next(part.parameters()), DTensor) for part in self.layers]
        self.gathered = max(self.gathered, sum(whole))


def watched(state: dict[str, Any], half: bool) -> tuple[int, int, list[int]]:
    rank, world_size = rank_and_world_size()
    encoder, loss = TextEncoder.from_dict(state), InfoNCE()
    mesh = init_device_mesh("cpu", (world_size, 1), mesh_dim_names=("data_parallel", "tensor_parallel"))
    shard_modules(encoder, loss, mesh)
    encoder.in_step = True
    watch, n = Watch(encoder), PAIRS // world_size
    with torch.autocast("cpu", torch.bfloat16, enabled=half, cache_enabled=False):
        vectors = encoder(share(rank, world_size))
    loss(vectors[:n], vectors[n:]).loss.backward()
    assert encoder.work is not None
    return encoder.work.chunks, watch.gathered, [found for found in watch.summed if found]


@pytest.mark.parametrize("half", [False, True])
def test_no_rank_ever_holds_all_layers_nor_their_whole_gradient(
    gloo_pool: Any, tokenizer_folder: str, half: bool
) -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(
        config={**CONFIG, "n_layer": 5},
        tokenizer=tokenizer_folder,
        max_length_x=64,
        max_length_y=64,
        chunk_tokens=45,
        activation_memory=0,
    )
    weights = sum(1 for layer in blocks(encoder) for _ in layer.parameters())
    for chunks, gathered, summed in gloo_pool.run(2, watched, encoder.to_dict(), half):
        assert chunks > 3
        assert gathered <= 3  # one runs, the next one and the one behind may be on their way
        # Each pass of the backward pass begins with the sum of those before it in pieces.
        assert summed == [weights] * (chunks - 1)


def test_the_layers_are_the_backbones_blocks(tokenizer_folder: str) -> None:
    encoder = TextEncoder(config=CONFIG, tokenizer=tokenizer_folder, max_length_x=64, max_length_y=64)
    assert blocks(encoder) == list(encoder.backbone.h)  # type: ignore[arg-type]
    assert blocks(torch.nn.Linear(2, 2)) == []


def logged(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.glob("run*/logs/version_0/metrics.csv")
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name)]


def torchrun(folder: str, *commands: list[str]) -> list[tuple[int, str]]:
    """Status and stderr of each `cpt COMMAND`, run in this rank's own process as torchrun would start it."""
    rank, world_size = map(str, rank_and_world_size())
    before, place = dict(os.environ), os.getcwd()
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
    os.environ.update(ranks, TORCHELASTIC_RUN_ID="test", MASTER_ADDR="localhost", MASTER_PORT="1")
    os.chdir(folder)
    try:
        return [_status_and_stderr(command) for command in commands]
    finally:
        os.chdir(place)
        os.environ.clear()
        os.environ.update(before)


def _status_and_stderr(command: list[str]) -> tuple[int, str]:
    with contextlib.redirect_stderr(io.StringIO()) as err:
        return main(command), err.getvalue()


def assert_all_good(ranks: list[list[tuple[int, str]]]) -> None:
    for found in ranks:
        for status, err in found:
            assert status == 0, err


def on_two(strategy: str) -> list[str]:
    return ["--trainer.strategy", strategy, "--trainer.devices", "2"]


@pytest.mark.parametrize(
    ("pairs", "sides", "strategy"),
    [(1, "xy", "fsdp2"), (1, "x", "fsdp2"), (3, "xy", "fsdp2"), (1, "xy", "ddp"), (3, "xy", "ddp")],
)
def test_a_rank_without_pairs_validates_and_predicts_with_the_others(
    pairs: int,
    sides: str,
    strategy: str,
    tmp_path: Path,
    gloo_pool: Any,
    here: Callable[..., Any],
    recipe: Callable[..., Path],
) -> None:
    """Under fsdp2 each layer's weights are gathered from all ranks, so the rank that has nothing to encode has to take part."""
    file = recipe({"data.pool_size": pairs, "model.encoder.chunk_tokens": 10})
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps(dict.fromkeys(sides, "a" * i)) + "\n" for i in range(1, pairs + 1)))
    predict = ["predict", "--config", str(file), "--data.predict", str(texts), "--run.predictions"]
    assert_all_good(
        gloo_pool.run(
            2,
            torchrun,
            str(tmp_path),
            ["validate", "--config", str(file), *on_two(strategy)],
            [*predict, "two", *on_two(strategy)],
        )
    )
    here(*predict, "one")
    assert json.loads((tmp_path / "two" / "ids.jsonl").read_text().splitlines()[-1]) == str(pairs)
    for side in "xy":
        assert (tmp_path / "two" / f"{side}.npy").exists() == (side in sides)
    for side in sides:
        found, expected = (np.load(tmp_path / name / f"{side}.npy") for name in ("two", "one"))
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("strategy", ["fsdp2", "ddp"])
def test_a_short_run_equals_one_processs_goes_on_and_predicts(
    strategy: str, tmp_path: Path, gloo_pool: Any, here: Callable[..., Any], recipe: Callable[..., Path]
) -> None:
    """Six steps on two ranks, the last three once more from a checkpoint, and what the commands make of the end."""
    saver = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"dirpath": "saved", "filename": "{step}", "every_n_train_steps": 3, "save_top_k": -1},
    }
    changes = {
        "trainer.max_steps": 6,
        "trainer.val_check_interval": 3,
        "trainer.gradient_clip_val": 0.5,
        "trainer.callbacks": [saver],
        "model.encoder.config": {**CONFIG, "n_positions": 32},
        "model.encoder.chunk_tokens": 100,
        "model.encoder.activation_memory": 0,
    }
    file, whole, again = str(recipe(changes)), "two/run/last.ckpt", "again/run/last.ckpt"
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"x": "a" * i, "y": "b"}) + "\n" for i in range(1, 20)))
    assert_all_good(
        gloo_pool.run(
            2,
            torchrun,
            str(tmp_path),
            ["fit", "--config", file, "--run.folder", "two/run", *on_two(strategy)],
            ["fit", "--ckpt_path", "saved/step=3.ckpt", "--run.folder", "again/run"],
            ["test", "--ckpt_path", whole],
            ["predict", "--ckpt_path", whole, "--data.predict", str(texts), "--run.predictions", "made"],
        )
    )
    here("fit", "--config", file, "--run.folder", "alone/run", "--trainer.callbacks", "[]")
    found, expected = (logged(tmp_path / name) for name in ("two", "alone"))
    for name in ("train/loss", "train/scale", "train/gradient_norm", "val/mrr", "val/loss"):
        assert column(found, name) == pytest.approx(column(expected, name), rel=1e-4), name
        assert column(found, name)
    encoders = [TextEncoder.load(tmp_path / path) for path in (whole, again)]
    for mine, theirs in zip(*(encoder.state_dict().values() for encoder in encoders), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    vectors = encoders[0].encode(["a" * i for i in range(1, 20)], "x", progress=False)
    np.testing.assert_allclose(np.load(tmp_path / "made" / "x.npy"), vectors, atol=1e-5)


@pytest.mark.slow
def test_a_run_equals_ddps_and_goes_on_from_its_checkpoint(
    tmp_path: Path, cpt: Callable[..., Any], recipe: Callable[..., Path]
) -> None:
    """The pool's 33 pairs are 17 and 16 on the two ranks, in as many batches."""
    common = {
        "trainer.devices": 2,
        "trainer.max_steps": 12,
        "trainer.val_check_interval": 4,
        "trainer.gradient_clip_val": 0.5,
        "trainer.accumulate_grad_batches": 2,
        "data.pool_size": 33,
        "model.encoder.config": {**CONFIG, "n_positions": 32},
        "model.encoder.chunk_tokens": 100,
        "model.encoder.activation_memory": 0,
        "run.checkpoint_every": 5,
    }
    found = {}
    for strategy in ("ddp", "fsdp2"):
        folder = tmp_path / strategy
        changes = {**common, "trainer.strategy": strategy, "run.folder": str(folder / "run")}
        done = cpt("fit", "--config", recipe(changes, f"{strategy}.yaml"))
        assert done.returncode == 0, done.stderr
        found[strategy] = logged(folder)
    for name in ("train/loss", "train/scale", "train/gradient_norm", "val/mrr", "val/loss"):
        assert column(found["fsdp2"], name) == pytest.approx(column(found["ddp"], name), rel=1e-4), name
        assert column(found["ddp"], name)

    short = {**common, "trainer.strategy": "fsdp2", "run.folder": str(tmp_path / "again" / "run")}
    killed = cpt(
        "fit",
        "--config",
        recipe(
            {
                **short,
                "trainer.callbacks": [
                    {"class_path": "recorder.Recorder", "init_args": {"folder": str(tmp_path)}}
                ],
            },
            "again.yaml",
        ),
        KILL_AT="14",
    )
    assert killed.returncode != 0
    last = tmp_path / "again" / "run" / "last.ckpt"
    resumed = cpt("fit", "--ckpt_path", last)
    assert resumed.returncode == 0, resumed.stderr
    encoders = [TextEncoder.load(path) for path in (last, tmp_path / "fsdp2" / "run" / "last.ckpt")]
    for mine, theirs in zip(*(encoder.state_dict().values() for encoder in encoders), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    tested = cpt("test", "--ckpt_path", last, "--trainer.strategy", "auto", "--trainer.devices", "1")
    assert tested.returncode == 0, tested.stderr
