"""Reads a recipe as `cpt fit` does, and builds one part of it alone: no trainer, no run, no folder of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lightning_cpt.errors import ConfigError
from lightning_cpt.lightning_cli import CptCLI, _mistake_behind, _quiet


class RecipePart(CptCLI):
    """The command line of `cpt fit`, up to the point where classes are built; subclasses say which.

    Args:
        arguments: ``--config R`` and any keys of a recipe.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(["fit", *arguments])

    @property
    def read(self) -> Any:
        """The whole configuration."""
        return self.config[self.verb]

    def _set_seed(self) -> None:
        """Nothing here is drawn from the run's seed."""

    def _parse_ckpt_path(self) -> None:
        """A checkpoint brings its configuration; what differs from it matters to a run only."""

    def before_instantiate_classes(self) -> None:
        """The part is built from the configuration, not from a checkpoint."""

    def instantiate_classes(self) -> None:
        raise NotImplementedError

    def after_instantiate_classes(self) -> None:
        """No trainer to look at."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing to run: the part is what was wanted."""


_Part = TypeVar("_Part", bound=RecipePart)


def build(cls: type[_Part], key: str, arguments: Sequence[str]) -> _Part:
    """The part ``key`` of a recipe.

    Raises:
        ConfigError: a mistake in the recipe or on the command line, as one line.
    """
    _quiet()
    try:
        return cls(arguments)
    except Exception as error:  # a plug-in's class can fail in any way
        if mistake := _mistake_behind(error):
            raise mistake from None
        if isinstance(error, MisconfigurationException):
            raise ConfigError(f"trainer: {error}") from error
        raise ConfigError(f"{key}: cannot be built: {type(error).__name__}: {error}") from error
