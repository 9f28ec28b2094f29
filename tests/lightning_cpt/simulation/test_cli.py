"""`cpt data`: the order of the data can be checked from outside, for any ranks and workers; mistakes are one line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_prep.pairs import Pair
from data_prep.shards import write_shards
from lightning_cpt.cli import MISTAKE, main


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two sources, of 130 and of 45 pairs."""
    root = tmp_path_factory.mktemp("sources")
    for name, count in (("text", 130), ("code", 45)):
        pairs = [
            Pair(id=f"{name} {i}", x=f"x{i} {name}", y="y" * (i % 9 + 1) + f"{i} {name}")
            for i in range(count)
        ]
        write_shards(root / name / "train", pairs, source=name, records_per_chunk=8)
    return {
        "text": {"folder": str(root / "text"), "weight": 0.75},
        "code": {"folder": str(root / "code"), "weight": 0.25},
    }


@pytest.fixture
def mixed(recipe: Callable[..., Path], sources: dict[str, Any]) -> Path:
    return recipe(
        {"data.folder": None, "data.sources": sources, "data.batch_size": 8, "trainer.max_steps": 100}
    )


@pytest.fixture
def ids(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    def run(config: Path, *arguments: str) -> list[dict[str, Any]]:
        assert main(["data", "ids", "--config", str(config), *arguments]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_the_ids_are_the_same_for_any_ranks_and_workers(
    mixed: Path, ids: Callable[..., list[dict[str, Any]]]
) -> None:
    whole = ids(mixed, "--steps", "0:64", "--workers", "0")
    assert [row["step"] for row in whole] == list(range(64))
    assert {len(row["ids"]) for row in whole} == {8}
    assert Counter(*[[row["sources"][0] for row in whole]]) == {"text": 48, "code": 16}
    assert all(one.split()[0] == row["sources"][0] for row in whole for one in row["ids"])
    for world, workers in (("2", "1"), ("4", "2"), ("8", "3")):
        assert ids(mixed, "--steps", "20:40", "--world", world, "--workers", workers) == whole[20:40]


def test_mixed_batches_hold_all_sources(mixed: Path, ids: Callable[..., list[dict[str, Any]]]) -> None:
    rows = ids(mixed, "--steps", "0:5", "--data.mixing", "mixed")
    assert [Counter(one.split()[0] for one in row["ids"]) for row in rows] == [{"text": 6, "code": 2}] * 5


def test_simulate_tells_passes_left_overs_and_balance(
    mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "simulate", "--config", str(mixed), "--world", "4", "--workers", "2"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "100 steps of 8 pairs, 21 an epoch"
    text, code = (next(line.split() for line in lines if line.startswith(name)) for name in ("text", "code"))
    assert int(text[3]) + int(code[3]) == 800
    assert float(code[4]) == pytest.approx(int(code[3]) / 45, abs=0.01)
    assert (text[5:], code[5:]) == (["2", "pairs"], ["5", "pairs"])
    shares = lines[-2].removeprefix("pairs read by each rank: ").split(", ")
    assert len(shares) == 4
    assert sum(float(share.rstrip("%")) for share in shares) == pytest.approx(100, abs=0.3)
    assert "23 chunks, each read and tokenised by one of 8 workers (4 x 2)" in lines[-1]
    assert "8 workers share the 4 chunks of a window" in err


@pytest.mark.parametrize(
    ("changes", "first", "code_left"),
    [
        (["--trainer.accumulate_grad_batches", "3"], "300 steps of 8 pairs, 21 an epoch", "5"),
        (["--trainer.max_steps", "-1", "--trainer.max_epochs", "2"], "42 steps of 8 pairs, 21 an epoch", "5"),
        (["--data.exhausted", "drop"], "100 steps of 8 pairs, 21 an epoch", "5"),
    ],
)
def test_simulate_counts_the_batches_of_the_run(
    changes: list[str], first: str, code_left: str, mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "simulate", "--config", str(mixed), *changes]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == first
    assert next(line.split() for line in lines if line.startswith("code"))[5] == code_left


def test_stop_leaves_most_of_the_larger_source(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = json.dumps({name: {**spec, "weight": 0.5} for name, spec in _sources(mixed).items()})
    assert (
        main(
            [
                "data",
                "simulate",
                "--config",
                str(mixed),
                "--data.sources",
                weights,
                "--data.exhausted",
                "stop",
            ]
        )
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    epoch = int(lines[0].split()[5])
    left = {row[0]: int(row[5]) for row in map(str.split, lines[2:4])}
    assert left["text"] + left["code"] == 130 + 45 - 8 * epoch
    assert left["text"] > 60


def test_a_weight_on_the_command_line_leaves_the_rest_of_its_source(
    mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = json.dumps({name: {**spec, "weight": 0.5} for name, spec in _sources(mixed).items()})
    said = []
    for words in (
        ["--data.sources", weights],
        ["--data.sources.text.weight", "0.5", "--data.sources.code.weight=0.5"],
    ):
        assert main(["data", "simulate", "--config", str(mixed), *words]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert main(["data", "simulate", "--config", str(mixed), "--data.sources.text.wieght", "0.5"]) == MISTAKE
    assert "data.sources: Unexpected keys: {'wieght'}" in capsys.readouterr().err


def _sources(recipe: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(recipe.read_text())["data"]["sources"]
    return found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ids"], "--config: missing"),
        (["ids", "--steps", "5:2"], "'5:2' is no range of steps such as 0:10"),
        (["simulate", "--world", "0"], "'0' is no number of 1 or more"),
        (["draw"], "invalid choice: 'draw'"),
        (
            ["simulate", "--config", "R", "--world", "3"],
            "data.batch_size: 8 is not divisible by 3 ranks; use 6 or 9",
        ),
        (["simulate", "--config", "R", "--data.exhausted", "never"], "data.exhausted: "),
        (
            ["simulate", "--config", "R", "--data.folder", "x"],
            "data.folder: given beside data.sources; take one of them (--data.folder null)",
        ),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", *(str(mixed) if word == "R" else word for word in arguments)]) == MISTAKE
    error = capsys.readouterr().err
    assert error.startswith("cpt: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_run_on_two_sources_scores_each(
    mixed: Path, here: Callable[..., tuple[str, str]], sources: dict[str, Any], tmp_path: Path
) -> None:
    for name, spec in sources.items():
        pairs = [Pair(id=f"v{i}", x=f"{name} {i}", y=f"{i} {name}") for i in range(20)]
        write_shards(Path(spec["folder"]) / "validation", pairs, source=name, overwrite=True)
    here("fit", "--config", mixed, "--trainer.max_steps", "6", "--trainer.val_check_interval", "3")
    rows = (tmp_path / "run" / "logs" / "version_0" / "metrics.csv").read_text().splitlines()
    columns = rows[0].split(",")
    for name in ("val/mrr", "val/mrr/text", "val/mrr/code", "val/loss/code"):
        assert name in columns
    scores = [dict(zip(columns, row.split(","), strict=True)) for row in rows[1:]]
    last = next(row for row in reversed(scores) if row["val/mrr"])
    assert float(last["val/mrr"]) == pytest.approx(
        (float(last["val/mrr/text"]) + float(last["val/mrr/code"])) / 2, abs=1e-6
    )
    here("fit", "--ckpt_path", tmp_path / "run" / "last.ckpt", "--trainer.max_steps", "9")
