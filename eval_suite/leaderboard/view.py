"""Everything a page or a markdown table shows, as plain data: boards of blocks of rows of cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from eval_suite.leaderboard.blocks import blocks
from eval_suite.leaderboard.letters import Groups, groups
from eval_suite.leaderboard.published import (
    Average,
    Board,
    Column,
    Figure,
    PublishedRow,
    PublishedSet,
)
from eval_suite.paired import Sample, sample_of
from eval_suite.results import Result
from eval_suite.stats import bootstrap_interval
from eval_suite.stored import encoders

MEASURED = "measured"


@dataclass(frozen=True)
class Cell:
    """One number. sure: "measured", "seen", "derived" or "remembered"; source: in words; top: none here is better."""

    value: float
    text: str
    sure: str
    source: str = ""
    note: str = ""
    interval: tuple[float, float] | None = None
    letters: str = ""
    top: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Missing:
    """An average that does not exist, because only `have` of its `of` scores do."""

    have: int
    of: int


@dataclass(frozen=True)
class Row:
    """One model. detail: a small line under its name. run: what the points of one curve share."""

    name: str
    detail: str
    ours: bool
    cells: dict[str, Cell]
    averages: dict[str, Cell | Missing]
    parameters: int | None = None
    step: int | None = None
    run: str = ""


@dataclass(frozen=True)
class Block:
    """Rows of one ranking. apart: the fields in which it differs from the first one. grouped: column -> how letters were found."""

    title: str
    ours: bool
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    grouped: dict[str, str] = field(default_factory=dict)
    citation: str = ""


@dataclass(frozen=True)
class View:
    """A board with its blocks; rows are ordered by the first average, then by the first column."""

    id: str
    title: str
    lead: str
    columns: tuple[Column, ...]
    averages: tuple[Average, ...]
    blocks: tuple[Block, ...]

    @property
    def ours(self) -> bool:
        return any(block.ours for block in self.blocks)


def views(results: Sequence[Result], boards: Iterable[Board], sets: Iterable[PublishedSet]) -> list[View]:
    """All boards, ours beside the published; results that no board knows get boards of their own at the end."""
    labels = {r.fingerprint: label for label, found in encoders(results).items() for r in found}
    boards, sets = list(boards), list(sets)
    known = {id(r) for board in boards for r in results if _column_of(board, r)}
    rest = [r for r in results if id(r) not in known]
    made = [_view(board, results, sets, labels) for board in [*boards, *_own_boards(rest)]]
    return [view for view in made if view.blocks]


def _own_boards(results: Sequence[Result]) -> list[Board]:
    families = dict.fromkeys(r.family for r in results)
    return [
        Board(
            id=f"other-{family}",
            title=f"Other tasks: {family}",
            lead="Without published figures; scores in %.",
            columns=tuple(
                Column(f"{task}:{metric}", (task,), metric, f"{task} {metric}", family)
                for task, metric in dict.fromkeys((r.task, r.metric) for r in results if r.family == family)
            ),
            averages=(),
        )
        for family in families
    ]


def _view(
    board: Board, results: Sequence[Result], sets: Sequence[PublishedSet], labels: dict[str, str]
) -> View:
    ours = [r for r in results if _column_of(board, r)]
    of_blocks = blocks(ours, lambda r: _column_of(board, r)[0].tasks)
    made = [_our_block(board, list(apart), found, labels) for apart, found in of_blocks.items()]
    made += [_published_block(board, s) for s in sets if s.board == board.id]
    shown = () if board.only_averages else board.columns
    ordered = tuple(replace(block, rows=_ordered(board, block.rows)) for block in made)
    return View(board.id, board.title, board.lead, shown, board.averages, ordered)


def _column_of(board: Board, result: Result) -> list[Column]:
    return [c for c in board.columns if _takes(c, result)]


def _takes(column: Column, result: Result) -> bool:
    right_family = column.family in ("", result.family)
    return right_family and result.task in column.tasks and column.metric in result.scores


def _our_block(board: Board, apart: list[str], results: Sequence[Result], labels: dict[str, str]) -> Block:
    columns, found = {}, {}
    for column in board.columns:
        columns[column.key] = {r.fingerprint: r for r in results if _takes(column, r)}
        found[column.key] = _column_cells(column, columns[column.key])
    first = {r.fingerprint: r for r in reversed(results)}
    rows = [
        _our_row(board, first[p], labels[p], {k: cells[p] for k, (cells, _) in found.items() if p in cells})
        for p in dict.fromkeys(r.fingerprint for r in results)
    ]
    protocols = dict.fromkeys(r.protocol for r in results)
    notes = [f"Measured with eval_suite; protocol {', '.join(protocols)}; {_versions(results)}."]
    title = "Measured here" if not apart else "Measured here, but not comparable with the first ranking"
    grouped = {k: g.by for k, (_, g) in found.items() if g}
    return Block(title, True, tuple(rows), tuple(notes), tuple(apart), grouped)


def _versions(results: Sequence[Result]) -> str:
    found = dict.fromkeys(f"{name} {v}" for r in results for name, v in r.must_agree()["versions"].items())
    return ", ".join(found)


def _column_cells(column: Column, by_print: dict[str, Result]) -> tuple[dict[str, Cell], Groups | None]:
    results = list(by_print.values())
    samples = [sample_of(r, column.metric) for r in results]
    intervals = [_interval(r, column.metric, s) for r, s in zip(results, samples, strict=True)]
    scores = [r.scores[column.metric] for r in results]
    grouped = groups(scores, samples, intervals)
    cells = {}
    for i, r in enumerate(results):
        cells[r.fingerprint] = Cell(
            scores[i],
            f"{scores[i]:.2f}",
            MEASURED,
            source=f"{r.task}, {r.metric if r.metric == column.metric else column.metric}, {r.protocol}",
            interval=intervals[i],
            letters=grouped.letters[i] if grouped else "",
            top=grouped.top[i] if grouped else False,
            warnings=tuple(r.warnings),
        )
    return cells, grouped


def _interval(r: Result, metric: str, sample: Sample | None) -> tuple[float, float] | None:
    if metric == r.metric:
        return (r.interval[0], r.interval[1]) if r.interval else None
    if sample is None or sample.kind != "mean":
        return None
    low, high = bootstrap_interval(sample.values, r.seed)
    return round(100 * low, 2), round(100 * high, 2)


def _our_row(board: Board, r: Result, label: str, cells: dict[str, Cell]) -> Row:
    parameters, step = _whole(r.model.get("parameters")), _whole(r.model.get("step"))
    facts = [_size(parameters)] if parameters else []
    facts += [f"step {step:,}"] if step is not None else []
    facts.append(r.fingerprint[:8])
    averages = {a.key: _mean(a, cells) for a in board.averages}
    return Row(label, " · ".join(facts), True, cells, averages, parameters, step, _run(r))


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _size(parameters: int) -> str:
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if parameters >= unit:
            return f"{parameters / unit:.3g}{name} parameters"
    return f"{parameters} parameters"


def _run(r: Result) -> str:
    """Checkpoints of one training run: its folder, or a name that the encoder's facts give."""
    return str(r.model.get("run") or r.encoder.rpartition("/")[0] or r.encoder)


def _mean(average: Average, cells: dict[str, Cell]) -> Cell | Missing:
    """The mean of independent tasks; its interval by MOVER (Zou and Donner 2008): half-widths add up as squares."""
    have = [cells[key] for key in average.of if key in cells]
    if len(have) < len(average.of):
        return Missing(len(have), len(average.of))
    n, value = len(have), sum(c.value for c in have) / len(have)
    intervals = [(c.value, *c.interval) for c in have if c.interval]
    interval = None
    if len(intervals) == n:
        under = math.sqrt(sum((v - low) ** 2 for v, low, _ in intervals)) / n
        over = math.sqrt(sum((high - v) ** 2 for v, _, high in intervals)) / n
        interval = (value - under, value + over)
    return Cell(value, f"{value:.2f}", MEASURED, source=f"the mean of {n} tasks", interval=interval)


def _published_block(board: Board, source: PublishedSet) -> Block:
    rows = tuple(_published_row(board, source, row) for row in source.rows)
    notes = [f"{source.citation}. {source.protocol}."]
    if source.note:
        notes.append(source.note)
    return Block(f"Published: {source.title}", False, rows, tuple(notes), citation=source.citation)


def _published_row(board: Board, source: PublishedSet, row: PublishedRow) -> Row:
    cells = {key: _published_cell(source, figure) for key, figure in row.cells.items()}
    averages: dict[str, Cell | Missing] = {}
    for average in board.averages:
        given = row.averages.get(average.key)
        averages[average.key] = _published_cell(source, given) if given else _derived(average, row)
    name = row.model
    detail = " · ".join(filter(None, [_size(row.parameters) if row.parameters else "", row.group]))
    return Row(name, detail, False, cells, averages, row.parameters)


def _published_cell(source: PublishedSet, figure: Figure) -> Cell:
    text = f"{figure.value:.{source.decimals}f}"
    return Cell(figure.value, text, figure.sure, source=source.sources[figure.source], note=figure.note)


def _derived(average: Average, row: PublishedRow) -> Cell | Missing:
    have = [row.cells[key] for key in average.of if key in row.cells]
    if len(have) < len(average.of):
        return Missing(len(have), len(average.of))
    value = sum(f.value for f in have) / len(have)
    remembered = any(f.sure == "remembered" for f in have)
    note = "uncertain" if any(f.note.startswith("uncertain") for f in have) else ""
    sure, what = ("remembered", "of the remembered cells") if remembered else ("derived", "of the cells")
    return Cell(value, f"{value:.1f}", sure, source=f"the mean {what}", note=note)


def _ordered(board: Board, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Best first. Rows without the average come after those that have it: by how much they have, then by its mean."""

    def key(row: Row) -> tuple[bool, float, float]:
        first = row.averages.get(board.averages[0].key) if board.averages else None
        if isinstance(first, Cell):
            return (False, 0, -first.value)
        values = [cell.value for cell in row.cells.values()]
        return (True, -len(values), -sum(values) / max(len(values), 1))

    return tuple(sorted(rows, key=key))
