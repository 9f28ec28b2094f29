"""Yields the texts of all evaluation tasks whose files lie under a folder, for a check of training data against them."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from eval_suite.errors import EvalError
from eval_suite.tasks.senteval import TASKS


def evaluation_texts(root: Path | str) -> Iterator[tuple[str, str]]:
    """Yield (task, text) for the files that are known by their names and folders, in the order of their paths.

    All parts of a task are yielded, those for training a probe too, and both texts of a pair. A SMART or SciFact
    abstract is yielded sentence by sentence, so that a part of one is recognised.

    Raises:
        EvalError: no such folder, no known file under it, or a file that is not of its task's form.
    """
    root = Path(root)
    if not root.is_dir():
        raise EvalError(
            f"evaluation data {root}: is no folder; get one with: cpt eval fetch senteval --to {root}"
        )
    found = False
    walked = os.walk(root.absolute(), followlinks=True)
    for path in sorted(Path(at, name) for at, _, names in walked for name in names):
        for task, pattern, read in _KNOWN:
            if pattern.search(path.as_posix()):
                found = True
                yield from ((task, text) for text in _texts(path, task, read))
    if not found:
        names = ", ".join(dict.fromkeys(task for task, _, _ in _KNOWN))
        raise EvalError(
            f"evaluation data {root}: no file of {names} under it; name the folder that holds them"
        )


def _texts(path: Path, task: str, read: Callable[[str], Iterator[str]]) -> Iterator[str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise EvalError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    try:
        yield from (one for one in read(text) if one.strip())
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, SyntaxError, csv.Error) as error:
        raise EvalError(f"{path}: not in the form of {task} ({error}); fetch or copy it again") from error


def _lines(text: str) -> Iterator[str]:
    """Lines ended by a line feed only: some of the files hold other line separators inside their texts."""
    return (line.rstrip("\r") for line in text.split("\n") if line.strip())


def _senteval(task: str) -> Callable[[str], Iterator[str]]:
    def read(text: str) -> Iterator[str]:
        for line in _lines(text):
            example = TASKS[task].parse(line, 0)
            yield from (" ".join(tokens) for tokens in (example.texts if example else ()))

    return read


def _columns(*columns: int, header: bool = False) -> Callable[[str], Iterator[str]]:
    def read(text: str) -> Iterator[str]:
        for number, line in enumerate(_lines(text)):
            if number or not header:
                cells = line.split("\t")
                yield from (cells[column] for column in columns)

    return read


def _smart(text: str) -> Iterator[str]:
    """The titles and texts of a collection in SMART form: fields begin with a dot and a capital."""
    for field in re.split(r"^(?=\.[A-Z]\b)", text, flags=re.MULTILINE):
        if field.startswith((".T", ".W")):
            yield from _sentences(" ".join(field[2:].split()))


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.?!])\s+(?=\S)", text)


def _jsonl(*keys: str) -> Callable[[str], Iterator[str]]:
    def read(text: str) -> Iterator[str]:
        for line in _lines(text):
            row = json.loads(line)
            for key in keys:
                yield from _sentences(str(row.get(key, "")))

    return read


def _json(*keys: str) -> Callable[[str], Iterator[str]]:
    return lambda text: (str(row[key]) for row in json.loads(text) for key in keys)


def _code_base(text: str) -> Iterator[str]:
    """A JSON object of code -> number."""
    return iter(json.loads(text))


def _csv(*columns: str) -> Callable[[str], Iterator[str]]:
    def read(text: str) -> Iterator[str]:
        for row in csv.DictReader(io.StringIO(text, newline="")):
            for column in columns:
                yield from _sentences_of_array(row[column])

    return read


def _sentences_of_array(cell: str) -> list[str]:
    """A cell that prints an array of sentences, or a plain one."""
    if not cell.startswith("["):
        return _sentences(cell)
    # Neighbouring string literals would become one: numpy prints no commas.
    return [
        str(ast.literal_eval(part)) for part in re.findall(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", cell)
    ]


def _known() -> Iterator[tuple[str, re.Pattern[str], Callable[[str], Iterator[str]]]]:
    for name, task in TASKS.items():
        names = "|".join(re.escape(path) for path in task.files)
        yield name, re.compile(f"/({names})$"), _senteval(name)
    for year in range(12, 17):
        yield (
            f"STS{year}",
            re.compile(rf"/STS{year}-en-test/.*STS(20{year})?\.input\.[^/]*\.txt$"),
            _columns(0, 1),
        )
    yield "STSB", re.compile(r"/sts-(train|dev|test)\.csv$"), _columns(5, 6)
    yield "SICK", re.compile(r"/SICK_(train|trial|test_annotated)\.txt$"), _columns(1, 2, header=True)
    yield "SciFact", re.compile(r"/scifact[^/]*/(corpus|queries)\.jsonl$"), _jsonl("title", "text")
    yield "SciFact", re.compile(r"/scifact[^/]*/claims_\w+\.csv$"), _csv("claim")
    yield "SciFact", re.compile(r"/scifact[^/]*/corpus_train\.csv$"), _csv("title", "abstract")
    yield "Cranfield", re.compile(r"/cran\.(all\.1400|qry)$"), _smart
    yield "CISI", re.compile(r"/CISI\.(ALL|QRY)$"), _smart
    yield "CoSQA", re.compile(r"/cosqa-[\w-]*\.json$"), _json("doc", "code")
    yield "CoSQA", re.compile(r"/cosqa/code_idx_map\.txt$"), _code_base
    yield "WebQueryTest", re.compile(r"/test_webquery\.json$"), _json("doc", "code")


_KNOWN = tuple(_known())
