"""Tasks of the user's: a classification, similarity or search set that a small YAML file describes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from eval_suite.encoder import Encoder
from eval_suite.errors import EvalError, did_you_mean
from eval_suite.files import is_unicode
from eval_suite.results import Result
from eval_suite.rng import rng_kept
from eval_suite.task import Options, Task
from eval_suite.tasks.beir import beir_files, read_beir
from eval_suite.tasks.linear_probe import check_options, measure, record
from eval_suite.tasks.search import METRICS, SearchTask
from eval_suite.tasks.senteval import Examples
from eval_suite.tasks.sts import Pair, StsTask

ENDINGS = (".yaml", ".yml")
# kind -> its keys and the values they have where a file names none; None where the file must name one
_KEYS: dict[str, dict[str, Any]] = {
    "classification": {"train": None, "test": "", "text": "text", "label": "label"},
    "similarity": {"pairs": None, "first": "first", "second": "second", "score": "score"},
    "search": {"folder": None, "split": "test", "metric": "ndcg@10"},
}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def task_of_file(path: Path) -> Task:
    """The task that the YAML file describes; paths in it are relative to it.

    Raises:
        EvalError: no such file, an unknown or missing key, or a file that it names and that is not there.
    """
    settings = _settings(path)
    name, kind = settings["name"], settings["kind"]
    root = path.parent
    if kind == "classification":
        parts = {"train": root / settings["train"]}
        if settings["test"]:
            parts["test"] = root / settings["test"]
        return OwnClassification(name, parts, settings["text"], settings["label"])
    if kind == "similarity":
        columns = (settings["first"], settings["second"], settings["score"])
        return OwnSimilarity(name, "own", (), folders=(), table=root / settings["pairs"], columns=columns)
    if settings["metric"] not in METRICS:
        raise EvalError(f"{path}: metric {settings['metric']!r}; {did_you_mean(settings['metric'], METRICS)}")
    folder, split = root / settings["folder"], settings["split"]
    return SearchTask(
        name,
        lambda data: beir_files(folder, split),
        lambda data: read_beir(folder, split),
        "own",
        metric=settings["metric"],
        split=split,
    )


def _settings(path: Path) -> dict[str, str]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvalError(f"task {path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EvalError(f"task {path}: is no YAML ({' '.join(str(error).split())[:100]})") from error
    if not isinstance(found, Mapping) or not isinstance(found.get("name"), str) or not found["name"].strip():
        raise EvalError(f"task {path}: needs the keys name and kind, such as kind: classification")
    kind = str(found.get("kind"))
    if kind not in _KEYS:
        raise EvalError(f"task {path}: kind {kind!r}; {did_you_mean(kind, _KEYS)}")
    if "/" in found["name"]:
        raise EvalError(f"task {path}: name {found['name']!r} becomes a file's name; leave the / out")
    keys = {"name": None, "kind": None, **_KEYS[kind]}
    for key in found:
        if key not in keys:
            raise EvalError(f"task {path}: unknown key {key!r}; {did_you_mean(str(key), keys)}")
    missing = [key for key, value in keys.items() if value is None and key not in found]
    if missing:
        raise EvalError(f"task {path}: a {kind} task needs the key {missing[0]!r}")
    return {key: str(found.get(key, value)) for key, value in keys.items()}


@dataclass(frozen=True)
class OwnClassification:
    """Logistic regression under SentEval's rules for C: with a test file, chosen by cross-validation on train;
    without one, by a cross-validation inside each of ten folds.

    parts: train and, perhaps, test. Examples stay in the files' order.
    """

    name: str
    parts: dict[str, Path]
    text: str
    label: str
    family: str = "probe"

    @property
    def scheme(self) -> str:
        return "kfold" if "test" in self.parts else "nested"

    def protocol(self, options: Options) -> str:
        check_options(options)
        return f"own/{self.scheme}{options.kfold}/logreg-{options.probe}/{options.features}"

    def sha256(self, data: Path) -> str:
        return _sha256(list(self.parts.values()), self.text, self.label)

    def read(self) -> dict[str, Examples]:
        """Part -> its examples. Raises EvalError for a bad row, and a label of the test file that train lacks."""
        rows = {part: _rows(path, (self.text, self.label)) for part, path in self.parts.items()}
        names = sorted({label for _, label in rows["train"]})
        codes = {label: code for code, label in enumerate(names)}
        for _, label in rows.get("test", []):
            if label not in codes:
                raise EvalError(f"{self.parts['test']}: label {label!r} is not in {self.parts['train'].name}")
        key = {"train": "train" if "test" in rows else "all", "test": "test"}
        return {
            key[part]: Examples(
                ([text or "." for text, _ in found],), np.array([codes[label] for _, label in found])
            )
            for part, found in rows.items()
        }

    def examples(self, data: Path) -> list[tuple[str, ...]]:
        tested = list(self.read().values())[-1]
        return list(zip(*tested.columns, strict=True))

    def run(self, encoder: Encoder, data: Path, options: Options) -> Result:
        with rng_kept():
            measured = measure(encoder, self.scheme, self.read(), options)
        return record(
            encoder,
            self.name,
            self.protocol(options),
            measured,
            data_sha256=self.sha256(data),
            seed=options.seed,
            features=options.features,
            fast=options.probe == "fast",
        )


@dataclass(frozen=True)
class OwnSimilarity(StsTask):
    """Spearman's correlation of cosines with the judgements of a table."""

    table: Path = Path()
    columns: tuple[str, str, str] = ("first", "second", "score")

    def sha256(self, data: Path) -> str:
        return _sha256([self.table], *self.columns)

    def read(self, data: Path) -> dict[str, list[Pair]]:
        pairs = []
        for number, (first, second, score) in enumerate(_rows(self.table, self.columns), 1):
            try:
                gold = float(score)
            except ValueError:
                gold = math.nan
            if not math.isfinite(gold):
                raise EvalError(f"{self.table}: row {number}: {self.columns[2]} {score!r} is no number")
            pairs.append(Pair(first or ".", second or ".", gold))
        return {self.name: pairs}


def _sha256(paths: list[Path], *columns: str) -> str:
    """One hash over the files and which of their columns are read: others are other data."""
    parts = [*(hashlib.sha256(_bytes(p)).hexdigest() for p in paths), json.dumps(columns)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvalError(f"data file {path}: cannot be read ({error.strerror})") from error


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The columns of a .jsonl, .csv or .tsv file, row by row."""
    readers: dict[str, Callable[[Path], Iterator[Mapping[str, Any]]]] = {
        ".jsonl": _json_rows,
        **dict.fromkeys(_DELIMITERS, _table_rows),
    }
    if path.suffix not in readers:
        raise EvalError(f"data file {path}: give a file that ends in {', '.join(readers)}")
    found = []
    for number, row in enumerate(readers[path.suffix](path), 1):
        for column in columns:
            if row.get(column) is None:
                raise EvalError(f"{path}: row {number} has no {column!r}; it has {', '.join(map(str, row))}")
        found.append(tuple(str(row[column]) for column in columns))
    if not found:
        raise EvalError(f"{path}: has no rows")
    return found


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EvalError(f"{path}: is not UTF-8 (byte {error.start})") from error


def _json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise EvalError(f"{path}: line {number} is no JSON ({error})") from error
        if not isinstance(row, Mapping):
            raise EvalError(f"{path}: line {number} is no JSON object")
        if not is_unicode(line, row):
            raise EvalError(
                f"{path}: line {number} holds half of a surrogate pair, which is no character; mend or drop the row"
            )
        yield row


def _table_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        rows = io.StringIO(_text(path), newline="")  # str.splitlines would cut at U+0085 and U+2028 too
        yield from csv.DictReader(rows, delimiter=_DELIMITERS[path.suffix], strict=True)
    except csv.Error as error:
        raise EvalError(f"{path}: is no table ({error})") from error
