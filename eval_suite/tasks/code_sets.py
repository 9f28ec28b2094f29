"""CodeSearchNet in six languages with 1,000 and 10,000 candidates, and CoSQA."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eval_suite.docstrings import strip_docstring, summary
from eval_suite.errors import EvalError
from eval_suite.files import content_sha256, corrupt, json_lines, lines, one_of
from eval_suite.tasks.beir import find_folder
from eval_suite.tasks.code_search import CodePool, PoolTask

LANGUAGES = ("go", "ruby", "python", "java", "javascript", "php")  # in the order of the paper's tables
SIZES = {"": 1_000, "-10K": 10_000}
_SHOWN = {"javascript": "JavaScript", "php": "PHP"}
_COSQA_TEST, _COSQA_CODES = "cosqa-retrieval-test-500.json", "code_idx_map.txt"


def language_files(data: Path, language: str) -> list[Path]:
    """The test files of a language, LANGUAGE/final/jsonl/test/*.jsonl.gz as CodeSearchNet unpacks them, by name.

    They are looked for in `data` and in up to three folders between. Raises EvalError where there is none.
    """
    for depth in range(4):
        for name in (f"{language}/final/jsonl/test", f"{language}/jsonl/test", f"{language}/test"):
            found = sorted(
                path for path in Path(data).glob(f"{'*/' * depth}{name}/*.jsonl*") if path.is_file()
            )
            if found:
                return found
    raise EvalError(
        f"data {data}: no {language}/final/jsonl/test/*.jsonl.gz under it; unpack CodeSearchNet's {language}.zip there"
    )


def read_pools(data: Path, language: str, size: int, strip: bool) -> list[CodePool]:
    """CodeSearchNet's own pools: the examples in the files' order, shuffled by numpy's generator under seed 0, and cut.

    The last, incomplete pool is left out; fewer examples than `size` make one pool of all (the rule of the
    benchmark's model_test.py). The query is the docstring's first paragraph; strip: Python's docstrings are
    taken out of the functions. In the other languages
    the documentation stands in front of the function, and CodeSearchNet leaves it out of the code.
    """
    keys = ("docstring", "code", "url")
    rows = [row for path in language_files(data, language) for row in json_lines(path, keys)]
    order = np.arange(len(rows))
    np.random.RandomState(0).shuffle(order)
    size = min(size, len(rows))
    if not size:
        raise corrupt(language_files(data, language)[0], "it holds no example")
    return [
        _pool([rows[i] for i in order[start : start + size]], strip)
        for start in range(0, len(rows) - size + 1, size)
    ]


def _pool(rows: list[dict[str, Any]], strip: bool) -> CodePool:
    codes = [str(row["code"]) for row in rows]
    return CodePool(
        [summary(str(row["docstring"])) for row in rows],
        [strip_docstring(code) for code in codes] if strip else codes,
        np.arange(len(rows)),
        [str(row["url"]) for row in rows],
    )


def _cosqa_files(data: Path) -> list[Path]:
    folder = find_folder(data, "cosqa", holds=(_COSQA_TEST,))
    return [one_of(folder, _COSQA_TEST), one_of(folder, _COSQA_CODES)]


def _read_cosqa(data: Path, strip: bool) -> list[CodePool]:
    """500 web queries against all 6,267 functions of the code base (Huang et al. 2021)."""
    test, base = _cosqa_files(data)
    codes, asked = _json(base, dict), _json(test, list)
    try:
        texts = sorted(codes, key=lambda code: int(codes[code]))
        right = np.array([int(row["retrieval_idx"]) for row in asked])
        queries = [str(row["doc"]) for row in asked]
    except (KeyError, TypeError, ValueError) as error:
        raise corrupt(test, f"no list of doc and retrieval_idx ({error!r})") from error
    if not queries or [int(codes[code]) for code in texts] != list(range(len(texts))):
        raise corrupt(base, "the functions are not numbered from 0 without a gap")
    if right.min() < 0 or right.max() >= len(texts):
        raise corrupt(test, f"a retrieval_idx is beyond the {len(texts)} functions")
    functions = [strip_docstring(code) for code in texts] if strip else texts
    return [CodePool(queries, functions, right, [str(i) for i in range(len(texts))])]


def _json(path: Path, kind: type) -> Any:
    try:
        found = json.loads("\n".join(lines(path)))
    except ValueError as error:
        raise corrupt(path, f"it is no JSON ({error})") from error
    if not isinstance(found, kind):
        raise corrupt(path, f"it is no JSON {kind.__name__}")
    return found


def _search_net(language: str, suffix: str, size: int, strip: bool = True) -> PoolTask:
    name = f"CodeSearchNet-{_SHOWN.get(language, language.title())}{suffix}"
    read: Callable[[Path], list[CodePool]] = partial(
        read_pools, language=language, size=size, strip=strip and language == "python"
    )
    docstrings = "stripped" if strip else "as shipped"
    return PoolTask(
        name if strip else f"{name}-as-shipped",
        read,
        lambda data: content_sha256(language_files(data, language)),
        f"codesearchnet/{size}/{docstrings.replace(' ', '-')}",
        settings={"docstrings": docstrings, "candidates": size, "query": "first paragraph"},
    )


def _cosqa(strip: bool) -> PoolTask:
    docstrings = "stripped" if strip else "as shipped"
    return PoolTask(
        "CoSQA-stripped" if strip else "CoSQA",
        partial(_read_cosqa, strip=strip),
        lambda data: content_sha256(_cosqa_files(data)),
        f"cosqa/test500/{docstrings.replace(' ', '-')}",
        {"queries": 500, "documents": 6_267},
        settings={"docstrings": docstrings},
    )


# The published tables do not say whether Python's docstrings were left in: that score has a name of its own.
TASKS: dict[str, PoolTask] = {
    task.name: task
    for task in (
        *(_search_net(language, suffix, size) for suffix, size in SIZES.items() for language in LANGUAGES),
        *(_search_net("python", suffix, size, strip=False) for suffix, size in SIZES.items()),
        _cosqa(strip=False),
        _cosqa(strip=True),
    )
}
