"""docs/data-sets.md: every way of it is short, and its commands run as they stand there."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "data-sets.md").read_text(encoding="utf-8")
Here = Callable[..., tuple[str, str]]
Recipe = Callable[..., Path]


def blocks(heading: str) -> list[tuple[str, str]]:
    """Language and content of the blocks under a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def run(here: Here, recipe: Recipe, tmp_path: Path) -> Callable[[str], str]:
    """Run a block of commands, with a tiny recipe in the place of the large one; returns what they say."""
    rows = [(f"the question number {i} of many", f"answer {i}") for i in range(200)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps({"x": x, "y": y}) + "\n" for x, y in rows))
    (tmp_path / "pairs.tsv").write_text("".join(f"{x}\t{y}\n" for x, y in rows))
    tiny = str(
        recipe(
            {
                "trainer.max_steps": 12,
                "trainer.val_check_interval": 6,
                "trainer.check_val_every_n_epoch": None,
            }
        )
    )

    def commands(block: str) -> str:
        said = ""
        for line in block.splitlines():
            words = shlex.split(line.replace("cpt-text-s", tiny))
            assert words[0] == "cpt"
            said += "".join(here(*words[1:]))
        return said

    return commands


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Modules of one test are not those of the next."""
    yield
    for name in ("rows", "my_pairs"):
        sys.modules.pop(name, None)


def is_scored(folder: Path) -> bool:
    """Whether the newest run in a folder has scores of its validation pool."""
    logs = sorted(folder.glob("run*/logs/*/metrics.csv"), key=lambda path: path.stat().st_mtime_ns)
    header, *rows = (line.split(",") for line in logs[-1].read_text().splitlines())
    return "val/mrr" in header and any(row[header.index("val/mrr")] for row in rows)


def lines(*parts: str) -> int:
    return sum(len([line for line in part.splitlines() if line.strip()]) for part in parts)


def test_a_file_of_pairs(run: Callable[[str], str], tmp_path: Path) -> None:
    (_, example), (_, commands), (_, tokenize) = blocks("A file of pairs")
    assert json.loads(example).keys() == {"x", "y"}
    assert lines(example, commands) <= 10
    run(commands)
    assert is_scored(tmp_path)
    run(tokenize)
    assert is_scored(tmp_path)


def test_a_class_or_generator(run: Callable[[str], str], tmp_path: Path) -> None:
    (_, generator), (_, recipe), (_, command), (_, cls), (_, other) = blocks("A Python class or generator")
    assert lines(generator, recipe, command) <= 10
    (tmp_path / "my_pairs.py").write_text(generator + "\n\n" + cls)
    (tmp_path / "mine.yaml").write_text(recipe)
    said = run(command)
    assert is_scored(tmp_path)
    assert "data.sources.mine: has no length" in said
    assert "a resumed run reads again what came before" in said
    said = run(other)
    assert is_scored(tmp_path)
    assert "100 pairs by number" in said


def test_a_hugging_face_data_set(
    run: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    (_, recipe), (_, command) = blocks("A Hugging Face data set")
    assert lines(recipe, command) <= 10
    (tmp_path / "hf.yaml").write_text(recipe)
    said = run(command)
    assert is_scored(tmp_path)
    assert "a resumed run goes on from its state" in said


def test_a_source_without_validation_says_so(here: Here, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(
        "def rows():\n    return [{'x': f'x{i}', 'y': f'y{i}'} for i in range(64)]\n"
    )
    config = recipe({"data.folder": None, "data.sources": {"mine": {"class_path": "rows.rows"}}})
    _, said = here("fit", "--config", config)
    assert "data.sources.mine: no validation split, so val/ has no scores of it; hold pairs out" in said
    out, _ = here("data", "ids", "--config", config, "--steps", "0:4", "--world", "2")
    assert len({one for row in map(json.loads, out.splitlines()) for one in row["ids"]}) == 64
    out, _ = here("data", "simulate", "--config", config)
    assert "64" in out


@pytest.mark.parametrize(
    ("keys", "more", "message"),
    [
        ({"class_path": "rows.none"}, {}, "data.sources.mine.class_path: rows has no 'none'"),
        ({"class_path": "rows.stream"}, {}, "data.steps_per_epoch: missing; data.sources.mine has no length"),
        (
            {"class_path": "rows.stream"},
            {"data.exhausted": "drop", "data.steps_per_epoch": 3},
            "data.exhausted: drop",
        ),
        ({"class_path": "rows.stream", "held": 3}, {}, "data.sources: "),
        (
            {"class_path": "rows.breaks"},
            {"data.steps_per_epoch": 9, "data.workers": 2},
            "record 40: ValueError: no",
        ),
    ],
)
def test_mistakes_are_one_line(
    keys: dict[str, Any], more: dict[str, Any], message: str, here: Here, recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "rows.py").write_text(
        "def stream():\n    yield from ({'x': f'x{i}', 'y': f'y{i}'} for i in range(64))\n"
        "def breaks():\n    for i in range(64):\n        if i == 40: raise ValueError('no')\n"
        "        yield {'x': f'x{i}', 'y': f'y{i}'}\n"
    )
    config = recipe({"data.folder": None, "data.sources": {"mine": keys}, **more})
    _, said = here("fit", "--config", config, status=2)
    (error,) = [line for line in said.splitlines() if line.startswith("cpt: error: ")]
    assert message in error
    assert "Traceback" not in said
    if "breaks" in keys["class_path"]:
        assert (tmp_path / "run" / "last.ckpt").exists()
