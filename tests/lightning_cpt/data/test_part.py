"""Parts of a batch: cut, joined and sent, every record keeps its tokens, its negatives and its place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lightning_cpt.data.loader import deal
from lightning_cpt.data.part import Part
from lightning_cpt.tokenization import PairTokenizer


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: str) -> PairTokenizer:
    return PairTokenizer(tokenizer_folder, max_length_x=24, max_length_y=24)


def record(at: int) -> dict[str, Any]:
    negatives = [f"n{at}{k}" * (k + 1) for k in range(at % 3)]
    return {"id": f"id {at}", "x": "x" * (at + 1), "y": f"y{at}", "negatives": negatives}


def part(tokenizer: PairTokenizer, places: list[int]) -> Part:
    found = np.array(places, np.int64)
    records = [record(at) for at in places]
    return Part.of(
        records,
        tokenizer,
        places=found,
        ranks=found % 2,
        rows=found + 100,
        hashes=(found[:, None] + np.arange(3)).astype(np.uint64) + np.uint64(2**63),
        hard_negatives=2,
        replaced=["a"],
    )


def same(one: Part, other: Part) -> bool:
    tensors = ("places", "ranks", "rows", "hashes", "counts", "negative_hashes")
    sides = [
        torch.equal(getattr(getattr(one, side), of), getattr(getattr(other, side), of))
        for side in ("x", "y", "negatives")
        for of in ("ids", "lengths")
    ]
    equal = [torch.equal(getattr(one, name), getattr(other, name)) for name in tensors]
    return all(sides + equal) and (one.ids, one.replaced) == (other.ids, other.replaced)


@pytest.mark.parametrize("places", [[[0, 1, 2, 3, 4, 5]], [[4, 1], [], [5, 0, 2, 3]], [[5, 4, 3], [2, 1, 0]]])
def test_parts_in_any_order_make_up_the_batch(tokenizer: PairTokenizer, places: list[list[int]]) -> None:
    whole = part(tokenizer, list(range(6)))
    assert same(Part.cat([part(tokenizer, some) for some in places]), whole)


@pytest.mark.parametrize("places", [[0, 1, 2, 3, 4, 5], [], [1, 2]])
def test_what_is_sent_arrives(tokenizer: PairTokenizer, places: list[int]) -> None:
    whole = part(tokenizer, places)
    assert same(Part.from_bytes(whole.to_bytes()), whole)


def test_dealt_to_ranks(tokenizer: PairTokenizer) -> None:
    even, odd = deal(part(tokenizer, [4, 1, 0, 5]), 2)
    assert same(even, part(tokenizer, [4, 0]))
    assert same(odd, part(tokenizer, [1, 5]))


def test_a_batch_knows_whose_its_negatives_are(tokenizer: PairTokenizer) -> None:
    data: Any = SimpleNamespace(offsets=np.array([0, 103, 200]), names=["a", "b"])
    batch = part(tokenizer, [5, 3, 1, 0]).batch(data).to("cpu")
    assert batch.negative_counts.tolist() == [2, 0, 1, 0]
    assert batch.negatives is not None
    assert len(batch.negatives) == 3
    assert batch.sources == ["b", "b", "a", "a"]
