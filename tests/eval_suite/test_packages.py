"""The embedded classification task."""

from __future__ import annotations

import pytest

from eval_suite.errors import EvalError
from eval_suite.tasks.packages import classification_task

TEXTS = [f"{word} things number {i}" for i in range(10) for word in ("sort", "plot", "parse")]
LABELS = ["list", "figure", "text"] * 10


def test_finds_labels_that_the_words_give_away(hash_encoder) -> None:
    hash_encoder.dim = 64  # so that no two of the words share a column
    found = classification_task(hash_encoder, TEXTS, LABELS, workers=1)
    assert found.score == 100.0
    assert len(found.details["fold_scores"]) == 5
    assert found.task == "packages"
    assert found.protocol == "texts/stratified5/logreg/raw"
    assert found.details["grid_edge_hits"] == 0
    assert set(found.scores) == {"accuracy"}


def test_shuffled_labels_score_near_chance(hash_encoder) -> None:
    labels = [LABELS[(i * 7) // 5 % 30] for i in range(30)]
    assert classification_task(hash_encoder, TEXTS, labels, workers=1).score < 70


def test_data_is_part_of_the_record(hash_encoder) -> None:
    one = classification_task(hash_encoder, TEXTS, LABELS, workers=1)
    two = classification_task(hash_encoder, TEXTS, LABELS[::-1], workers=1, name="other")
    assert one.data_sha256 != two.data_sha256
    assert two.task == "other"


def test_mistakes_are_named(hash_encoder) -> None:
    with pytest.raises(EvalError, match="30 texts but 2 labels"):
        classification_task(hash_encoder, TEXTS, ["a", "b"])
    with pytest.raises(EvalError, match="5 folds need"):
        classification_task(hash_encoder, TEXTS, ["a"] * 28 + ["b"] * 2)
