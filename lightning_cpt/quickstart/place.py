"""Where one quickstart keeps its files, and the recipe as it is run there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lightning_cpt.config import find_recipe

SEED = 0  # of the start's token vectors, the pool, the bag and the bootstrap
POOL = 1000  # functions that every docstring of the pool is looked for in


class Place:
    """The paths of one quickstart, and the recipe as it is run there.

    Args:
        out: The folder of everything.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.pairs = out / "pairs"
        self.tokenizer = self.pairs / "tokenizer"
        self.start = out / "start"
        self.run = out / "run"
        self.checkpoint = self.run / "last.ckpt"
        self.senteval = out / "senteval"
        self.recipe: dict[str, Any] = yaml.safe_load(Path(find_recipe("quickstart")).read_text("utf-8"))
        self.encoder: dict[str, Any] = {
            **self.recipe["model"]["encoder"],
            "backbone": str(self.start),
            "tokenizer": str(self.tokenizer),
        }

    @property
    def steps(self) -> int:
        return int(self.recipe["trainer"]["max_steps"])

    @property
    def cap_seconds(self) -> int:
        """The recipe's cap on the training time."""
        days, hours, minutes, seconds = map(int, self.recipe["trainer"]["max_time"].split(":"))
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
