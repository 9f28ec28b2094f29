"""Finds tasks by their names and groups of them: this package's own and those that others register."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from eval_suite.errors import EvalError, did_you_mean
from eval_suite.task import Task
from eval_suite.tasks.beir import PREFIX, folder_task
from eval_suite.tasks.own import ENDINGS, task_of_file

_GROUP = "eval_suite.tasks"  # entry points: NAME -> a function that returns {name: Task}; NAME is a group's name too
# group of tasks -> the module whose TASKS hold them
_FAMILIES = {
    "senteval": "eval_suite.tasks.linear_probe",
    "sst2": "eval_suite.tasks.sst2",
    "sts": "eval_suite.tasks.sts",
    "sts-original": "eval_suite.tasks.sts_original",
    "beir": "eval_suite.tasks.beir",
    "large-search": "eval_suite.tasks.large_search",
    "small-search": "eval_suite.tasks.smart",
    "code": "eval_suite.tasks.code_sets",
}


def groups() -> dict[str, list[str]]:
    """Group -> the names of its tasks, in their order; "all" holds every one."""
    found = {group: list(tasks) for group, tasks in _tables().items()}
    return found | {"all": [name for names in found.values() for name in names]}


def find_task(name: str) -> Task:
    """The task of that name, of a folder (`beir:FOLDER`), or of a YAML file; raises EvalError with the nearest name."""
    if name.endswith(ENDINGS):
        return task_of_file(Path(name))
    if name.startswith(PREFIX):
        return folder_task(name)
    known = {key: task for tasks in _tables().values() for key, task in tasks.items()}
    if name not in known:
        raise EvalError(f"unknown task {name!r}; {did_you_mean(name, [*known, *groups()])}")
    return known[name]


def find_tasks(names: Iterable[str]) -> list[Task]:
    """The tasks of these names or groups, each once, in the order of the names. Raises EvalError for an unknown one."""
    of_group = groups()
    wanted = [task for name in names for task in of_group.get(name, [name])]
    found = {spec: find_task(spec) for spec in dict.fromkeys(wanted)}
    of_name: dict[str, str] = {}
    for spec, task in found.items():
        other = of_name.setdefault(task.name, spec)
        if other != spec:
            raise EvalError(f"tasks {other!r} and {spec!r} are both named {task.name}; rename one")
    return list(found.values())


def _tables() -> dict[str, dict[str, Task]]:
    tables: dict[str, dict[str, Task]] = {
        group: import_module(module).TASKS for group, module in _FAMILIES.items()
    }
    for point in entry_points(group=_GROUP):
        if point.name in tables:
            raise EvalError(f"entry point {point.name!r} of {_GROUP}: the name is taken; choose another")
        try:
            tables[point.name] = dict(point.load()())
        except Exception as error:  # whatever a plug-in does when it is loaded
            raise EvalError(
                f"entry point {point.name!r} of {_GROUP} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
    return tables
