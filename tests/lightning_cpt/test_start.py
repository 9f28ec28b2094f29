"""A second stage: a new run from a checkpoint's encoder, which is not the old run going on."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_cpt import TextEncoder
from lightning_cpt.backbone import looks_ahead
from lightning_cpt.errors import ConfigError

TEXTS = ["aaa bbb", "", "ccc " * 30, "[ { <x>"]
LENGTHS = {"max_length_x": 24, "max_length_y": 24}


@pytest.fixture
def first(
    tmp_path: Path, recipe: Callable[..., Path], here: Callable[..., Any], tokenizer_folder: str
) -> Path:
    """The checkpoint of a first stage, whose recipe and tokenizer are gone."""
    shutil.copytree(tokenizer_folder, tmp_path / "tokenizer")
    path = recipe({"model.encoder.tokenizer": "tokenizer", "run.folder": "first"})
    here("fit", "--config", path)
    path.unlink()
    shutil.rmtree(tmp_path / "tokenizer")
    return tmp_path / "first" / "last.ckpt"


@pytest.fixture
def second(recipe: Callable[..., Path], first: Path) -> Callable[..., Path]:
    """Writes the second stage's recipe: other lengths, loss and schedule."""

    def write(changes: dict[str, Any] | None = None) -> Path:
        encoder = {"backbone": "first/last.ckpt", "max_length_x": 16, "max_length_y": 20}
        options = {"model.encoder": encoder, "model.learning_rate": 1e-4, "run.folder": "second"}
        return recipe({**options, **(changes or {})}, "second.yaml")

    return write


def same(one: TextEncoder, other: TextEncoder) -> bool:
    return all(
        np.array_equal(one.encode(TEXTS, side, progress=False), other.encode(TEXTS, side, progress=False))
        for side in ("x", "y")
    )


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def test_at_step_0_the_embeddings_are_the_checkpoints_bit_for_bit(first: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    encoder = TextEncoder(backbone=str(first), **LENGTHS)
    assert torch.equal(before, torch.get_rng_state())
    trained = TextEncoder.load(first)
    assert same(encoder, trained)
    assert encoder.fingerprint == trained.fingerprint
    assert encoder.name == "first-step4"
    assert encoder.training
    assert encoder.backbone.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in encoder.parameters())


def test_lengths_attention_and_chunks_are_the_new_ones(first: Path) -> None:
    encoder = TextEncoder(
        backbone=str(first), max_length_x=10, max_length_y=12, attention="bidirectional", chunk_tokens=99
    )
    assert encoder.tokenization.max_length == {"x": 10, "y": 12}
    assert encoder.tokenization(["a" * 50], "y").lengths.tolist() == [12]
    assert encoder.chunk_tokens == 99
    assert encoder.attention == "bidirectional"
    assert looks_ahead(encoder.backbone)
    assert not looks_ahead(TextEncoder(backbone=str(first), **LENGTHS).backbone)
    with pytest.raises(ConfigError, match="max_length_x: 64 is more than the backbone's 32 positions"):
        TextEncoder(backbone=str(first), max_length_x=64)


def test_the_attention_of_the_first_stage_stays(
    tmp_path: Path, recipe: Callable[..., Path], here: Callable[..., Any]
) -> None:
    here("fit", "--config", recipe({"model.encoder.attention": "bidirectional"}))
    last = tmp_path / "run" / "last.ckpt"
    encoder = TextEncoder(backbone=str(last), **LENGTHS)
    assert encoder.attention == "bidirectional"
    assert looks_ahead(encoder.backbone)
    assert same(encoder, TextEncoder.load(last))


def test_nothing_but_the_encoder_comes_over(
    tmp_path: Path, first: Path, second: Callable[..., Path], here: Callable[..., Any]
) -> None:
    """The resumed run goes on at step 5 with its optimizer, the new one begins at step 1 of a schedule of its own."""
    here("fit", "--config", second({"trainer.max_steps": 3, "model.loss.initial_temperature": 0.5}))
    new = load(tmp_path / "second" / "last.ckpt")
    here("fit", "--ckpt_path", first, "--trainer.max_steps", "5", "--run.folder", "resumed")
    resumed = load(tmp_path / "resumed" / "last.ckpt")
    assert (new["global_step"], resumed["global_step"]) == (3, 5)
    steps = [{float(s["step"]) for s in c["optimizer_states"][0]["state"].values()} for c in (new, resumed)]
    assert steps == [{3.0}, {5.0}]
    assert new["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"] == 3
    key = "loss.log_scale"
    assert float(new["state_dict"][key].exp()) == pytest.approx(2.0, rel=1e-3)
    assert float(resumed["state_dict"][key].exp()) == pytest.approx(1 / 0.07, rel=1e-2)
    rows = list(csv.DictReader((tmp_path / "second" / "logs" / "version_0" / "metrics.csv").open()))
    assert float(rows[0]["train/learning_rate"]) == pytest.approx(
        1e-4 / 3
    )  # the warm-up, from its first step


def test_its_own_checkpoint_needs_the_first_no_more(
    tmp_path: Path, first: Path, second: Callable[..., Path], here: Callable[..., Any]
) -> None:
    here("fit", "--config", second({"trainer.max_steps": 3}))
    first.unlink()
    last = tmp_path / "second" / "last.ckpt"
    encoder = TextEncoder.load(last)
    assert encoder.tokenization.max_length == {"x": 16, "y": 20}
    here("validate", "--ckpt_path", last)
    _, err = here("fit", "--ckpt_path", last, "--trainer.max_steps", "4")
    assert "backbone" not in err
    assert load(last)["global_step"] == 4
    third = TextEncoder(
        backbone=str(last), max_length_x=16, max_length_y=20
    )  # and a third stage goes on from it
    assert same(third, TextEncoder.load(last))


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"pretrained": False}, "pretrained: false, but backbone is a checkpoint"),
    (
        {"tokenizer": "some/folder"},
        "tokenizer: 'some/folder', but backbone is a checkpoint, which has its own",
    ),
    ({"revision": "main"}, "revision: 'main', but backbone is a checkpoint"),
    (
        {"drop_repeats": True},
        "drop_repeats: true, but the checkpoint in backbone was trained with false; write false",
    ),
    ({"delimiters": {"x": ["[", "]"], "y": ["{", "}"]}}, 'delimiters: {"x": ["[", "]"], "y"'),
    ({"config": {"n_embd": 32}}, "config.n_embd: 32, but the encoder of the checkpoint in backbone has 16"),
    ({"config": {"n_head": 4}}, "config.n_head: 4, but the encoder of the checkpoint in backbone has 2"),
    ({"config": {"model_type": "llama"}}, 'config.model_type: "llama", but the encoder'),
    ({"config": {"n_hed": 4}}, "config.n_hed: gpt2 has no such key"),
    (
        {"config": {"n_positions": 64}},
        "backbone: first/last.ckpt: its weights do not fit: wpe.weight is (32, 16), the",
    ),
]


@pytest.mark.parametrize(("changes", "message"), CONTRADICTIONS)
def test_keys_that_contradict_the_checkpoint_end_in_one_line(
    first: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        TextEncoder(backbone="first/last.ckpt", **LENGTHS, **changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_keys_that_say_the_same_and_other_dropouts_are_taken(first: Path) -> None:
    config = {"model_type": "gpt2", "n_embd": 16, "hidden_size": 16, "resid_pdrop": 0.4}
    own = {"x": ["<x>", "</x>"], "y": ["<y>", "</y>"]}
    encoder = TextEncoder(backbone=str(first), config=config, delimiters=own, **LENGTHS)
    assert same(encoder, TextEncoder.load(first))
    assert {p.p for p in encoder.modules() if isinstance(p, torch.nn.Dropout)} >= {0.4}
    assert json.loads(encoder.to_dict()["config"])["resid_pdrop"] == 0.4


def foreign(path: Path) -> None:
    torch.save({"state_dict": {}}, path)


def cut(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 and no more")


def without_weights(path: Path) -> None:
    state = load(Path("first/last.ckpt"))
    state["state_dict"] = {key: value for key, value in state["state_dict"].items() if "wte" not in key}
    torch.save(state, path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "model.encoder.backbone: other.ckpt: no such checkpoint"),
        (Path.mkdir, "model.encoder.backbone: other.ckpt: a folder, not a checkpoint"),
        (
            foreign,
            "model.encoder.backbone: other.ckpt: holds no encoder; give a checkpoint that `cpt fit` wrote",
        ),
        (cut, "model.encoder.backbone: other.ckpt: not a readable checkpoint"),
        (
            without_weights,
            "model.encoder.backbone: other.ckpt: its weights do not fit: wte.weight is absent, the model's",
        ),
    ],
)
def test_a_missing_or_foreign_file_ends_in_one_line(
    second: Callable[..., Path], here: Callable[..., Any], make: Callable[[Path], Any], message: str
) -> None:
    make(Path("other.ckpt"))
    changes = {"model.encoder": {"backbone": "other.ckpt", **LENGTHS}}
    _, err = here("fit", "--config", second(changes), status=2)
    assert err.count("cpt: error: ") == 1
    assert err.strip().splitlines()[-1].startswith(f"cpt: error: {message}")
