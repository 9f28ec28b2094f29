"""Token dropout: keeps delimiters and order, hits its share, depends on nothing but its arguments."""

import numpy as np
import torch

from lightning_cpt.data.dropout import drop_tokens
from lightning_cpt.ragged import Ragged

BATCH = Ragged.from_lists([[1, *range(10, 10 + n), 2] for n in range(1, 200)])
ROWS = np.arange(199)


def lists(batch: Ragged) -> list[list[int]]:
    return [batch[i].tolist() for i in range(len(batch))]


def test_keeps_the_delimiters_and_the_order() -> None:
    for full, dropped in zip(lists(BATCH), lists(drop_tokens(BATCH, 0.5, 7, ROWS)), strict=True):
        assert (dropped[0], dropped[-1]) == (1, 2)
        assert dropped == [token for token in full if token in dropped]


def test_hits_its_share() -> None:
    inner = BATCH.ids.numel() - 2 * len(BATCH)
    left = drop_tokens(BATCH, 0.3, 7, ROWS).ids.numel() - 2 * len(BATCH)
    assert abs(left / inner - 0.7) < 0.02  # 19,900 draws: the standard error is 0.003


def test_a_text_that_would_lose_all_keeps_all() -> None:
    short = Ragged.from_lists([[1, 5, 2]] * 50)
    assert lists(drop_tokens(short, 0.9, 7, np.arange(50))) == [[1, 5, 2]] * 50


def test_depends_on_record_and_key_not_on_the_place_in_the_batch() -> None:
    whole = lists(drop_tokens(BATCH, 0.3, 7, ROWS))
    half = drop_tokens(BATCH.select(torch.arange(100, 199)), 0.3, 7, ROWS[100:])
    assert lists(half) == whole[100:]
    assert lists(drop_tokens(BATCH, 0.3, 8, ROWS)) != whole
    assert lists(drop_tokens(BATCH, 0.3, 7, ROWS + 1)) != whole


def test_neighbouring_records_draw_independently() -> None:
    same = Ragged.from_lists([[1, *range(10, 1010), 2]] * 2)
    first, second = lists(drop_tokens(same, 0.5, 7, np.array([4, 5])))
    shared = len(set(first) & set(second)) / 1000
    assert abs(shared - 0.25) < 0.06
