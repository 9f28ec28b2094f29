"""The quickstart's two measurements: code search on a frozen pool, and which sub-package a docstring is from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.code.sources import STDLIB
from eval_suite.encoder import Encoder, encode_texts
from eval_suite.pool import PoolScore, code_search
from eval_suite.tasks.packages import classification_task
from lightning_cpt.errors import ConfigError

CLASSES = 20
PER_CLASS = 100
Record = dict[str, Any]


def search(encoder: Encoder, pool: Sequence[Record]) -> PoolScore:
    """Each docstring (side x) against all functions (side y) of the pool; ties count against the encoder."""
    return code_search(*vectors(encoder, pool))


def vectors(encoder: Encoder, pool: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the pool's docstrings and of its functions, float32 ``(n, d)`` each."""
    x = encode_texts(encoder, [record["x"] for record in pool], "x")
    y = encode_texts(encoder, [record["y"] for record in pool], "y")
    return x, y


@dataclass(frozen=True)
class PackageTexts:
    """Docstrings without their package's name, and the sub-package that each comes from, ``n`` of both."""

    texts: list[str]
    labels: list[str]


def package_texts(records: Sequence[Record]) -> PackageTexts:
    """The probe's examples: 20 largest sub-packages, 100 docstrings of each by the ids' order.

    The words of all 20 names are masked out of all texts: were only a text's own name masked, the hole would
    tell the class.

    Raises:
        ConfigError: fewer than 20 sub-packages have 100 docstrings.
    """
    labelled = [(subpackage(record["meta"]["path"]), record) for record in sorted(records, key=_id)]
    sizes = Counter(label for label, _ in labelled)
    largest = sorted(sizes, key=lambda label: (-sizes[label], label))[:CLASSES]
    if len(largest) < CLASSES or sizes[largest[-1]] < PER_CLASS:
        raise ConfigError(
            f"the held-out packages have not {CLASSES} sub-packages with {PER_CLASS} docstrings each"
        )
    masked = _masker(largest)
    texts, labels = [], []
    for label in largest:
        chosen = [record for own, record in labelled if own == label][:PER_CLASS]
        texts += [masked(record["x"]) for record in chosen]
        labels += [label] * PER_CLASS
    return PackageTexts(texts, labels)


def subpackage(path: str) -> str:
    """``scipy/stats/_qmc.py`` is of scipy.stats, ``python-stdlib/json/decoder.py`` of json."""
    package, inner = path.removesuffix(".py").split("/")[:2]
    return inner if package == STDLIB else f"{package}.{inner}"


def probe(encoder: Encoder, examples: PackageTexts) -> float:
    """Accuracy in per cent of a logistic regression on the docstrings' vectors: 5 stratified folds, chance 5."""
    return classification_task(encoder, examples.texts, examples.labels, workers=2).score


def _masker(names: Sequence[str]) -> Any:
    words = {word for name in names for word in re.split(r"[._]", name) if len(word) > 1}
    pattern = re.compile(rf"\b({'|'.join(sorted(map(re.escape, words)))})s?\b", re.IGNORECASE)
    return lambda text: pattern.sub(" ", text.replace("_", " ")).strip()


def _id(record: Record) -> str:
    return str(record["id"])
