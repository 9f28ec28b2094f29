"""The errors of this package that a user can do something about."""

from __future__ import annotations


class ConfigError(ValueError):
    """A setting that cannot work: one line that names the key or the file, and the cure."""


class TrainingError(ValueError):
    """A training that cannot go on: one line that names the step and the cure."""
