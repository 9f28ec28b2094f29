"""Blocks: what is comparable together, what is not apart with the field's name."""

from __future__ import annotations

from eval_suite.leaderboard.blocks import blocks


def test_equal_settings_are_one_block(make_result) -> None:
    results = [make_result(task, name, 0.8) for task in ("CR", "MR") for name in ("a", "b")]
    assert blocks(results) == {(): results}


def test_each_field_that_differs_is_named_with_both_values(make_result) -> None:
    usual = [make_result("CR", name, 0.8) for name in ("a", "b")]
    for changes, words in [
        ({"settings": {"grid": [9.0]}}, "settings.grid: [9.0] ([0.5, 1.0] in the first ranking)"),
        ({"seed": 7}, "seed: 7 (1111 in the first ranking)"),
        ({"dtype": "bfloat16"}, "dtype: bfloat16 (float32 in the first ranking)"),
        ({"versions": {"numpy": "1.26.4"}}, "versions.numpy: 1.26 (2.4 in the first ranking)"),
        ({"protocol": "fast"}, "protocol: fast (senteval/nested10/logreg/raw in the first ranking)"),
        ({"data_sha256": "else"}, "data_sha256: other data files (copy 2)"),
    ]:
        other = make_result("CR", "c", 0.8, **changes)
        assert blocks([other, *usual]) == {(): usual, (words,): [other]}


def test_all_tasks_of_another_setting_stay_together(make_result) -> None:
    """Whatever each task's own majority: the averages must not mix two settings."""
    old = {"versions": {"numpy": "1.26.4"}}
    results = [make_result(task, "a", 0.8) for task in ("CR", "MR", "TREC")]
    results += [make_result(task, "b", 0.8, **old) for task in ("CR", "MR", "TREC")] + [
        make_result("MR", "c", 0.8, **old)
    ]
    found = blocks(results)
    assert [[r.encoder for r in block] for block in found.values()] == [["b", "b", "b", "c"], ["a", "a", "a"]]


def test_other_data_of_several_tasks_is_one_block(make_result) -> None:
    results = [make_result(t, n, 0.8) for t in ("CR", "MR") for n in ("a", "b")]
    results += [make_result(t, "c", 0.8, data_sha256=f"other {t}") for t in ("CR", "MR")]
    assert [len(block) for block in blocks(results).values()] == [4, 2]
