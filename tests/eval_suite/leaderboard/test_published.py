"""The published figures: complete sources, and averages that fit their cells or say that they do not."""

from __future__ import annotations

import pytest

from eval_suite.leaderboard.published import SURE, PublishedSet, boards, published_sets
from eval_suite.registry import find_task

SETS = published_sets()
BOARDS = {board.id: board for board in boards()}


@pytest.mark.parametrize("source", SETS, ids=lambda s: s.id)
def test_every_cell_has_a_column_a_source_and_a_mark(source: PublishedSet) -> None:
    board = BOARDS[source.board]
    columns, averages = {c.key for c in board.columns}, {a.key for a in board.averages}
    assert source.rows
    for row in source.rows:
        assert set(row.cells) <= columns
        assert set(row.averages) <= averages
        for figure in [*row.cells.values(), *row.averages.values()]:
            assert figure.sure in SURE
            assert figure.source in source.sources
            assert 0 < figure.value < 100
            assert (figure.sure == "remembered") == figure.source.startswith("memory")


@pytest.mark.parametrize("source", SETS, ids=lambda s: s.id)
def test_printed_averages_fit_the_cells(source: PublishedSet) -> None:
    """A slip of the pen in a cell would show here; a row that does not fit has a note that says so."""
    checked = 0
    for row in source.rows:
        for average in BOARDS[source.board].averages:
            cells = [row.cells[key] for key in average.of if key in row.cells]
            if average.key not in row.averages or len(cells) < len(average.of):
                continue
            mean = sum(cell.value for cell in cells) / len(cells)
            fits = abs(mean - row.averages[average.key].value) <= 0.11
            assert fits or any("uncertain" in cell.note for cell in cells), (row.model, mean)
            checked += fits
    assert checked or source.id not in ("cpt-table-2", "cpt-table-6", "cpt-table-7", "sbert-table-5")


def test_the_papers_headline_numbers() -> None:
    rows = {(s.id, row.model): row for s in SETS for row in s.rows}
    assert rows["cpt-table-7", "cpt-code S"].averages["average"].value == 93.4
    assert rows["cpt-table-6", "cpt-text XL (MS MARCO)"].averages["average"].value == 52.8
    assert rows["cpt-figure-1", "cpt-text S"].averages["average of 22"].value == 64.61
    assert rows["cpt-table-2", "cpt-text XL"].parameters == 175_000_000_000


def test_figure_1_is_the_mean_of_the_22_cells() -> None:
    """The list of 22 tasks was found by this sum: S and L agree with the figure to its pixels."""
    board = BOARDS["figure-1"]
    assert len(board.averages[0].of) == 22
    for model, value in (("cpt-text S", 64.61), ("cpt-text L", 67.38)):
        cells = {k: f.value for s in SETS if s.id.startswith("cpt-table") for row in s.rows if row.model == model
                 for k, f in row.cells.items()}  # fmt: skip
        assert sum(cells[key] for key in board.averages[0].of) / 22 == pytest.approx(value, abs=0.01)


def test_the_boards_know_the_built_in_tasks() -> None:
    probe = BOARDS["probe"]
    for column in probe.columns:
        task = find_task(column.tasks[0])
        assert (task.family, task.name) == (column.family, column.key)
