"""Finds the tokenizer that a folder, a file, a hub name, a recipe or a checkpoint stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lightning_cpt.config import recipes
from lightning_cpt.errors import ConfigError

_CONFIG = "tokenizer_config.json"


def serialised_tokenizer(name: str) -> str:
    """The content of its tokenizer.json, as training has it after loading it.

    Args:
        name: A folder or hub name as in ``model.encoder.tokenizer``, a tokenizer.json, a recipe's file or name, or
            a checkpoint.

    Raises:
        ConfigError: nothing there that has a tokenizer.
    """
    path = Path(name).expanduser()
    if path.suffix == ".ckpt":
        return _of_checkpoint(path)
    if path.suffix in (".yaml", ".yml") or (name in recipes() and not path.exists()):
        return _of_recipe(name)
    if path.is_file():
        # What lies beside it can change how the tokenizer works: training loads the folder.
        beside = path.name == "tokenizer.json" and (path.parent / _CONFIG).is_file()
        return _of_folder(str(path.parent)) if beside else _of_file(path)
    return _of_folder(name)


def _of_folder(name: str, revision: str | None = None) -> str:
    from lightning_cpt.hub import load_tokenizer

    text: str = load_tokenizer(name, revision)[0].to_str()
    return text


def _of_file(path: Path) -> str:
    try:
        text: str = Tokenizer.from_file(str(path)).to_str()
    except Exception as error:  # the library raises plain Exceptions
        raise ConfigError(
            f"--tokenizer {path}: not a tokenizer.json ({' '.join(str(error).split())[:200]})"
        ) from None
    return text


def _of_checkpoint(path: Path) -> str:
    from lightning_cpt.checkpoint import read_checkpoint

    text: str = read_checkpoint(path)["encoder"]["tokenization"]["tokenizer"]
    return text


def _of_recipe(name: str) -> str:
    encoder = _encoder(name)
    backbone, own = encoder.get("backbone"), encoder.get("tokenizer")
    if backbone and Path(backbone).suffix == ".ckpt":
        return _of_checkpoint(Path(backbone).expanduser())
    if not (own or backbone):
        raise ConfigError(
            f"--tokenizer {name}: the recipe's model.encoder has neither tokenizer nor backbone"
        )
    return _of_folder(own or backbone, None if own else encoder.get("revision"))


def _encoder(name: str) -> Any:
    """The keys of a recipe's encoder."""
    from lightning_cpt.recipe import RecipePart, build

    class RecipeKeys(RecipePart):
        def instantiate_classes(self) -> None:
            """The keys are what was wanted."""

    encoder = build(RecipeKeys, "model.encoder", ["--config", name]).read.model.encoder
    return encoder.get("init_args") or encoder
