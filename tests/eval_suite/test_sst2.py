"""Zero-shot and nearest neighbours: the rules for ties and votes, on vectors whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval_suite import run_task
from eval_suite.registry import find_task
from eval_suite.tasks import sst2
from eval_suite.tasks.senteval import TASKS


class Sentiment:
    """Positive words on one axis, negative ones on the other, and nothing else."""

    name = fingerprint = "sentiment"

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        good = {"positive", "great", "fun", "moving", "clever", "warm", "bright"}
        bad = {"negative", "dull", "cold", "awful", "flat", "stale", "grim"}
        return np.array(
            [[len(good & set(t.split())), len(bad & set(t.split())), 0.1] for t in texts], np.float32
        )


class Constant:
    name = fingerprint = "constant"

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        return np.ones((len(texts), 3))


@pytest.mark.parametrize("task", ["SST2-zero-shot", "SST2-zero-shot-prompt", "SST2-knn", "SST2-sentences"])
def test_an_encoder_that_knows_the_words_is_right_and_a_constant_one_is_at_chance(
    task: str, toy_data: Path
) -> None:
    good = run_task(Sentiment(), task, toy_data, kfold=3, workers=1)
    assert good.score == 100.0
    assert good.family == find_task(task).family
    chance = run_task(Constant(), task, toy_data, kfold=3, workers=1)
    assert chance.score == pytest.approx(50.0)
    assert any("collapsed" in line for line in chance.warnings)
    assert len(chance.per_example["accuracy"]) == chance.examples["test"] == 12
    assert good.protocol == chance.protocol


def test_the_papers_label_texts() -> None:
    assert find_task("SST2-zero-shot").labels == ("negative", "positive")
    assert find_task("SST2-zero-shot-prompt").labels[1] == "this is an example of a positive movie review."


def test_tied_labels_share_the_point() -> None:
    scores = np.array([[0.5, 0.5, 0.1], [0.1, 0.2, 0.2], [0.9, 0.1, 0.1], [0.3, 0.3, 0.3]])
    right = sst2.nearest_label(scores, np.array([0, 0, 0, 2]))
    assert right == pytest.approx([0.5, 0, 1, 1 / 3])


def test_the_vote_of_the_nearest() -> None:
    angles = np.array([0.0, 0.1, 0.2, 0.3, 1.5])
    train, labels = np.c_[np.cos(angles), np.sin(angles)], np.array([1, 0, 0, 1, 1])
    asked = np.array([[1.0, 0.0]])
    assert sst2.vote(train, labels, asked, 1)[0].tolist() == [1]
    assert sst2.vote(train, labels, asked, 3)[0].tolist() == [0]
    assert [x.tolist() if hasattr(x, "tolist") else x for x in sst2.vote(train, labels, asked, 4)] == [[1], 1]
    assert sst2.vote(train, labels, asked, 256)[0].tolist() == [1]  # all five vote


def test_equal_cosines_at_the_edge_take_the_earlier_example() -> None:
    train, labels = np.ones((6, 2)), np.array([1, 1, 0, 0, 0, 0])
    assert sst2.vote(train, labels, np.ones((1, 2)), 3)[0].tolist() == [1]


def test_neutral_sentences_are_left_out(toy_data: Path) -> None:
    parts = TASKS["SST2-sentences"].read(toy_data)
    assert {part: len(examples.labels) for part, examples in parts.items()} == {
        "train": 40,
        "dev": 12,
        "test": 12,
    }
    assert TASKS["SST2-sentences"].protocol(10) == "senteval/split/logreg/raw/sentences6920"


@pytest.mark.data
def test_the_whole_sentences_are_those_of_the_binary_release(real_data: Path) -> None:
    release = real_data.parent / "senteval_originals" / "sst2_sentences"
    if not release.is_dir():
        pytest.skip("no stsa.binary files beside SentEval's")
    for part, examples in TASKS["SST2-sentences"].read(real_data).items():
        lines = (release / f"stsa.binary.{part}").read_text(encoding="utf-8").split("\n")
        theirs = sorted((" ".join(line[2:].split()), int(line[0])) for line in lines if line)
        assert sorted(zip(examples.columns[0], examples.labels.tolist(), strict=True)) == theirs
