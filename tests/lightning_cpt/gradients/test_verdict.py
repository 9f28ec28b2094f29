"""Distances, the law's bounds, the diagnosis, the table and the record, on made-up numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from lightning_cpt.gradients.check import Found
from lightning_cpt.gradients.measure import SAME, Distance, distances, group_of
from lightning_cpt.gradients.record import record
from lightning_cpt.gradients.table import law_table, mixed_table
from lightning_cpt.gradients.verdict import LIMITS, Row, diagnose, mixed_rows, rows_of


def row(
    distance: Distance, world_size: int = 2, dtype: str = "float64", group: str = "encoder", case: str = "c"
) -> Row:
    return Row(world_size, case, dtype, group, distance, LIMITS[dtype])


def test_distance() -> None:
    found = distances({"a": np.array([0.0, 2.0])}, {"a": np.array([1.0, 0.0])}, 0.0)["a"]
    assert found == (pytest.approx(5**0.5), 2.0, 0.0)


def test_a_gradient_of_nothing_but_rounding_is_no_difference() -> None:
    big = np.ones(4)
    found = distances({"a": big, "b": np.array([1e-17])}, {"a": big, "b": np.array([-2e-17])}, 1e-14)
    assert found["b"] == SAME
    assert distances({"b": np.array([1.0])}, {"b": np.array([0.0])}, 1e-14)["b"].relative_error == math.inf


def test_the_rank_that_is_furthest_off_counts_and_no_number_is_broken() -> None:
    reference = {"a": np.ones(2)}
    for bad in (np.array([1.0, 1.1]), np.array([1.0, math.nan])):
        (found,) = rows_of(2, "c", "float64", [reference, {"a": bad}], reference)
        assert not found.ok
    assert rows_of(2, "c", "float64", [reference, reference], reference)[0].ok


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("encoder.backbone.wte.weight", "encoder"),
        ("loss.log_scale", "scale"),
        ("loss.head.0.weight", "loss.head"),
        ("encoder.projection.weight", "encoder.projection"),
    ],
)
def test_groups(name: str, group: str) -> None:
    assert group_of(name) == group


@pytest.mark.parametrize(
    ("distance", "cause"),
    [
        (lambda w: Distance(1 - 1 / w, 1 / w, 1.0), "1/W of the gradient"),
        (lambda w: Distance(w - 1.0, float(w), 1.0), "W times the gradient"),
        (lambda w: Distance(0.2, 1.0, 0.98), "wrong direction on several ranks (cosine down to 0.980)"),
        (
            lambda w: Distance(2.0, 3.0, 1.0),
            "right direction, wrong length on several ranks (ratio 3 on 2, 3 on 4 ranks)",
        ),
        (lambda w: Distance(1e-8, 1.0, 1.0), "right but for rounding"),
        (lambda w: Distance(math.inf, math.inf, math.nan), "not a number"),
    ],
)
def test_the_cause_is_read_from_the_numbers(distance: Callable[[int], Distance], cause: str) -> None:
    (line,) = diagnose([row(SAME, 1), *(row(distance(w), w) for w in (2, 4))])
    assert line.startswith(f"encoder: {cause}")


def test_what_one_rank_gets_wrong_is_no_matter_of_ranks() -> None:
    wrong = Distance(0.2, 1.0, 0.98)
    (line,) = diagnose([row(wrong, 1, case="chunks"), row(wrong, 2, case="chunks"), row(SAME, 2)])
    assert line.startswith("encoder: off on one rank already (chunks)")


def test_rounding_in_float32_alone() -> None:
    (line,) = diagnose([row(SAME), row(Distance(1e-4, 1.0, 1.0), dtype="float32")])
    assert line.startswith("encoder: float64 is exact, float32 is 1e-04 off")


def test_many_chunks_may_be_no_further_off_than_one() -> None:
    reference = {"a": np.ones(4), "scale": np.ones(1)}
    one = {"a": np.ones(4) * 1.01, "scale": np.ones(1)}
    for off, ok in ((1.012, True), (1.02, False)):
        many = {"a": np.ones(4) * off, "scale": np.ones(1) * 1.001}
        rows = mixed_rows(one, many, reference, ("one chunk", "8 chunks"))
        assert [found.ok for found in rows] == [True, True, ok, True]
        assert bool(diagnose(rows)) != ok
    far = {"a": np.ones(4), "scale": np.ones(1) * 1.02}
    assert not mixed_rows(one, far, reference, ("one chunk", "8 chunks"))[3].ok


def made_up(groups: tuple[str, ...]) -> list[Row]:
    bad = Distance(0.5, 0.5, 1.0)
    return [
        row(bad if (world_size, group) == (2, "encoder") else SAME, world_size, dtype, group, case)
        for case in ("one chunk", "chunks")
        for world_size in (1, 2)
        for dtype in LIMITS
        for group in groups
    ]


def test_the_table() -> None:
    lines = law_table(made_up(("encoder", "scale"))).splitlines()
    assert lines[0].split("   ")[0].strip() == ""
    assert re.findall(r"float\d+ \(law: error below \S+\)", lines[0]) == [
        "float64 (law: error below 1e-10)",
        "float32 (law: error below 1e-05)",
    ]
    assert lines[1].split() == ["encoder", "scale"] * 2
    assert lines[2].split() == ["ranks", *["error", "ratio", "cos"] * 4]
    assert lines[3].split() == ["one", "chunk", "1", *["0", "1.0000", "1.0000"] * 4, "ok"]
    assert lines[4].split()[:4] == ["2", "5e-01", "0.5000", "1.0000"]
    assert lines[4].endswith("BROKEN")
    assert len({line.index("0.5000") for line in (lines[4], lines[6])}) == 1
    assert max(map(len, lines)) <= 120


def test_more_groups_stand_below_each_other() -> None:
    text = law_table(made_up(("encoder", "scale", "loss.head")))
    assert max(map(len, text.splitlines())) <= 120
    assert text.count("ranks  error") == 2


def test_colors_only_where_asked_for() -> None:
    rows = made_up(("encoder",))
    assert "\x1b[" not in law_table(rows)
    assert re.sub(r"\x1b\[\d+m", "", law_table(rows, color=True)) == law_table(rows)
    assert "\x1b[31m5e-01" in law_table(rows, color=True)


def test_the_record_is_strict_json() -> None:
    found = Found(made_up(("encoder",)), mixed_rows(*[{"a": np.ones(1)}] * 3, ("one chunk", "many")))
    kept = json.loads(json.dumps(record({"loss": "InfoNCE"}, found, [1, 2]), allow_nan=False))
    assert kept["holds"] is False
    assert kept["law"]["relative_error_below"] == {"float64": 1e-10, "float32": 1e-5}
    assert kept["rows"][4] == {
        "world_size": 1, "case": "chunks", "dtype": "float64", "group": "encoder",
        "relative_error": 0.0, "ratio": 1.0, "cosine": 1.0, "limit": 1e-10, "ok": True,
    }  # fmt: skip
    assert {"torch", "lightning_cpt"} <= kept["versions"].keys()
    assert "many" in mixed_table(found.mixed)
