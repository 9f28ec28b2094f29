"""The YAML of a pipeline: every mistake is one line that names the key and the cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.errors import DataError
from data_prep.pipeline.config import read_pipe
from data_prep.pipeline.plan import _deal

GOOD = """
out: data/books
text: {paths: [books], piece_chars: 500, on_bad_row: skip}
quality: {min_words: 7}
"""


def test_keys_are_the_rules_arguments(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    pipe = read_pipe(tmp_path / "p.yaml")
    assert (pipe.kind, pipe.source, str(pipe.out), pipe.paths) == ("text", "text", "data/books", ["books"])
    assert pipe.rules["rules"].piece_chars == 500
    assert pipe.rules["reading"].on_bad_row == "skip"
    assert pipe.quality is not None
    assert pipe.quality.min_words == 7
    assert pipe.near.threshold == 0.8
    assert pipe.evaluation is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the pipeline: the key 'out' is missing"),
        ("- a", "the pipeline: must be keys with values, not list"),
        ("a: [", "not YAML"),
        ("out: a\nout: b", "not YAML (key out is there twice)"),
        ("out: a", "a pipeline has one of the keys text, code, pairs; there: none"),
        ("out: a\ntext: {paths: [a]}\ncode: {paths: [b]}", "there: text and code"),
        ("out: a\ntexts: {}", "unknown key 'texts'; did you mean 'text'? keys: out, source, text"),
        ("out: a\ntext: {paths: []}", "text.paths: is empty"),
        ("out: a\ntext: {paths: books}", "text: paths: 'books' is no list of strings"),
        (
            "out: a\ntext: {paths: [a], piece_char: 9}",
            "text: unknown key 'piece_char'; did you mean 'piece_chars'?",
        ),
        ("out: a\ntext: {paths: [a], piece_chars: '9'}", "text: piece_chars: '9' is no whole number"),
        ("out: a\ntext: {paths: [a], overlapping: 1}", "text: overlapping: 1 is no true or false"),
        ("out: a\ntext: {paths: [a], max_gap: x}", "text: max_gap: 'x' is no whole number or null"),
        ("out: a\ntext: {paths: [a], piece_chars: 9}", "text: --piece-chars 9: must be 100 to 4000"),
        ("out: a\ntext: {paths: [a]}\nsplit: {test_fraction: 1}", "split: split fractions 1 and 0.05"),
        (
            "out: a\ntext: {paths: [a]}\nnear_duplicates: {threshold: 2}",
            "near_duplicates: near-duplicate threshold 2",
        ),
        (
            "out: a\ntext: {paths: [a]}\ndecontaminate: {ngram: 13}",
            "decontaminate: the key 'data' is missing",
        ),
        ("out: a\nsource: 2020-13-45\ntext: {paths: [a]}", "not YAML (month must be in"),
        ("out: a\nsource: my text\ntext: {paths: [a]}", "source name 'my text': use letters"),
        ("out: ''\ntext: {paths: [a]}", "out: is empty"),
        ("out: a\ntext: {paths: ['']}", "text.paths: is empty"),
        (
            "out: a\ntext: {paths: [a]}\nslurm: {time: 12:00:00}",
            "slurm: time: 43200 is no string; put it into quotes",
        ),
        (
            "out: a\ntext: {paths: [a]}\ndecontaminate: {data: e, max_tasks: 0}",
            "decontaminate: --max-tasks 0: must be 1 or more",
        ),
        (
            "out: a\ntext: {paths: [a]}\ndecontaminate: {data: e, enough: 0}",
            "decontaminate: --enough 0: must be 1 or more",
        ),
        ("out: a\npairs: {paths: [a], x_column: y}", "pairs: x_column and y_column are both 'y'"),
        ("out: a\ncode: {paths: [a], near_duplicate: 3}", "code.near_duplicate: 3 is no share"),
        ("out: a\ntext: {paths: [a]}\nquality: {max_digits: true}", "quality: max_digits: True is no number"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as raised:
        read_pipe(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_inputs_are_dealt_in_order_and_evenly() -> None:
    sizes = [1, 1, 1, 50, 1, 1, 30, 20, 1, 1]
    dealt = _deal(list(range(10)), sizes, 4)
    assert [item for task in dealt for item in task] == list(range(10))
    assert all(dealt)
    assert max(sum(sizes[item] for item in task) for task in dealt) <= 55
    assert _deal([1, 2], [0, 0], 2) == [[1], [2]]
    assert _deal([1, 2, 3], [90, 1, 1], 3) == [[1], [2], [3]]
    assert _deal([1, 2, 3], [1, 1, 90], 3) == [[1], [2], [3]]


def test_a_tag_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("out: a\ntext: !!map [b]")
    with pytest.raises(DataError, match=r"p\.yaml: not YAML"):
        read_pipe(tmp_path / "p.yaml")
