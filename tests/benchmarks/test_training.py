"""The training benchmark's choice of settings, by made-up measurements."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.common import Record
from benchmarks.training import _PLANS, Bench

PEER = {"peer, cached": ("Peer", {"loss": {"mini_batch_size": 8}})}


class MadeUp(Bench):
    """A step of ours takes 100 MiB, a tenth more for each kept MiB, and a quarter for each token of a chunk."""

    def __init__(self, limit: float) -> None:
        setup: Any = SimpleNamespace(device="cpu")
        super().__init__(Record(None, "training", {}), _PLANS["cpu"], setup, work=None)  # type: ignore[arg-type]
        self.limit = limit

    def _on_whole(self, name: str, options: Any) -> dict[str, Any]:
        return {"peak_mib": self.limit}

    def _try(self, name: str, kind: str, pairs: int, steps: int = 2, **options: Any) -> dict[str, Any]:
        assert (kind, pairs) == ("Ours", 512)
        if options["chunk_tokens"] == 4096:
            return {"failed": "out of memory"}
        return {"peak_mib": 100 + options["chunk_tokens"] / 4 + 1.1 * options["activation_memory"] / 2**20}


@pytest.mark.parametrize(
    ("limit", "tokens", "kept_mib"),
    [
        (100, None, 0),  # the smallest chunk takes 228
        (230, 512, 1.5),  # three quarters of the two that are left
        (700, 2048, 66),
        (613, 2048, 0.75),  # the last that is tried has less than one MiB: nothing kept
    ],
)
def test_at_equal_memory_the_largest_chunk_that_fits_keeps_what_is_left(
    limit: float, tokens: int | None, kept_mib: float
) -> None:
    chosen = {"ours": {"chunk_tokens": 4096}, "ours recomputed": {"chunk_tokens": 8192}}
    found = MadeUp(limit)._equal_memory(PEER, chosen)
    if tokens is None:
        assert found is None
        return
    assert found is not None
    assert found["chunk_tokens"] == tokens
    assert found["activation_memory"] == (int(kept_mib * 2**20) if kept_mib > 1 else 0)
