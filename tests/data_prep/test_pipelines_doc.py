"""docs/pipelines.md says what is there: its YAML is a pipeline, its table names the stages, its commands parse."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("datatrove")

from data_prep.pipeline.config import read_pipe
from data_prep.pipeline.plan import Plan, Stage
from lightning_cpt.prep import add_commands

TEXT = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")


def test_the_yaml_and_the_table(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert found
    (tmp_path / "pipe.yaml").write_text(found[1])
    pipe = read_pipe(tmp_path / "pipe.yaml")
    assert (pipe.source, pipe.evaluation, pipe.slurm["partition"]) == ("books", "../shared/data", "cpu")
    rows = re.findall(r"^\| `(\w+)` \| (\w) \|", TEXT, re.MULTILINE)
    plan = Plan(tmp_path, tmp_path, pipe, [[], [], []], {})
    assert [Stage(name, 3 if tasks == "N" else int(tasks)) for name, tasks in rows] == plan.stages()


def test_the_commands() -> None:
    lines = [line.strip() for line in TEXT.splitlines() if re.match(r"    \S*.*cpt prep run", line)]
    assert len(lines) == 3
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    found = [parser.parse_args(shlex.split(line.partition("cpt ")[2])) for line in lines]
    assert [args.executor for args in found] == ["local", "ray", "slurm"]
