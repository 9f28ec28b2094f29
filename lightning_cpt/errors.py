"""The one error class for mistakes in a recipe or a call of this package."""

from __future__ import annotations


class ConfigError(ValueError):
    """A setting that cannot work: one line that names the key or the file, and the cure."""
