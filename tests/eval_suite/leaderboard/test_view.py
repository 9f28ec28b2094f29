"""What the page shows: averages only where complete, letters, sources, nothing ranked that is not comparable."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eval_suite.leaderboard.letters import OVERLAP, PAIRED
from eval_suite.leaderboard.published import boards, published_sets
from eval_suite.leaderboard.view import Cell, Missing, View, views

SEVEN = ("MR", "CR", "SUBJ", "MPQA", "SST2", "TREC", "MRPC")


def board(results: list, name: str = "probe") -> View:
    return next(v for v in views(results, boards(), published_sets()) if v.id == name)


def test_an_average_needs_every_task(make_result) -> None:
    whole = [make_result(task, "whole", 0.7 + i / 100) for i, task in enumerate(SEVEN)]
    part = [make_result(task, "part", 0.99) for task in SEVEN[:6]]
    rows = board(whole + part).blocks[0].rows
    assert [row.name for row in rows] == ["whole", "part"]  # without an average: after those with one
    assert rows[1].averages["average"] == Missing(6, 7)
    mean = rows[0].averages["average"]
    assert isinstance(mean, Cell)
    assert mean.value == pytest.approx(73.0)
    half = math.sqrt(7 * 2**2) / 7  # seven independent intervals of 2 points each
    assert mean.interval == pytest.approx((73 - half, 73 + half))


def test_published_rows_keep_their_own_blocks_marks_and_sources(make_result) -> None:
    view = board([make_result("CR", "a", 0.8)])
    assert [block.ours for block in view.blocks] == [True, False, False, False, False]
    xl = next(row for row in view.blocks[1].rows if row.name == "cpt-text XL")
    assert (xl.cells["CR"].text, xl.cells["CR"].sure) == ("93.5", "remembered")
    assert "reproduces an average" in xl.cells["CR"].source
    nli = next(row for row in view.blocks[1].rows if row.name == "cpt-text S (NLI)")
    assert not nli.cells
    assert nli.averages["average"].note.startswith("uncertain")


def test_an_average_that_no_source_prints_is_derived_or_empty(make_result) -> None:
    view = board([make_result("CR", "a", 0.8)], "similarity")
    table4 = next(block for block in view.blocks if block.title == "Published: Table 4")
    s = next(row for row in table4.rows if row.name == "cpt-text S")
    assert (s.averages["average of 5"].text, s.averages["average of 5"].sure) == ("65.9", "remembered")
    assert s.averages["average of 7"] == Missing(5, 7)
    mini = next(row for block in view.blocks for row in block.rows if row.name == "all-MiniLM-L6-v2")
    assert mini.averages["average of 5"].sure == "derived"


def test_what_differs_is_bold_and_lettered_by_paired_tests(make_result) -> None:
    block = board(
        [make_result("CR", "best", 0.9), make_result("CR", "near", 0.89), make_result("CR", "far", 0.6)]
    ).blocks[0]
    cells = {row.name: row.cells["CR"] for row in block.rows}
    assert {name: cell.top for name, cell in cells.items()} == {"best": True, "near": True, "far": False}
    assert set(cells["best"].letters) & set(cells["near"].letters)
    assert not set(cells["best"].letters) & set(cells["far"].letters)
    assert block.grouped == {"CR": PAIRED}


def test_without_numbers_per_example_overlap_is_used_and_named(make_result) -> None:
    block = board([make_result("CR", "a", 0.9), make_result("CR", "b", 0.89, per_example={})]).blocks[0]
    assert block.grouped == {"CR": OVERLAP}


def test_another_setting_is_no_rival(make_result) -> None:
    blocks = board(
        [make_result("CR", "a", 0.8), make_result("CR", "b", 0.8), make_result("CR", "c", 0.99, seed=3)]
    ).blocks
    assert [row.name for row in blocks[1].rows] == ["c"]
    assert blocks[1].apart == ("seed: 3 (1111 in the first ranking)",)
    assert blocks[1].rows[0].cells["CR"].letters == ""
    assert all(row.cells["CR"].top for row in blocks[0].rows)


def test_search_and_similarity_find_their_boards_and_other_tasks_their_own(make_result) -> None:
    ranks = np.random.default_rng(0).random(50)
    score = round(100 * ranks.mean(), 2)
    search = make_result("NQ", "a", 0.5, family="search", metric="recall@20", score=score,
                  scores={"recall@20": score, "recall@100": 90.0}, per_example={"recall@20": (100 * ranks).tolist()})  # fmt: skip
    own = make_result("Tickets", "a", 0.5)
    found = {v.id: v for v in views([search, own], boards(), published_sets())}
    row = found["search"].blocks[0].rows[0]
    assert {key: cell.text for key, cell in row.cells.items()} == {"NQ@20": f"{score:.2f}", "NQ@100": "90.00"}
    assert row.cells["NQ@100"].interval is None
    assert found["other-probe"].columns[0].label == "Tickets accuracy"
    assert not found["probe"].ours


def test_two_encoders_of_one_name_are_told_apart(make_result) -> None:
    rows = board([make_result("CR", "ckpt:last", 0.8, fingerprint=p * 12) for p in "xy"]).blocks[0].rows
    assert {row.name for row in rows} == {"ckpt:last (xxxxxxxx)", "ckpt:last (yyyyyyyy)"}


def test_tasks_that_share_a_column_are_not_one_ranking(make_result) -> None:
    how = {"family": "similarity", "metric": "spearman", "scores": {"spearman": 80.0}}
    found = [make_result("STSB", name, 0.8, **how) for name in ("a", "b")]
    mine = make_result("STSBenchmark", "mine", 0.9, **how)
    ours = [block for block in board([*found, mine], "similarity").blocks if block.ours]
    assert [[row.name for row in block.rows] for block in ours] == [["a", "b"], ["mine"]]
    assert ours[1].apart == ("task: STSBenchmark (STSB in the first ranking)",)
