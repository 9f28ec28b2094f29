"""Writes a data card as markdown: tables, bars of block characters, examples as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from data_prep.card_facts import Facts, SplitFacts

_BAR = 30
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def document(facts: Facts) -> str:
    """The whole card."""
    return "\n".join(_lines(facts)) + "\n"


def _lines(facts: Facts) -> Iterator[str]:
    yield f"# Data card: {facts.name}\n"
    yield from counts(facts)
    for title, header, rows in tables(facts):
        yield f"\n## {title}\n"
        yield from _table(header, rows)
    yield "\n## Lengths\n"
    for name, split in facts.splits.items():
        yield from _histograms(name, split)
    yield "## How it was made\n"
    yield from _steps(facts.steps)
    yield "## Examples"
    for name, split in facts.splits.items():
        for example in split.examples:
            yield f"\n### {name}: `{example['id']}`\n"
            for side in ("x", "y"):
                yield from (f"{side}:\n", _fenced(example[side]))


def counts(facts: Facts) -> Iterator[str]:
    """Sentences on size and on duplicates."""
    total = sum(split.count for split in facts.splits.values())
    yield f"{total:,} pairs (x, y) in {len(facts.splits)} split(s)."
    yield (
        f"Texts that two splits share: {facts.shared[0]:,} x, {facts.shared[1]:,} y, {facts.shared[2]:,} of either side. "
        "Equal texts within a split are in the first table."
    )


def tables(facts: Facts) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[Any]]]]:
    """Title, header and rows of every table of the card."""
    splits = facts.splits
    yield (
        "Splits",
        ("split", "pairs", "documents", "x in all", "y in all", "duplicate x", "duplicate y", "fingerprint"),
        [
            (
                name,
                one.count,
                one.documents,
                *(f"{size:,} {one.unit}" for size in one.chars),
                *one.duplicates,
                one.fingerprint,
            )
            for name, one in splits.items()
        ],
    )
    for title, field in (("Sources", "sources"), ("Licences", "licences")):
        columns = [getattr(one, field) for one in splits.values()]
        names = sorted(
            set().union(*columns), key=lambda name: (-sum(column[name] for column in columns), name)
        )
        yield title, (field[:-1], *splits), [(name, *(column[name] for column in columns)) for name in names]
    dropped = [
        (step["command"], reason, count) for step in facts.steps for reason, count in step["dropped"].items()
    ]
    yield (
        "What was removed",
        ("step", "reason", "count"),
        dropped or [("no account of earlier steps", "", "")],
    )
    if found := facts.contamination:
        fields = ("texts", "too_short", "too_common", "found", "touched", "dropped")
        rows = [(task, *(one[field] for field in fields)) for task, one in found["tasks"].items()]
        header = (
            "task",
            "texts looked for",
            "too short",
            "too common",
            "texts found",
            "pairs touched",
            "pairs dropped",
        )
        yield "Evaluation texts", header, rows
        most = [(task, *pair) for task, one in found["tasks"].items() for pair in one["ngrams"]]
        ignored = [("(boilerplate, did not count)", *pair) for pair in found["ignored"]]
        yield "n-grams of evaluation texts, most often", ("task", "n-gram", "pairs"), [*most, *ignored]


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(_cell(value) for value in row)} |"


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def _histograms(name: str, split: SplitFacts) -> Iterator[str]:
    for side, bins in zip("xy", split.histograms, strict=True):
        yield f"{name}, {side}, in {split.unit}:\n\n```"
        widest = max(count for _, count in bins)
        for lower, count in bins:
            yield f"{lower:>9,} + {_bar(count / widest):<{_BAR}} {count:>10,}"
        yield "```\n"


def _bar(share: float) -> str:
    whole, rest = divmod(round(share * _BAR * 8), 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def _steps(steps: list[dict[str, Any]]) -> Iterator[str]:
    if not steps:
        yield "No account of earlier steps lies beside the shards.\n"
    for number, step in enumerate(steps, 1):
        yield f"{number}. `{step['command']}`"
        for line in step_lines(step):
            yield f"    - {_cell(line)}"
        yield ""


def step_lines(step: dict[str, Any]) -> Iterator[str]:
    """What a step was given and left, a line each."""
    for title in ("options", "versions", "inputs", "outputs", "kept"):
        shown = ", ".join(
            f"{key} = {value}" for key, value in step.get(title, {}).items() if value not in (None, [])
        )
        if shown:
            yield f"{title}: {shown}"
    yield from step.get("notes", [])
    yield from (f"{reason}: {name}" for reason, name in step.get("named", []))


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}\n{text}\n{fence}\n"
