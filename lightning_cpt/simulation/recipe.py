"""Builds the data module of a recipe alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace

from lightning_cpt.data.datamodule import PairDataModule
from lightning_cpt.lightning_cli import CptParser
from lightning_cpt.recipe import RecipePart, build


class RecipeData(RecipePart):
    """The data of a recipe."""

    data: PairDataModule

    def instantiate_classes(self) -> None:
        parser = CptParser(exit_on_error=False)  # the verb's own would build model and trainer too
        parser.add_lightning_class_args(PairDataModule, "data")
        self.data = parser.instantiate_classes(Namespace(data=self.read.data)).data


def build_data(arguments: Sequence[str]) -> tuple[PairDataModule, Any]:
    """The recipe's data module, and its whole configuration.

    Raises:
        ConfigError: a mistake in the recipe or on the command line, as one line.
    """
    built = build(RecipeData, "data", arguments)
    return built.data, built.read
