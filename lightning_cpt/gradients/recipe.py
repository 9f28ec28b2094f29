"""Builds the model of a recipe alone, its encoder as a tiny twin."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from jsonargparse import Namespace

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.gradients.twin import shrunken_encoders
from lightning_cpt.lightning_cli import CptParser, _under
from lightning_cpt.losses import InfoNCE
from lightning_cpt.module import ContrastiveModule
from lightning_cpt.recipe import RecipePart, build


class RecipeModel(RecipePart):
    """The model of a recipe, and its trainer's strategy."""

    model: ContrastiveModule
    strategy: str

    def instantiate_classes(self) -> None:
        config = self.read
        strategy = config.trainer.strategy
        self.strategy = str(getattr(strategy, "class_path", strategy))
        parser = CptParser(exit_on_error=False)  # the verb's own would build data and trainer too
        parser.add_lightning_class_args(ContrastiveModule, "model")
        for cls, key in ((TextEncoder, "encoder"), (InfoNCE, "loss")):
            parser.add_instantiator(partial(_make, key), cls, subclasses=True)
        with shrunken_encoders():
            self.model = parser.instantiate_classes(Namespace(model=config.model)).model


def _make(key: str, cls: type[Any], *args: Any, **kwargs: Any) -> Any:
    kwargs.pop("applied_instantiation_links", None)  # the parser's own, for each instantiator
    return _under(f"model.{key}", cls, *args, **kwargs)


def build_model(arguments: Sequence[str]) -> tuple[ContrastiveModule, str]:
    """The recipe's model, and its trainer's strategy.

    Raises:
        ConfigError: a mistake in the recipe or on the command line, as one line.
    """
    built = build(RecipeModel, "model", arguments)
    return built.model, built.strategy
