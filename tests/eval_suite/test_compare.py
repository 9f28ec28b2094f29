"""`cpt eval compare`: who wins, whether that is more than chance, and what is refused."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from eval_suite import cli
from eval_suite.compare import compare, pick, table
from eval_suite.compare_cli import compare_command
from eval_suite.errors import EvalError
from eval_suite.paired import BOOTSTRAP, MCNEMAR, RANDOMISATION, sample_of
from eval_suite.results import Result
from eval_suite.significance import mcnemar


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser(prog="cpt")
    cli.add_commands(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["eval", "compare", *map(str, arguments)])
    status: int = parsed.func(parsed)
    return status


def ranked(make_result, name: str, shift: float, scale: float = 1.0):
    values = np.clip(np.random.default_rng(1).random(200) + shift, 0, 1)
    score = round(100 * float(values.mean()), 2)
    return make_result("SciFact", name, 0.5, family="search", metric="ndcg@10", score=score, scores={"ndcg@10": score},
                       per_example={"ndcg@10": (scale * values).tolist()})  # fmt: skip


def similar(make_result, name: str, noise: float, **changes: object):
    from eval_suite.correlation import correlation

    rng = np.random.default_rng(2)
    gold = rng.normal(size=300)
    cosine = gold + noise * rng.normal(size=300)
    score = round(100 * correlation(cosine, gold), 2)
    facts = {"score": score, "scores": {"spearman": score}, **changes}
    return make_result("STS12", name, 0.5, family="similarity", metric="spearman",
                       per_example={"cosine": cosine.tolist(), "gold": gold.tolist()}, **facts)  # fmt: skip


def test_each_kind_of_score_has_its_test(make_result) -> None:
    a = [make_result("CR", "a", 0.9), ranked(make_result, "a", 0.0), similar(make_result, "a", 1.0)]
    b = [make_result("CR", "b", 0.8), ranked(make_result, "b", 0.1, 100.0), similar(make_result, "b", 1.0)]
    found = compare(("a", a), ("b", b))
    rows = {row.task: row for row in found.tasks}
    assert [rows[t].outcome for t in ("CR", "SciFact", "STS12")] == ["win", "loss", "tie"]
    assert [rows[t].test for t in ("CR", "SciFact", "STS12")] == [MCNEMAR, RANDOMISATION, BOOTSTRAP]
    assert rows["CR"].p == pytest.approx(mcnemar(a[0].per_example["accuracy"], b[0].per_example["accuracy"]))
    assert rows["CR"].p_corrected >= rows["CR"].p
    assert rows["CR"].low < 10 == rows["CR"].difference < rows["CR"].high
    assert rows["STS12"].difference == 0
    assert "A wins 1, ties 1, loses 1 of 3" in table(found)


def test_swapping_the_two_swaps_the_outcome(make_result) -> None:
    a, b = [similar(make_result, "a", 0.5)], [similar(make_result, "b", 1.5)]
    forth, back = compare(("a", a), ("b", b)).tasks[0], compare(("b", b), ("a", a)).tasks[0]
    assert (forth.outcome, back.outcome) == ("win", "loss")
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.p == back.p


def test_many_tasks_take_away_what_one_alone_would_show(make_result) -> None:
    """A p of about 0.03 in one of ten tasks is what chance does in a quarter of all comparisons."""
    names = ["CR", *(f"T{i}" for i in range(9))]
    a = [make_result(n, "a", 0.825 if n == "CR" else 0.8, seed=1) for n in names]
    b = [make_result(n, "b", 0.8, seed=1) for n in names]
    alone = compare(("a", a[:1]), ("b", b[:1])).tasks[0]
    assert alone.outcome == "win"
    assert 0.001 < alone.p < 0.05
    row = next(r for r in compare(("a", a), ("b", b)).tasks if r.task == "CR")
    assert row.p == alone.p
    assert row.p_corrected == pytest.approx(10 * alone.p)
    assert row.outcome == ("win" if 10 * alone.p < 0.05 else "tie")


def test_what_is_not_comparable_is_refused_with_the_field(make_result) -> None:
    a = [make_result("CR", "a", 0.9), make_result("MR", "a", 0.9), make_result("SUBJ", "a", 0.9)]
    b = [make_result("CR", "b", 0.8, settings={"grid": [2.0], "k": 3}), make_result("MR", "b", 0.8),
         make_result("TREC", "b", 0.8)]  # fmt: skip
    found = compare(("a", a), ("b", b))
    assert [row.task for row in found.tasks] == ["MR"]
    assert found.refused == {"CR": ["settings.grid: [0.5, 1.0] / [2.0]", "settings.k: absent / 3"]}
    assert found.missing == {"SUBJ": "only a has it", "TREC": "only b has it"}
    with pytest.raises(EvalError, match=r"not comparable: CR: settings\.grid"):
        compare(("a", a[:1]), ("b", b[:1]))
    with pytest.raises(EvalError, match="share no task"):
        compare(("a", a[2:]), ("b", b[2:]))


@pytest.mark.parametrize("field", ["data_sha256", "protocol", "dtype", "metric"])
def test_every_field_of_the_hash_is_named(make_result, field: str) -> None:
    with pytest.raises(EvalError, match=f"{field}: "):
        compare(("a", [make_result("CR", "a", 0.9)]), ("b", [make_result("CR", "b", 0.9, **{field: "else"})]))


def test_numbers_that_do_not_give_the_score_are_not_tested(make_result) -> None:
    """Such as a mean over subsets: its pooled pairs would test another statistic."""
    other = similar(make_result, "a", 0.5, score=50.0, scores={"spearman": 50.0})
    assert sample_of(other) is None
    found = compare(("a", [other]), ("b", [similar(make_result, "b", 0.5)]))
    assert list(found.untested) == ["STS12"]
    assert "not tested: STS12" in table(found)


def test_the_command_with_two_folders_and_with_names(make_result, tmp_path: Path, capsys) -> None:
    for name, share in (("a", 0.9), ("b", 0.8)):
        make_result("CR", name, share).write(tmp_path / name)
        make_result("CR", name, share).write(tmp_path / "both")
    assert run(tmp_path / "a", tmp_path / "b") == 0
    text = capsys.readouterr().out
    assert "win" in text
    assert "A: a" in text
    assert run(tmp_path / "both", "--encoders", "b", "a", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["a"], found["tasks"][0]["outcome"]) == ("b", "loss")


def test_mistakes_are_one_line(make_result, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_result("CR", name, 0.8).write(tmp_path)
    for arguments, words in [
        ([tmp_path], "name the two with --encoders A B; here are: one, two"),
        ([tmp_path, "--encoders", "one", "tow"], "no results of encoder 'tow'; did you mean 'two'"),
        ([tmp_path, "--encoders", "one", "one"], "both are one"),
        ([tmp_path, "--encoders", "one", "two", "--level", "95"], "--level 95"),
        ([tmp_path / "none"], "no such folder"),
    ]:
        with pytest.raises(EvalError, match=words) as error:
            run(*arguments)
        assert "\n" not in str(error.value)


def test_an_encoder_can_be_named_by_its_fingerprint(make_result) -> None:
    results = [make_result("CR", "last", 0.8, fingerprint=p * 12) for p in "xyz"]
    (a, _), (b, _) = pick([results], ["xxxx", "last (yyyyyyyy)"])
    assert (a, b) == ("last (xxxxxxxx)", "last (yyyyyyyy)")
    with pytest.raises(EvalError, match="could be"):
        pick([results], ["last", "zzzz"])


def _own(encoder: str, outcomes: list[float], data: str) -> Result:
    score = 100 * sum(outcomes) / len(outcomes)
    return Result(
        task="Own", family="probe", score=score, metric="accuracy", scores={"accuracy": score}, interval=[0.0, 100.0],
        protocol="own/p", encoder=encoder, fingerprint=encoder * 4, side="x", dtype="float32", dim=4, seed=1,
        examples={"test": len(outcomes)}, data_sha256=data, settings={}, per_example={"accuracy": outcomes},
    )  # fmt: skip


def test_two_editions_of_the_data_are_two_tasks(tmp_path: Path) -> None:
    a = [_own("A", [1.0] * 20, "old"), _own("A", [0.0] * 10 + [1.0] * 10, "new")]
    b = [_own("B", [0.0] * 20, "old"), _own("B", [1.0] * 20, "new")]
    outcomes = {row.task: row.outcome for row in compare(("A", a), ("B", b)).tasks}
    assert outcomes == {"Own (own/p, data old)": "win", "Own (own/p, data new)": "loss"}


def test_two_results_of_one_encoder_in_two_folders_are_refused(tmp_path: Path) -> None:
    for folder, rows in (
        ("1", [_own("A", [1.0] * 20, "d"), _own("B", [0.0] * 20, "d")]),
        ("2", [_own("A", [0.0] * 20, "d")]),
    ):
        for row in rows:
            row.write(tmp_path / folder)
    asked = argparse.Namespace(
        folders=[tmp_path / "1", tmp_path / "2"], encoders=["A", "B"], level=0.95, json=False
    )
    with pytest.raises(EvalError, match="two results of A on Own"):
        compare_command(asked)
