"""Reads the boards (which tasks stand in which table) and other people's figures, each with its source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

SURE = ("seen", "derived", "remembered")


@dataclass(frozen=True)
class Column:
    """One column of a board: the tasks' names it takes (one under several spellings), the metric, and the family."""

    key: str
    tasks: tuple[str, ...]
    metric: str
    label: str
    family: str = ""


@dataclass(frozen=True)
class Average:
    """A mean over columns, named by their keys; it exists only where every one of them does."""

    key: str
    label: str
    of: tuple[str, ...]


@dataclass(frozen=True)
class Board:
    """One table of the page. only_averages: the columns themselves stand in other boards already."""

    id: str
    title: str
    lead: str
    columns: tuple[Column, ...]
    averages: tuple[Average, ...]
    only_averages: bool = False


@dataclass(frozen=True)
class Figure:
    """A published number. sure: "seen" in the source, "derived" from seen numbers, or "remembered"."""

    value: float
    sure: str
    source: str
    note: str = ""


@dataclass(frozen=True)
class PublishedRow:
    model: str
    group: str
    cells: dict[str, Figure]
    averages: dict[str, Figure]
    parameters: int | None = None


@dataclass(frozen=True)
class PublishedSet:
    """Rows that one source measured in one way. sources: key -> where such a number was found."""

    id: str
    board: str
    title: str
    citation: str
    protocol: str
    sources: dict[str, str]
    rows: tuple[PublishedRow, ...]
    note: str = ""

    @property
    def decimals(self) -> int:
        """As many as the source prints at most."""
        figures = [f for row in self.rows for f in [*row.cells.values(), *row.averages.values()]]
        return max(len(repr(f.value).partition(".")[2]) for f in figures)


def boards() -> list[Board]:
    """All boards, in the page's order."""
    return [_board(entry) for entry in _json("eval_suite.leaderboard", "boards.json")]


def published_sets() -> list[PublishedSet]:
    """Every set of eval_suite/published/*.json; the paper's own tables come first."""
    folder = files("eval_suite.published")
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(".json"))
    return [_set(entry) for name in names for entry in _json("eval_suite.published", name)]


def _json(package: str, name: str) -> Any:
    return json.loads(files(package).joinpath(name).read_text(encoding="utf-8"))


def _board(entry: dict[str, Any]) -> Board:
    columns = tuple(
        Column(c["key"], tuple(c["tasks"]), c["metric"], c.get("label", c["key"]), c.get("family", ""))
        for c in entry["columns"]
    )
    averages = tuple(Average(a["key"], a["label"], tuple(a["of"])) for a in entry["averages"])
    only = entry.get("only_averages", False)
    return Board(entry["id"], entry["title"], entry["lead"], columns, averages, only)


def _set(entry: dict[str, Any]) -> PublishedSet:
    return PublishedSet(**{**entry, "rows": tuple(_row(row) for row in entry["rows"])})


def _row(entry: dict[str, Any]) -> PublishedRow:
    cells = {key: Figure(*cell) for key, cell in entry["cells"].items()}
    averages = {key: Figure(*cell) for key, cell in entry.get("averages", {}).items()}
    return PublishedRow(entry["model"], entry["group"], cells, averages, entry.get("parameters"))
