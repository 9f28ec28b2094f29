"""Runs mteb's tasks on an encoder; the results lie in mteb's own layout, in strict JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eval_suite.encoder import Encoder
from eval_suite.errors import EvalError, did_you_mean

Provide = Callable[[Any], bool]  # gives a task of mteb its data and says whether it could


def run_mteb(
    encoder: Encoder, names: Sequence[str], out: Path, provide: Provide = lambda task: False
) -> dict[str, float]:
    """Task -> its main score, 0..1.

    Args:
        encoder: what is scored.
        names: mteb's names of tasks.
        out: mteb's cache folder: OUT/results/MODEL/REVISION/TASK.json. What is there is not run again.
        provide: is offered each task before mteb fetches its data from the hub.

    Raises:
        EvalError: mteb is missing, an unknown task, or data that cannot be had.
    """
    tasks = _tasks(names)
    import mteb

    from eval_suite.mteb_encoder import MtebEncoder

    model: Any = MtebEncoder(encoder)
    scores, cache = {}, mteb.ResultCache(out)
    for task in tasks:
        local = provide(task)
        again = _of_other_data(cache, task, model)
        try:
            found = mteb.evaluate(
                model,
                task,
                cache=cache,
                overwrite_strategy="always" if again else "only-missing",
                show_progress_bar=False,
            )
        except EvalError:  # of the encoder
            raise
        except Exception as error:  # the hub's clients raise dozens of types for one mistake: no data
            if local:
                raise
            reason = " ".join(str(error).split())[:200]
            raise EvalError(
                f"mteb task {task.metadata.name}: no data ({type(error).__name__}: {reason}); it is fetched from the hub, "
                "or read from a folder where --data has it"
            ) from error
        scores[task.metadata.name] = float(found.task_results[0].get_score())
        make_strict(cache.get_task_result_path(task.metadata.name, model.mteb_model_meta))
    return scores


def _of_other_data(cache: Any, task: Any, model: Any) -> bool:
    """Whether the stored result is of another revision of the data, which mteb itself would take for this one's."""
    stored = cache.load_task_result(task.metadata.name, model.mteb_model_meta)
    return stored is not None and stored.dataset_revision != task.metadata.revision


def _tasks(names: Sequence[str]) -> list[Any]:
    try:
        import mteb
    except ImportError as error:
        raise EvalError(f"`cpt eval mteb` needs: pip install 'lightning-cpt[mteb]' ({error})") from error
    tasks = []
    for name in names:
        try:
            tasks.append(mteb.get_task(name))
        except KeyError as error:
            known = [task.metadata.name for task in mteb.get_tasks()]
            hint = did_you_mean(name, known).split("known:")[0]
            raise EvalError(f"unknown mteb task {name!r}; {hint}`mteb available-tasks` names all") from error
    return tasks


def make_strict(path: Path) -> None:
    """Rewrite a result file in which mteb left a bare NaN, which is no JSON: null takes its place.

    No other file is touched: the folder may be the user's.

    Raises:
        EvalError: the file cannot be read or written.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if "NaN" in text or "Infinity" in text:
            strict = json.dumps(_without_nan(json.loads(text)), indent=2, allow_nan=False)
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            part.write_text(strict, encoding="utf-8")
            os.replace(part, path)
    except FileNotFoundError:  # mteb kept it elsewhere
        return
    except (OSError, ValueError) as error:
        raise EvalError(f"{path}: cannot be read or written ({error}); delete it and run again") from error


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
