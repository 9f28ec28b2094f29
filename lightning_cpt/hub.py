"""Loads things of the Hugging Face hub or of a local folder, and turns each failure into one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tokenizers import Tokenizer

from lightning_cpt.errors import ConfigError

T = TypeVar("T")
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")


def load(key: str, name: str, revision: str | None, loader: Callable[..., T], **options: Any) -> T:
    """``loader(name, ...)`` from a folder, else from the local cache, else from the hub.

    Args:
        key: the recipe's key, for the error.
        name: a folder, or a repository of the hub.
        loader: a ``from_pretrained``.

    Raises:
        ConfigError: nothing loadable under that name.
    """
    folder = Path(name).expanduser()
    try:
        if folder.is_dir():
            return loader(str(folder), local_files_only=True, **options)
        if not _REPOSITORY.fullmatch(name):
            raise ConfigError(f"{key}: there is no folder {name!r}; give a folder that exists, or a hub name")
        options["revision"] = revision
        try:  # the cache first: it needs no network and gives the same files again
            return loader(name, local_files_only=True, **options)
        except OSError:
            _reach_hub(key, name, revision)
            return loader(name, **options)
    except ConfigError:
        raise
    except Exception as error:  # each loader has its own errors; all mean that `name` cannot be used
        raise ConfigError(f"{key}: cannot load {name!r}: {one_line(error)}") from error


def _reach_hub(key: str, name: str, revision: str | None) -> None:
    """One quick question to the hub: the loaders themselves retry for half a minute when there is none."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    cure = "give a local folder, or download it once where there is a network"
    try:
        HfApi().model_info(name, revision=revision, timeout=10)
    except RevisionNotFoundError as error:
        raise ConfigError(f"{key}: {name!r} has no revision {revision!r} on the hub") from error
    except RepositoryNotFoundError as error:
        raise ConfigError(f"{key}: {name!r} is neither a folder here nor a model of the hub") from error
    except Exception as error:  # no network, a proxy, HF_HUB_OFFLINE: as many classes as there are causes
        raise ConfigError(
            f"{key}: {name!r} is no folder here and not in the cache, and the hub cannot be reached; {cure}"
        ) from error


def load_tokenizer(name: str, revision: str | None) -> tuple[Tokenizer, int]:
    """The fast tokenizer under ``name`` and the id it pads with.

    Raises:
        ConfigError: nothing there, or a tokenizer that exists in slow Python code only.
    """
    from transformers import AutoTokenizer

    tokenizer = load("tokenizer", name, revision, AutoTokenizer.from_pretrained)
    if not tokenizer.is_fast:
        raise ConfigError(
            f"tokenizer: {name!r} has no fast (tokenizer.json) form; convert it, or use another"
        )
    if len(tokenizer.get_vocab()) <= len(
        tokenizer.all_special_tokens
    ):  # what comes of a folder without files
        raise ConfigError(f"tokenizer: {name!r} holds no vocabulary; give the folder that has tokenizer.json")
    pad_id = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    return Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()), int(pad_id)


def one_line(error: Exception) -> str:
    """The error's message up to its first line's end, or its class where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
