"""Tasks by name, by group and from other packages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from eval_suite import registry
from eval_suite.errors import EvalError
from eval_suite.registry import find_tasks


def test_names_and_groups_give_each_task_once() -> None:
    found = registry.find_tasks(["TREC", "senteval", "TREC"])
    assert [task.name for task in found][:2] == ["TREC", "MR"]
    assert len(found) == 7
    assert set(registry.groups()["senteval"]) <= set(registry.groups()["all"])


def test_an_unknown_name_proposes_a_task_or_a_group() -> None:
    with pytest.raises(EvalError, match="unknown task 'TRECC'; did you mean 'TREC'"):
        registry.find_tasks(["TRECC"])
    with pytest.raises(EvalError, match="did you mean 'senteval'"):
        registry.find_tasks(["sentevall"])


def test_another_package_brings_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = registry.find_task("CR")
    point = SimpleNamespace(name="mine", load=lambda: lambda: {"Mine": mine})
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert registry.find_tasks(["mine"]) == [mine]


@pytest.mark.parametrize(
    ("name", "load", "message"),
    [("senteval", dict, "the name is taken"), ("bad", lambda: 1 / 0, "cannot be loaded: ZeroDivisionError")],
)
def test_a_plug_in_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch, name, load, message) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [SimpleNamespace(name=name, load=load)])
    with pytest.raises(EvalError, match=message):
        registry.groups()


def test_every_task_keeps_the_protocol() -> None:
    for task in registry.find_tasks(["all"]):
        assert task.name
        assert task.family
        assert all(callable(getattr(task, name)) for name in ("protocol", "sha256", "examples", "run"))


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text("name: Mine\nkind: similarity\npairs: pairs.tsv\n")
    specs = [str(tmp_path / name) for name in ("one.yaml", "two.yaml")]
    assert len(find_tasks([specs[0], specs[0]])) == 1
    with pytest.raises(EvalError, match="both named Mine"):
        find_tasks(specs)
