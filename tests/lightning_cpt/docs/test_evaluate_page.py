"""docs/evaluate.md and the task of docs/extend.md: what a reader copies runs as it stands there."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from eval_suite import cli, registry
from eval_suite.results import read_result

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "evaluate.md").read_text(encoding="utf-8")


def block(text: str, heading: str, language: str) -> str:
    """The only block of a language under a heading."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (found,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(found)


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    cli.add_commands(parser.add_subparsers())
    parsed = parser.parse_args(["eval", *map(str, arguments)])
    status: int = parsed.func(parsed)
    return status


@pytest.fixture
def own_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The page's three YAML files with a little data, in the working folder."""
    monkeypatch.chdir(tmp_path)
    section = PAGE.split("\n## Tasks of your own\n")[1].split("\n## ")[0]
    files = re.findall(r"`(\w+\.yaml)`.*?```yaml\n(.*?)```", section, re.DOTALL)
    for name, text in files:
        Path(name).write_text(text)
    rows = [{"text": f"{word} film {i}", "label": word} for i in range(15) for word in ("good", "bad")]
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("test.csv").write_text("text,label\na good one,good\na bad one,bad\n")
    Path("pairs.tsv").write_text("question\tother\tjudgement\na b\ta b\t5\na b\ta c\t3\na b\tu v\t1\n")
    Path("faq/qrels").mkdir(parents=True)
    words = ("tax", "rent", "pay")
    Path("faq/corpus.jsonl").write_text(
        "".join(json.dumps({"_id": w, "text": f"on {w}"}) + "\n" for w in words)
    )
    Path("faq/queries.jsonl").write_text('{"_id": "1", "text": "rent"}\n{"_id": "2", "text": "tax"}\n')
    Path("faq/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n1\trent\t1\n2\ttax\t1\n")
    return [name for name, _ in files]


def test_the_three_kinds_of_own_tasks(own_tasks: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert own_tasks == ["reviews.yaml", "questions.yaml", "faq.yaml"]
    (command,) = [line for line in PAGE.splitlines() if "--tasks reviews.yaml" in line]
    assert run(*command.split()[2:], "--workers", "1", "--kfold", "3") == 0
    results = {path.name.split(".")[0]: read_result(path) for path in Path("own-results").glob("*.json")}
    assert {name: result.metric for name, result in results.items()} == {
        "Reviews": "accuracy",
        "Questions": "spearman",
        "FAQ": "mrr@10",
    }
    assert results["FAQ"].score == 100.0
    assert "FAQ" in capsys.readouterr().out


def test_the_values_a_file_need_not_name_are_those_of_the_page() -> None:
    from eval_suite.tasks.own import _KEYS

    told = PAGE.split("the rest has these values: ")[1].split(".")[0]
    for defaults in _KEYS.values():
        assert all(f"`{value}`" in told for value in defaults.values() if value)


def test_the_callbacks_run_in_a_training(here: Any, recipe: Any, own_tasks: list[str]) -> None:
    """With the page's own tasks in the place of large ones."""
    text = block(PAGE, "During training", "yaml")
    for large, own in (
        ("[MR, CR]", "[reviews.yaml]"),
        ("[STSB]", "[questions.yaml]"),
        ("[SciFact]", "[faq.yaml]"),
    ):
        assert large in text
        text = text.replace(large, own)
    text = re.sub(r"every_n_steps: \d+", "every_n_steps: 2, out: scores", text)
    Path("scores.yaml").write_text(re.sub(r"data: data/\w+", "data: .", text))
    here("fit", "--config", recipe(), "--config", "scores.yaml")
    kept = {path.name.split(".")[0] for path in Path("scores").rglob("*.json")}
    assert kept == {"Reviews", "Questions", "FAQ"}
    assert [set(one) for one in yaml.safe_load(text)["trainer"]["callbacks"]] == 3 * [
        {"class_path", "init_args"}
    ]


def test_the_task_of_a_plug_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tomllib

    page = (DOCS / "extend.md").read_text(encoding="utf-8")
    points = tomllib.loads(block(page, "A task", "toml"))["project"]["entry-points"]
    ((group, names),) = points.items()
    ((name, where),) = names.items()
    assert where == "my_tasks:tasks"
    names_of: dict[str, Any] = {}
    exec(compile(block(page, "A task", "python"), "my_tasks.py", "exec"), names_of)
    point = SimpleNamespace(name=name, load=lambda: names_of["tasks"])
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry._GROUP else [])
    assert group == registry._GROUP
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    pairs = [
        ["how to cook rice", "cooking rice"],
        ["mend a bike", "bike repair"],
        ["a tax form", "form of tax"],
    ]
    Path("data/duplicates.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (command,) = [line for line in page.splitlines() if "--tasks questions" in line]
    assert run(*command.split()[2:]) == 0
    assert "Duplicates: 100.00" in capsys.readouterr().err
    (path,) = Path("results").glob("*.json")
    assert read_result(path).per_example == {"accuracy": [1.0, 1.0, 1.0]}


def test_every_warning_of_the_code_is_on_the_page() -> None:
    """By words that stand in the code and in the table."""
    code = "".join(path.read_text() for path in (DOCS.parent / "eval_suite").rglob("*.py"))
    rows = [
        line.split("|")[1].strip()
        for line in PAGE.split("\n## Warnings\n")[1].splitlines()
        if line[:2] == "| "
    ]
    assert len(rows) > 8
    for phrase in (
        "collapsed vectors",
        "tie with another",
        "are longer than the encoder's",
        "x and y look swapped",
        "the best C was the last of the grid",
        "where the published set has",
        "judged documents are not in the corpus",
        "an easier pool",
        "functions still hold their query word for word",
        "of the known edition",
    ):
        assert phrase in code
        assert any(phrase in row for row in rows), phrase
