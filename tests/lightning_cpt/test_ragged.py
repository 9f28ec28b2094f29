"""Ragged batches keep every token in its place."""

from __future__ import annotations

import pytest
import torch

from lightning_cpt.ragged import Ragged

LISTS = [[5, 6, 7], [], [8], [9, 10]]


def lists(ragged: Ragged) -> list[list[int]]:
    return [ragged[i].tolist() for i in range(len(ragged))]


def test_lists_survive_the_way_in_and_out() -> None:
    ragged = Ragged.from_lists(LISTS)
    assert lists(ragged) == LISTS
    assert ragged.ids.dtype == ragged.lengths.dtype == torch.int64


@pytest.mark.parametrize("index", [[3, 0, 1], [2, 2], [1], []])
def test_select_takes_sequences_in_the_given_order(index: list[int]) -> None:
    chosen = Ragged.from_lists(LISTS).select(torch.tensor(index, dtype=torch.int64))
    assert lists(chosen) == [LISTS[i] for i in index]


def test_cat_appends() -> None:
    assert lists(Ragged.cat([Ragged.from_lists(LISTS), Ragged.from_lists([[1]])])) == [*LISTS, [1]]


def test_pad_and_mask_agree() -> None:
    ragged = Ragged.from_lists(LISTS)
    rows = ragged.pad(0)
    assert rows.tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0], [9, 10, 0]]
    assert rows[ragged.mask()].tolist() == ragged.ids.tolist()


def test_an_empty_batch_is_a_batch() -> None:
    empty = Ragged.from_lists([])
    assert len(empty) == 0
    assert empty.pad(0).shape == (0, 0)


def test_split_undoes_cat() -> None:
    parts = Ragged.from_lists(LISTS).split([1, 0, 3])
    assert [lists(part) for part in parts] == [LISTS[:1], [], LISTS[1:]]


def test_only_the_ids_move_to_a_device() -> None:
    moved = Ragged.from_lists(LISTS).to("meta")
    assert moved.ids.is_meta
    assert moved.lengths.tolist() == [3, 0, 1, 2]
