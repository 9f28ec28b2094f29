"""Similarity tasks on small files in the releases' forms: what is read, what is scored, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from eval_suite import run_task
from eval_suite.errors import EvalError
from eval_suite.registry import groups
from eval_suite.tasks.sts import TASKS, YEARS
from eval_suite.tasks.sts_original import TASKS as ORIGINAL

WORDS = ["a", "cat", "dog", "runs", "sits", "in", "the", "sun"]


def put(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.fixture
def sts_data(tmp_path: Path) -> Path:
    """Every task's files under downstream/, with blank judgements in between, as the releases have them."""
    rng, root = np.random.default_rng(0), tmp_path / "downstream"

    def texts() -> str:
        return "\t".join(" ".join(rng.choice(WORDS, 5)) for _ in range(2))

    for year, names in YEARS.items():
        for name in names:
            folder = root / "STS" / f"STS{year}-en-test"
            put(folder / f"STS.input.{name}.txt", [texts() for _ in range(12)])
            put(
                folder / f"STS.gs.{name}.txt", [f"{rng.random() * 5:.1f}" if i % 4 else "" for i in range(12)]
            )
    rows = [f"main\tfile\t2012\t{i}\t{i % 5}.5\t{texts()}" for i in range(10)]
    put(root / "STS/STSBenchmark/sts-test.csv", [*rows, 'main\tfile\t2012\t99\t1.0\t"an open quote\tb c'])
    sick = ["pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment"]
    put(
        root / "SICK/SICK_test_annotated.txt",
        [*sick, *(f"{i}\t{texts()}\t{1 + i % 4}\tNEUTRAL\r" for i in range(9))],
    )
    return tmp_path


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_and_its_main_score_is_the_pooled_spearman(
    task: str, sts_data: Path, hash_encoder
) -> None:
    found = run_task(hash_encoder, task, sts_data)
    cosine, gold = found.per_example["cosine"], found.per_example["gold"]
    assert (
        found.score
        == found.scores["spearman"]
        == pytest.approx(100 * spearmanr(cosine, gold).statistic, abs=0.006)
    )
    assert found.examples["pairs"] == len(gold) == sum(s["pairs"] for s in found.details["subsets"].values())
    assert len(gold) == {"STSB": 11, "SICK-R": 9}.get(task, 9 * len(found.details["subsets"]))
    assert ("spearman_wmean" in found.scores) == (task not in ("STSB", "SICK-R"))
    assert {side for _, side in hash_encoder.seen} == {"x"}
    assert found.interval[0] <= found.score <= found.interval[1]


class Constant:
    name = fingerprint = "constant"

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        return np.full((len(texts), 4), 0.25)


def test_a_constant_encoder_scores_zero_and_says_why(sts_data: Path) -> None:
    found = run_task(Constant(), "STS12", sts_data)
    assert set(found.scores.values()) == {0.0}
    assert found.interval == [0.0, 0.0]
    assert found.details["tie_rate"] == 1.0
    assert "all pairs have the same cosine: no correlation exists, it is scored 0" in found.warnings
    assert any("collapsed" in line for line in found.warnings)


def test_an_encoder_with_nan_or_too_few_rows_is_refused(sts_data: Path) -> None:
    class Bad(Constant):
        def encode(self, texts: list[str], side: str) -> np.ndarray:
            return self.output(texts)

    bad = Bad()
    bad.output = lambda texts: np.full((len(texts), 2), np.nan)
    with pytest.raises(EvalError, match="NaN or infinity"):
        run_task(bad, "STSB", sts_data)
    bad.output = lambda texts: np.ones((len(texts) - 1, 2))
    with pytest.raises(EvalError, match="return one row a text"):
        run_task(bad, "STSB", sts_data)


def test_one_pair_is_scored_zero_with_a_warning(sts_data: Path, hash_encoder) -> None:
    put(sts_data / "downstream/STS/STSBenchmark/sts-test.csv", ["a\tb\tc\t1\t2.5\ta cat\ta dog"])
    found = run_task(hash_encoder, "STSB", sts_data)
    assert found.score == 0.0
    assert "one pair has no correlation; it is scored 0" in found.warnings


def test_mistakes_in_the_files_are_named(sts_data: Path, tmp_path: Path, hash_encoder) -> None:
    task, folder = TASKS["STS16"], sts_data / "downstream/STS/STS16-en-test"
    put(folder / "STS.gs.headlines.txt", ["1.0"] * 3)
    with pytest.raises(EvalError, match=r"STS\.input\.headlines\.txt: 12 lines, but 3 in STS\.gs"):
        task.read(sts_data)
    put(folder / "STS.gs.headlines.txt", ["good"] * 12)
    with pytest.raises(EvalError, match="line 1 is no pair of texts with a judgement"):
        task.read(sts_data)
    (folder / "STS.gs.postediting.txt").unlink()
    with pytest.raises(EvalError, match=r"lacks its file .*STS\.gs\.postediting\.txt.*cpt eval fetch sts"):
        task.sha256(sts_data)
    put(sts_data / "downstream/STS/STSBenchmark/sts-test.csv", ["a\tb\tc\t1\tnan\tx\ty"])
    with pytest.raises(EvalError, match="line 1 has the judgement 'nan'"):
        TASKS["STSB"].read(sts_data)
    put(sts_data / "downstream/STS/STSBenchmark/sts-test.csv", ["a\tb"])
    with pytest.raises(EvalError, match="line 1 is no pair"):
        TASKS["STSB"].read(sts_data)
    with pytest.raises(EvalError, match="is no folder"):
        TASKS["STSB"].sha256(tmp_path / "absent")
    with pytest.raises(EvalError, match="holds no SICK/SICK_test"):
        TASKS["SICK-R"].sha256(folder)


def test_groups_and_protocols_keep_the_editions_apart() -> None:
    assert groups()["sts"] == ["STS12", "STS13", "STS14", "STS15", "STS16", "STSB", "SICK-R"]
    assert not set(TASKS) & set(ORIGINAL)
    assert len(ORIGINAL) == 7


PAIRS = {"STS12": 3108, "STS13": 1500, "STS14": 3750, "STS15": 3000, "STS16": 1186, "STSB": 1379}


@pytest.mark.data
def test_official_sizes(real_data: Path) -> None:
    root = real_data.parents[1]
    for name, pairs in {**PAIRS, "SICK-R": 4927}.items():
        assert sum(map(len, TASKS[name].read(root).values())) == pairs
    for name, pairs in {**PAIRS, "SICK-R": 9927}.items():
        assert sum(map(len, ORIGINAL[f"{name}-original"].read(root).values())) == pairs


@pytest.mark.data
def test_the_two_editions_hold_the_same_judgements(real_data: Path) -> None:
    for name in PAIRS:
        ours, theirs = (
            TASKS[name].read(real_data),
            ORIGINAL[f"{name}-original"].read(real_data.parent / "senteval_originals"),
        )
        assert [p.gold for s in ours.values() for p in s] == [p.gold for s in theirs.values() for p in s]
