"""Reads what a training run has saved, without running any code from the file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from lightning_cpt.errors import ConfigError

_OURS = ("lightning_cpt.TextEncoder", "lightning_cpt.encoder.TextEncoder")  # as recipes may write it


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The checkpoint's dictionary, tensors on the CPU and read from disk only when used.

    Raises:
        ConfigError: no such file, cut off, or not written by ``cpt fit``.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        found = sorted(p.relative_to(path).as_posix() for p in path.rglob("*.ckpt"))
        cure = f"name a file, such as {path / found[0]}" if found else "there is no .ckpt file in it"
        raise ConfigError(f"{path}: a folder, not a checkpoint; {cure}")
    if not path.is_file():
        raise ConfigError(f"{path}: no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, OSError) as error:
        raise ConfigError(f"{path}: not a readable checkpoint (cut off, or another kind of file)") from error
    if not isinstance(checkpoint, Mapping) or not {"encoder", "state_dict"} <= set(checkpoint):
        raise ConfigError(f"{path}: holds no encoder; give a checkpoint that `cpt fit` wrote")
    return dict(checkpoint)


def recipe(path: str | Path, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe that the checkpoint was trained by; empty where it keeps none.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return dict(yaml.safe_load(checkpoint.get("config") or "{}") or {})
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: its recipe cannot be read; give a checkpoint that `cpt fit` wrote"
        ) from error


def refuse_another_class(path: str | Path, checkpoint: Mapping[str, Any], cure: str) -> None:
    """What a class that is not ours computes is not known from its weights.

    Raises:
        ConfigError: the checkpoint's encoder was of a class of the user's own.
    """
    part = (recipe(path, checkpoint).get("model") or {}).get("encoder")
    kind = part.get("class_path", _OURS[0]) if isinstance(part, dict) else _OURS[0]
    if kind not in _OURS:
        raise ConfigError(f"{path}: its encoder is {kind}, a class of your own; {cure}")


def run_name(path: Path, checkpoint: Mapping[str, Any]) -> str:
    """The run's folder and the step: ``quickstart-step600`` for ``runs/quickstart/checkpoints/last.ckpt``."""
    folders = [p.name for p in path.resolve().parents if p.name not in ("checkpoints", "")]
    return f"{folders[0] if folders else path.stem}-step{checkpoint.get('global_step', 0)}"
