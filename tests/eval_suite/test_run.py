"""One task end to end, and that it leaves a training run alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from eval_suite import classification_task, probe, run_task
from eval_suite.errors import EvalError
from eval_suite.registry import find_task
from eval_suite.tasks import senteval
from eval_suite.tasks.senteval import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_and_records_what_it_did(task: str, toy_data: Path, hash_encoder) -> None:
    found = run_task(hash_encoder, task, toy_data, kfold=3, workers=1)
    assert found.task == task
    assert 60 < found.score <= 100  # good and bad words are easy to tell apart
    assert found.interval[0] <= found.score <= found.interval[1] + 1e-9 or found.score == 100
    assert found.data_sha256 == find_task(task).sha256(toy_data)
    assert ("f1" in found.scores) == (task == "MRPC")
    assert len(found.per_example["accuracy"]) == list(found.examples.values())[-1]
    assert found.side == "x"
    assert found.dim == (32 if task == "MRPC" else 16)
    assert (
        len(found.details["chosen_c"])
        == len(found.details["n_iter"])
        == (3 if TASKS[task].scheme == "nested" else 1)
    )
    assert {side for _, side in hash_encoder.seen} == {"x"}


def test_pairs_become_absolute_difference_and_product(toy_data: Path, hash_encoder) -> None:
    found = run_task(hash_encoder, "MRPC", toy_data, kfold=3, workers=1)
    parts = senteval.find_task("MRPC").read(toy_data)

    def labelled(name: str) -> probe.Labelled:
        u, v = (hash_encoder.encode(column, "x") for column in parts[name].columns)
        return probe.Labelled(np.c_[np.abs(u - v), u * v], parts[name].labels)

    direct = probe.kfold_then_test(labelled("train"), labelled("test"), kfold=3, workers=1)
    assert found.scores["accuracy"] == direct.score
    assert found.scores["dev_accuracy"] == direct.dev_score
    assert found.details["chosen_c"] == direct.chosen_c


def test_the_same_call_gives_the_same_record(toy_data: Path, hash_encoder) -> None:
    one, two = (run_task(hash_encoder, "CR", toy_data, kfold=3, workers=w).__dict__ for w in (1, 2))
    assert {**one, "seconds": None} == {**two, "seconds": None}


class Noisy:
    """An encoder that draws from every global generator."""

    name = fingerprint = "noisy"

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        random.random()
        return np.random.rand(len(texts), 4) + torch.rand(len(texts), 4).numpy()


def test_no_global_generator_moves(toy_data: Path) -> None:
    def draw_after(work: Callable[[], object]) -> tuple[float, float, float]:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        work()
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    undisturbed = draw_after(lambda: None)
    assert draw_after(lambda: Noisy().encode(["a"], "x")) != undisturbed
    assert draw_after(lambda: run_task(Noisy(), "CR", toy_data, kfold=2, workers=1)) == undisturbed
    texts, labels = [f"text {i}" for i in range(20)], ["a", "b"] * 10
    assert draw_after(lambda: classification_task(Noisy(), texts, labels, workers=1)) == undisturbed


def test_mistakes_stop_it(toy_data: Path, hash_encoder) -> None:
    with pytest.raises(EvalError, match="unknown task"):
        run_task(hash_encoder, "CRR", toy_data)
    with pytest.raises(EvalError, match="31 or more examples"):
        run_task(hash_encoder, "CR", toy_data, kfold=31, workers=1)


@pytest.mark.data
def test_cr_on_the_real_files(real_data: Path, hash_encoder) -> None:
    hash_encoder.dim = 64
    found = run_task(hash_encoder, "CR", real_data, kfold=5, workers=1)
    assert found.examples == {"all": 3775}
    # scikit-learn 1.9; whole counts of words leave nothing to the floats' last bits. The larger class is 63.76 %.
    assert (found.score, found.scores["dev_accuracy"]) == (
        pytest.approx(66.73, abs=0.1),
        pytest.approx(67.11, abs=0.1),
    )
