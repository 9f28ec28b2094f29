"""The account: counts, the first names of what was lost, and the sum of the parts' accounts."""

from __future__ import annotations

from data_prep.report import MAX_REMEMBERED, Report


def test_many_losses_are_counted_and_the_first_ones_named() -> None:
    report = Report()
    for i in range(MAX_REMEMBERED + 500):
        report.lose("row not JSON", f"row {i}")
    assert len(report.named) == MAX_REMEMBERED
    lines = report.table().split("\n")
    assert lines[0].split() == ["dropped:", "row", "not", "JSON", "1,500"]
    assert lines[1] == "  row not JSON: row 0"
    assert lines[-1] == "  ... and 1,490 more"


def test_the_parts_accounts_make_one() -> None:
    whole, parts = Report(), [Report() for _ in range(3)]
    for number, part in enumerate(parts):
        for report in (whole, part):
            report.kept["files read"] += number
            report.dropped["empty"] += 2
            for i in range(number * MAX_REMEMBERED):
                report.lose("bad", f"{number}-{i}")
    total = Report()
    for part in parts:
        total.add(part)
    assert total.table() == whole.table()
    assert total.named == whole.named
