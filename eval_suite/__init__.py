"""Scores any text or code encoder; the public names load when they are first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "EvalError": "errors",
    "Encoder": "encoder",
    "load_encoder": "encoder",
    "run_task": "run",
    "Result": "results",
    "classification_task": "tasks.packages",
    "code_search": "pool",
}
__all__ = ["Encoder", "EvalError", "Result", "classification_task", "code_search", "load_encoder", "run_task"]


def __getattr__(name: str) -> Any:
    """Import late: `cpt --help` must not wait for scikit-learn."""
    if name not in _HOME:
        raise AttributeError(f"module 'eval_suite' has no attribute {name!r}")
    return getattr(import_module(f"eval_suite.{_HOME[name]}"), name)
