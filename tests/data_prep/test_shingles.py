"""Hashes of tokens and their runs: the same whatever stands beside a text, and by the rule for words and signs."""

from __future__ import annotations

import re

import numpy as np
import pytest

from data_prep.shingles import batches, shingle_hashes, shingles, token_hashes, word_hashes

TEXTS = [
    "",
    "a b",
    "The cat, the_cat: x1 = 'é'\n\tdone…",
    "one two three four five six seven",
    "a\u2028b\x85c",
    "日本語 の text",
]


def test_tokens_are_words_and_signs() -> None:
    for text in TEXTS[:-1]:
        hashes = token_hashes([text]).values
        expected = re.findall(r"\w+|[^\w\s]", text)
        assert len(hashes) == len(expected)
        assert len(set(hashes.tolist())) == len(set(expected))


def test_scripts_without_spaces_have_a_token_per_character() -> None:
    assert len(token_hashes(["日本語 text"]).values) == len(word_hashes(["日本語 text"])[0].values) == 4


def test_a_text_has_the_same_hashes_in_any_company() -> None:
    together = shingle_hashes(TEXTS)
    for number, text in enumerate(TEXTS):
        alone = shingle_hashes([text]).values
        np.testing.assert_array_equal(
            together.values[together.ends[number] : together.ends[number + 1]], alone
        )
        assert len(alone) >= 1


def test_place_does_not_change_a_token() -> None:
    first = token_hashes(["word"]).values[0]
    assert token_hashes(["some text before the word"]).values[-1] == first
    assert token_hashes([f"{'x' * 70_000} word"]).values[-1] == first
    assert len(set(token_hashes(["ab ba abc cab a b c"]).values.tolist())) == 7


def test_words_know_where_a_sentence_begins() -> None:
    words, begin = word_hashes(["It rains. Then\nthe sun", 'said "yes" to, me'])
    assert len(words.values) == 9
    assert begin.tolist() == [True, False, True, True, False, True, True, True, False]


def test_half_a_surrogate_pair_is_a_sign() -> None:
    assert len(shingles("a \ud800 b")) == 1


@pytest.mark.parametrize("limit", [1, 10, 1000])
def test_batches_cover_all_texts_in_order(limit: int) -> None:
    found = [text for part in batches(TEXTS, limit) for text in TEXTS[part]]
    assert found == TEXTS
    assert batches([], limit) == []
