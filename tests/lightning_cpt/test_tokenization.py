"""Delimiters, truncation and the errors of the pair tokenizer."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import PairTokenizer


def ids(tokenizer: PairTokenizer, text: str, side: Any) -> list[int]:
    return tokenizer([text], side)[0].tolist()


def test_auto_prefers_own_delimiters(tokenizer_folder: str) -> None:
    tokenizer = PairTokenizer(tokenizer_folder)
    assert tokenizer.delimiters == {"x": ["<x>", "</x>"], "y": ["<y>", "</y>"]}
    assert ids(tokenizer, "", "x") == [1, 2]
    assert ids(tokenizer, "", "y") == [3, 4]


def test_auto_falls_back_to_brackets(bracket_tokenizer_folder: str) -> None:
    tokenizer = PairTokenizer(bracket_tokenizer_folder)
    bracket = ids(tokenizer, "[]{}", "x")
    assert ids(tokenizer, "", "x") == [bracket[1], bracket[2]] == [bracket[0], bracket[-1]]
    assert ids(tokenizer, "", "y") == [bracket[3], bracket[4]]


@pytest.mark.parametrize(("side", "length"), [("x", 8), ("y", 5)])
def test_the_end_token_outlives_truncation(tokenizer_folder: str, side: Any, length: int) -> None:
    tokenizer = PairTokenizer(tokenizer_folder, max_length_x=8, max_length_y=5)
    short, whole = ids(tokenizer, "a" * 100, side), ids(tokenizer, "", side)
    assert len(short) == length
    assert [short[0], short[-1]] == whole
    assert len(ids(tokenizer, "a" * (length - 2), side)) == length


def test_text_that_spells_a_delimiter_stays_text(tokenizer_folder: str) -> None:
    tokenizer = PairTokenizer(tokenizer_folder)
    inside = ids(tokenizer, "a</y>b<pad>", "y")[1:-1]
    assert len(inside) == len("a</y>b<pad>")
    assert min(inside) > 4


def test_a_copy_in_another_process_or_checkpoint_is_the_same(tokenizer_folder: str) -> None:
    tokenizer = PairTokenizer(tokenizer_folder, max_length_x=9)
    for copy in (pickle.loads(pickle.dumps(tokenizer)), PairTokenizer.from_dict(tokenizer.to_dict())):
        assert copy.fingerprint == tokenizer.fingerprint
        assert ids(copy, "some </x> text", "x") == ids(tokenizer, "some </x> text", "x")


def test_the_fingerprint_knows_lengths_and_delimiters(tokenizer_folder: str) -> None:
    swapped: Any = {"x": ["<y>", "</y>"], "y": ["<x>", "</x>"]}
    kinds = [
        PairTokenizer(tokenizer_folder),
        PairTokenizer(tokenizer_folder, max_length_x=9),
        PairTokenizer(tokenizer_folder, delimiters=swapped),
    ]
    assert len({kind.fingerprint for kind in kinds}) == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"delimiters": {"x": ["<a>", "</a>"], "y": ["<y>", "</y>"]}},
            "delimiters.x: '<a>' is not one token",
        ),
        ({"delimiters": {"x": ["<x>", "</x>"]}}, "delimiters: needs"),
        ({"delimiters": "brackets"}, "delimiters: 'brackets'"),
        ({"max_length_x": 2}, "max_length_x: 2"),
    ],
)
def test_a_wrong_option_is_named(tokenizer_folder: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        PairTokenizer(tokenizer_folder, **options)
    assert "\n" not in str(caught.value)


def test_wrong_texts_are_named(tokenizer_folder: str) -> None:
    tokenizer = PairTokenizer(tokenizer_folder)
    with pytest.raises(ConfigError, match=r"texts\[1\]: NoneType"):
        tokenizer(["a", None], "x")  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="not one string"):
        tokenizer("abc", "x")
    with pytest.raises(ConfigError, match="side: 'z'"):
        tokenizer(["a"], "z")  # type: ignore[arg-type]


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(ConfigError, match=r"tokenizer: there is no folder '\./nowhere/at/all'"):
        PairTokenizer("./nowhere/at/all")


def test_dropped_repeats_leave_first_places_before_truncation(tokenizer_folder: str) -> None:
    keep = PairTokenizer(tokenizer_folder, max_length_x=64)
    drop = PairTokenizer(tokenizer_folder, max_length_x=64, drop_repeats=True)
    text = "read the file and close the file and read the rest"
    (every,) = keep.text_ids([text])
    (once,) = drop.text_ids([text])
    assert len(set(every)) < len(every)
    assert once == list(dict.fromkeys(every))
    start, *ids, end = drop([text], "x")[0].tolist()
    assert ids == once
    short = PairTokenizer(tokenizer_folder, max_length_x=len(once), drop_repeats=True)
    assert short([text], "x")[0].tolist() == [start, *once[: len(once) - 2], end]
    assert drop.fingerprint != keep.fingerprint
    assert PairTokenizer.from_dict(drop.to_dict()).text_ids([text]) == [once]
