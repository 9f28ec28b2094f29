"""Contrastive pre-training of text and code encoders on PyTorch Lightning (public names, loaded on first use)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_cpt._version import __version__

if TYPE_CHECKING:
    from lightning_cpt.data.datamodule import PairDataModule
    from lightning_cpt.encoder import TextEncoder
    from lightning_cpt.losses import InfoNCE, info_nce
    from lightning_cpt.module import ContrastiveModule

__all__ = ["ContrastiveModule", "InfoNCE", "PairDataModule", "TextEncoder", "__version__", "info_nce"]

# Importing torch takes over a second: `cpt --help` must not pay for it.
_HOMES = {
    "ContrastiveModule": "lightning_cpt.module",
    "InfoNCE": "lightning_cpt.losses",
    "PairDataModule": "lightning_cpt.data.datamodule",
    "TextEncoder": "lightning_cpt.encoder",
    "info_nce": "lightning_cpt.losses",
}


def __getattr__(name: str) -> Any:
    """Import the module that defines ``name`` the first time it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lightning_cpt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
