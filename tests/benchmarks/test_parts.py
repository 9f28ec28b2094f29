"""The pure pieces of the benchmarks: lengths, courses, orders, what repetitions come to, scores."""

from __future__ import annotations

from itertools import chain, islice

import pytest
import torch

from benchmarks import training
from benchmarks.corpus import load_tokens, save_tokens, stretched
from benchmarks.learners import Collator, Course, Pairs, orders
from benchmarks.learning import chosen_parts
from benchmarks.loss import difference
from benchmarks.loss_methods import Lone, products
from benchmarks.training_summary import summarise
from lightning_cpt.errors import ConfigError
from lightning_cpt.ragged import Ragged

SIDE = Ragged.from_lists([[1, 5, 6, 2], [1, 7, 2], [1, 5, 6, 7, 8, 9, 5, 6, 2]])


def test_stretched_lengths_have_the_mean_and_keep_both_ends():
    longer = stretched(SIDE, 20, 100)
    assert float(longer.lengths.double().mean()) == pytest.approx(20, abs=0.5)
    rows = longer.ids.split(longer.lengths.tolist())
    assert all(row[0] == 1 and row[-1] == 2 for row in rows)
    assert (longer.lengths.double() / SIDE.lengths).std() < 0.2  # one factor for all
    assert int(stretched(SIDE, 50, 60).lengths.max()) == 60


def test_tokens_come_back_as_saved(tmp_path):
    save_tokens(tmp_path / "t.npz", SIDE, SIDE.select(torch.tensor([2, 0, 1])))
    x, y = load_tokens(tmp_path / "t.npz")
    assert torch.equal(x.ids, SIDE.ids)
    assert y.lengths.tolist() == [9, 4, 3]


def test_a_course_by_steps_rises_and_falls():
    course = Course(steps=100)
    factors = []
    for _ in range(100):
        factors.append(course.factor())
        last = course.count()
    assert last
    assert factors.index(max(factors)) == 5
    assert factors[0] == pytest.approx(0.02)
    assert course.factor() == pytest.approx(0, abs=1e-9)


def test_a_course_by_the_clock_stands_still_until_it_begins():
    course = Course(seconds=1e-9)
    assert course.share() == 0
    course.begin()
    assert course.count()


def test_orders_hold_each_row_once_an_epoch():
    batches = [rows.tolist() for rows in islice(orders(10, 3, seed=1), 6)]
    first, second = list(chain(*batches[:3])), list(chain(*batches[3:]))
    assert len(set(first)) == len(set(second)) == 9
    assert first != second


def test_the_collator_keeps_pairs_together_also_when_sorting():
    pairs = Pairs(SIDE, SIDE, torch.zeros(3, 3, dtype=torch.int64))
    rows = [{"anchor": at, "positive": at} for at in (2, 0, 1)]
    batch = Collator(pairs, by_length=True)(rows)
    assert torch.equal(batch["anchor_input_ids"], batch["positive_input_ids"])
    assert batch["anchor_attention_mask"].sum(1).tolist() == [3, 4, 9]
    assert Collator(pairs, by_length=False)(rows)["anchor_attention_mask"].sum(1).tolist() == [9, 4, 3]


def test_the_loss_methods_agree():
    found = {name: Lone(name, 70, "cpu", 1).gradients() for name in ("ours", "plain", "clip")}
    assert difference(found["ours"], found["plain"])["max"] < 1e-5
    assert difference(found["clip"], found["plain"])["max"] < 1e-5


def test_a_matrix_of_several_tiles_takes_a_product_more():
    assert products(4096) == 3
    assert products(65536) == 4


def test_the_quickest_setting_is_chosen_among_those_that_ran():
    rows = [
        {"pairs_per_second": 1.0, "options": {"loss": {"mini_batch_size": 16}, "by_length": True}},
        {"failed": "out of memory", "options": {"loss": None}},
        {"pairs_per_second": 2.0, "options": {"loss": {"mini_batch_size": 32}, "by_length": False}},
    ]
    assert training._quickest(rows) == {"loss": {"mini_batch_size": 32}}
    with pytest.raises(ConfigError, match="out of memory"):
        training._quickest(rows[1:2])


def test_speed_ups_are_ratios_of_medians():
    seconds = {"ours, keeping all": [1, 1, 2], "plain step": [1, 1, 1], "peer, cached": [3, 2, 3]}
    results = {name: [{"seconds": s, "peak_mib": 1.0} for s in values] for name, values in seconds.items()}
    check = {"gradient_difference": 1e-7, "embedding_difference": 1e-7}
    found = summarise(results, {}, check, {}, pairs=24)
    assert found["speedup_vs_best_peer"] == 3
    assert found["keep_all_vs_plain"] == 1
    assert found["speedup_equal_memory"] is None
    assert found["fastest_peer"] == "peer, cached"


def test_unknown_parts_are_named():
    assert chosen_parts("code,text-small") == ["code", "text-small"]
    with pytest.raises(ConfigError, match="'texts'"):
        chosen_parts("texts")
