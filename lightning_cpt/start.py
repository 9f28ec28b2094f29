"""Starts a new run from the encoder in a checkpoint: its weights and tokenizer, and nothing else of the old run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_cpt.backbone import Attention, build_model, restore_config
from lightning_cpt.checkpoint import read_checkpoint, refuse_another_class, run_name
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import PairTokenizer

_WEIGHTS = "encoder.backbone."
# Keys of a config that may change between two stages: no weight is read otherwise for it.
_FREE = ("drop", "max_position_embeddings", "n_positions")


class Start(NamedTuple):
    """What an encoder is assembled from."""

    model: nn.Module
    tokenization: PairTokenizer
    name: str
    attention: Attention


def is_checkpoint(backbone: str) -> bool:
    """Whether ``backbone`` names a checkpoint of ``cpt fit``, not a hub repository or a folder of transformers."""
    return backbone.endswith(".ckpt")


def start_from(
    path: str,
    *,
    config: Mapping[str, Any] | None,
    tokenizer: str | None,
    pretrained: bool,
    revision: str | None,
    max_length: Mapping[str, int],
    delimiters: Literal["auto"] | Mapping[str, Sequence[str]],
    drop_repeats: bool,
    attention: Attention,
) -> Start:
    """The backbone with its trained weights, and the tokenisation, of the encoder in a checkpoint.

    Optimizer, schedule, scale, step and place in the data are not taken over: that is what ``--ckpt_path`` does.
    The random state stays untouched.

    Args:
        path: the checkpoint; it is not needed again once the new run has one of its own.
        config: keys laid over the backbone's configuration; only dropouts and the number of positions may differ.
        tokenizer, pretrained, revision: must be null, true and null; the checkpoint has its own.
        max_length: most tokens of x and y, as the new recipe has them.
        delimiters: ``auto`` for the checkpoint's, else these same ones.
        drop_repeats: must be as in the checkpoint.
        attention: ``backbone`` for the checkpoint's.

    Raises:
        ConfigError: no checkpoint of ``cpt fit``, or a key that contradicts it.
    """
    _refuse(pretrained, tokenizer=tokenizer, revision=revision)
    checkpoint = _read(path)
    saved, tokens = checkpoint["encoder"], checkpoint["encoder"]["tokenization"]
    _check_same("drop_repeats", drop_repeats, tokens["drop_repeats"])
    if delimiters != "auto":
        own = {side: list(pair) for side, pair in dict(delimiters).items()}
        _check_same("delimiters", own, tokens["delimiters"])
    attention = saved["attention"] if attention == "backbone" else attention
    shape = _overlaid(restore_config(json.loads(saved["config"])), config)
    with torch.random.fork_rng(devices=[]):
        model = build_model(shape, None, attention=attention)
    _load(model, checkpoint["state_dict"], path)
    tokenization = PairTokenizer.from_dict({**tokens, "max_length": dict(max_length)})
    return Start(model, tokenization, run_name(Path(path).expanduser(), checkpoint), attention)


def _refuse(pretrained: bool, **sources: str | None) -> None:
    if not pretrained:
        raise ConfigError(
            "pretrained: false, but backbone is a checkpoint, whose weights are the start; set it to true, or give "
            "the hub name or folder of the backbone"
        )
    for key, value in sources.items():
        if value is not None:
            raise ConfigError(
                f"{key}: {value!r}, but backbone is a checkpoint, which has its own; leave it null"
            )


def _read(path: str) -> dict[str, Any]:
    try:
        checkpoint = read_checkpoint(path)
        refuse_another_class(path, checkpoint, "a second stage starts from TextEncoder's")
        return checkpoint
    except ConfigError as error:
        raise ConfigError(f"backbone: {error}") from error


def _check_same(key: str, now: Any, then: Any) -> None:
    if now != then:
        raise ConfigError(
            f"{key}: {_yaml(now)}, but the checkpoint in backbone was trained with {_yaml(then)}; write {_yaml(then)}"
        )


def _yaml(value: Any) -> str:
    return json.dumps(value, default=str)


def _overlaid(config: Any, overlay: Mapping[str, Any] | None) -> Any:
    """The checkpoint's config with those keys of ``overlay`` that may differ; all others must be the same."""
    for key, value in (overlay or {}).items():
        rotary = getattr(config, "rope_parameters", None) or {}
        if not hasattr(config, key) and key not in rotary:
            raise ConfigError(f"config.{key}: {config.model_type} has no such key; leave it out")
        then = getattr(config, key, rotary.get(key))
        if value == then:
            continue
        if not any(free in key for free in _FREE):
            raise ConfigError(
                f"config.{key}: {_yaml(value)}, but the encoder of the checkpoint in backbone has {_yaml(then)}; "
                "leave it out, or start from another backbone"
            )
        setattr(config, key, value)
    return config


def _load(model: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    """Copy the weights, every one of them, into the model."""
    weights = {
        key.removeprefix(_WEIGHTS): value for key, value in state.items() if key.startswith("encoder.")
    }
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    wrong = [key for key in {**shapes, **weights} if shapes.get(key) != _shape(weights.get(key))]
    if wrong:
        there, needed = _shape(weights.get(wrong[0])), shapes.get(wrong[0])
        raise ConfigError(
            f"backbone: {path}: its weights do not fit: {wrong[0]} is {there or 'absent'}, the model's is "
            f"{needed or 'absent'}; leave `config` empty, or use the version that wrote it"
        )
    model.load_state_dict(weights)


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
