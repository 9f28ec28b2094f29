"""Reads a recipe as `cpt fit` does, and builds its model alone: no data, no trainer, no folder of a run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.gradients.twin import shrunken_encoders
from lightning_cpt.lightning_cli import CptCLI, CptParser, _mistake_behind, _quiet
from lightning_cpt.losses import InfoNCE
from lightning_cpt.module import ContrastiveModule

_UNUSED = ("--data.folder", "unused")  # the one key without a default that a check has no use for


class RecipeModel(CptCLI):
    """The command line of `cpt fit`, up to the point where classes are built.

    Args:
        arguments: ``--config R`` and any keys of a recipe.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(["fit", *_UNUSED, *arguments])

    def _set_seed(self) -> None:
        """Nothing here is drawn from the run's seed."""

    def _parse_ckpt_path(self) -> None:
        """A checkpoint brings its configuration; what differs from it matters to a run only."""

    def before_instantiate_classes(self) -> None:
        """The parts of the model are built as they are asked for, not from a checkpoint."""

    def instantiate_classes(self) -> None:
        """Build the model alone, its encoder as a tiny twin."""
        config = self.config[self.verb]
        strategy = config.trainer.strategy
        self.strategy = str(getattr(strategy, "class_path", strategy))
        parser = CptParser(exit_on_error=False)  # the verb's own would build data and trainer too
        parser.add_lightning_class_args(ContrastiveModule, "model")
        for cls, key in ((TextEncoder, "encoder"), (InfoNCE, "loss")):
            parser.add_instantiator(partial(_make, key), cls, subclasses=True)
        with shrunken_encoders():
            self.model = parser.instantiate_classes(Namespace(model=config.model)).model

    def after_instantiate_classes(self) -> None:
        """No trainer and no data to look at."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing to run: the model is what was wanted."""


def _make(key: str, cls: type[Any], *args: Any, **kwargs: Any) -> Any:
    kwargs.pop("applied_instantiation_links", None)  # the parser's own, for each instantiator
    try:
        return cls(*args, **kwargs)
    except ConfigError as error:
        raise ConfigError(f"model.{key}.{error}") from error


def build_model(arguments: Sequence[str]) -> tuple[ContrastiveModule, str]:
    """The recipe's model, and its trainer's strategy.

    Raises:
        ConfigError: a mistake in the recipe or on the command line, as one line.
    """
    _quiet()
    try:
        built = RecipeModel(arguments)
    except Exception as error:  # a plug-in's class can fail in any way
        if mistake := _mistake_behind(error):
            raise mistake from None
        if isinstance(error, MisconfigurationException):
            raise ConfigError(f"trainer: {error}") from error
        raise ConfigError(f"model: cannot be built: {type(error).__name__}: {error}") from error
    return built.model, built.strategy
