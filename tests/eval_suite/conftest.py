"""Fixtures: a tiny SentEval folder, the real one where it is, and a cheap deterministic encoder."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eval_suite.results import Result

_GOOD = ["great", "fun", "moving", "clever", "warm", "bright"]
_BAD = ["dull", "cold", "awful", "flat", "stale", "grim"]
_FILLER = ["the", "film", "is", "a", "plot", "of", "it", "and"]


class HashEncoder:
    """A bag of hashed words: no download, no torch, the same on every machine."""

    name = "hash"

    def __init__(self, dim: int = 16) -> None:
        self.dim, self.fingerprint, self.seen = dim, f"hash{dim}", []

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        self.seen += [(text, side) for text in texts]
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.split():
                code = zlib.crc32(word.encode())
                row[code % self.dim] += 1 if code >> 31 else -1
        return vectors


@pytest.fixture
def hash_encoder() -> HashEncoder:
    return HashEncoder()


@pytest.fixture
def toy_data(tmp_path: Path) -> Path:
    """A folder with a small `downstream` in SentEval's file formats, for all seven tasks."""
    rng, root = np.random.default_rng(0), tmp_path / "senteval" / "downstream"

    def sentence(words: list[str]) -> str:
        n = int(rng.integers(1, 6))
        return " ".join([*rng.choice(_FILLER, n), *rng.choice(words, 2)])

    def write(path: str, lines: list[str]) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    for folder, positive, negative in [
        ("MR", "rt-polarity.pos", "rt-polarity.neg"),
        ("CR", "custrev.pos", "custrev.neg"),
        ("SUBJ", "subj.objective", "subj.subjective"),
        ("MPQA", "mpqa.pos", "mpqa.neg"),
    ]:
        write(f"{folder}/{positive}", [sentence(_GOOD) for _ in range(30)])
        write(f"{folder}/{negative}", [sentence(_BAD) for _ in range(30)])
    for part, n in [("train", 40), ("dev", 12), ("test", 12)]:
        write(
            f"SST/binary/sentiment-{part}", [f"{sentence([_BAD, _GOOD][i % 2])} \t{i % 2}" for i in range(n)]
        )
    for part, n in [("train", 50), ("dev", 15), ("test", 15)]:
        lines = [f"{i % 5} {sentence([_BAD, _BAD, _FILLER, _GOOD, _GOOD][i % 5])}" for i in range(n)]
        write(f"SST/fine/sentiment-{part}", lines)
    kinds = ["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"]
    for name, n in [("train_5500", 72), ("TREC_10", 18)]:
        lines = [f"{kinds[i % 6]}:fine {sentence([_GOOD[i % 6], _BAD[i % 6]])} ?" for i in range(n)]
        write(f"TREC/{name}.label", lines)
    for part, n in [("train", 60), ("test", 20)]:
        pairs = [f"{i % 2}\t{i}\t{i}\t{sentence(_GOOD)}\t{sentence([_BAD, _GOOD][i % 2])}" for i in range(n)]
        write(
            f"MRPC/msr_paraphrase_{part}.txt", ["\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", *pairs]
        )
    return root.parent


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """`make_result("CR", "name", 0.8)`: a probe of 400 examples, 80 % of them right; any field can be replaced."""

    def of(task: str, encoder: str, share: float, n: int = 400, **changes: object) -> Result:
        right = (np.random.default_rng(len(task)).permutation(n) < round(share * n)).astype(float)
        score = round(100 * float(right.mean()), 2)
        facts: dict[str, object] = {
            "task": task, "family": "probe", "score": score, "metric": "accuracy", "scores": {"accuracy": score},
            "interval": [score - 2, score + 2], "protocol": "senteval/nested10/logreg/raw", "encoder": encoder,
            "fingerprint": encoder * 3, "side": "x", "dtype": "float32", "dim": 8, "seed": 1111,
            "examples": {"all": n}, "data_sha256": f"data of {task}", "settings": {"grid": [0.5, 1.0]},
            "per_example": {"accuracy": right.tolist()}, "versions": {"numpy": "2.4.6"},
        }  # fmt: skip
        return Result(**{**facts, **changes})  # type: ignore[arg-type]

    return of
