"""Puts every global random generator back as it was, so that an evaluation inside a training run leaves no trace."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def rng_kept() -> Iterator[None]:
    """Restore Python's, numpy's and (where torch is in use) torch's CPU and CUDA generators on leaving."""
    python, numpy = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")  # not imported here: an encoder may well need no torch
    cpu = torch.get_rng_state() if torch else None
    cuda = torch.cuda.get_rng_state_all() if torch and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if torch:
            torch.set_rng_state(cpu)
        if torch and cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
