"""Lines for the user on stderr, from one rank only."""

from __future__ import annotations

import sys

from lightning.pytorch.utilities.rank_zero import rank_zero_only


@rank_zero_only
def say(line: str) -> None:
    """Print ``cpt: line``."""
    print(f"cpt: {line}", file=sys.stderr)
