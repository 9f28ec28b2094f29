"""mteb's own tasks from local files: which edition is read, what the result says of it, and one line where there is none."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from eval_suite.errors import EvalError

pytest.importorskip("mteb")
pytest.importorskip("datasets")

from eval_suite.mteb_data import provider
from eval_suite.mteb_run import run_mteb
from eval_suite.tasks.sts import YEARS

ROWS = [
    ("A cat sat.", "A cat slept.", 4.0),
    ("The dog ran.", "It rained.", 0.5),
    ("Rain fell.", "It was wet.", 2.0),
]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def sts13(root: Path, pattern: str, change: Any = str) -> None:
    for name in YEARS["13"]:
        texts = "".join(f"{change(name + ' ' + a)}\t{change(b)}\n" for a, b, _ in ROWS)
        write(root / pattern.format(kind="input", name=name), texts)
        write(root / pattern.format(kind="gs", name=name), "".join(f"{gold}\n" for *_, gold in ROWS))


def noise(texts: list[str], side: str) -> np.ndarray:
    """A vector of its own for each text: no two cosines are equal."""
    return np.array([np.random.default_rng(zlib.crc32(text.encode())).normal(size=8) for text in texts])


def released(root: Path) -> None:
    sts13(root, "sts/STS13-en-test/test-gs/STS.{kind}.{name}.txt")


def of_senteval(root: Path) -> None:
    sts13(root, "downstream/STS/STS13-en-test/STS.{kind}.{name}.txt", str.lower)


def stored(out: Path, task: str) -> dict[str, Any]:
    (path,) = out.glob(f"results/*/*/{task}.json")
    return json.loads(path.read_text())


def test_the_cased_releases_go_first(hash_encoder, tmp_path: Path) -> None:
    released(tmp_path)
    of_senteval(tmp_path)
    said: list[str] = []
    texts: set[str] = set()
    hash_encoder.encode = lambda some, side: texts.update(some) or noise(some, side)
    scores = run_mteb(hash_encoder, ["STS13"], tmp_path / "out", provider(tmp_path, said.append))
    assert "It rained." in texts
    assert "it rained." not in texts
    assert "9 pairs" in said[0]
    assert "untouched" in said[0]
    assert stored(tmp_path / "out", "STS13")["dataset_revision"].startswith("local-")
    vectors = {text: noise([text], "x")[0] for text in texts}
    pairs = [(f"{name} {a}", b, gold) for name in YEARS["13"] for a, b, gold in ROWS]
    cosines = [
        vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b]) for a, b, _ in pairs
    ]
    assert scores["STS13"] == pytest.approx(spearmanr(cosines, [gold for *_, gold in pairs])[0], abs=1e-6)


def test_another_edition_is_said_and_never_takes_the_firsts_score(hash_encoder, tmp_path: Path) -> None:
    of_senteval(tmp_path / "lower")
    released(tmp_path / "cased")
    said: list[str] = []
    out = tmp_path / "out"
    run_mteb(hash_encoder, ["STS13"], out, provider(tmp_path / "lower", said.append))
    assert "SentEval's edition" in said[0]
    first = stored(out, "STS13")["dataset_revision"]
    hash_encoder.seen.clear()
    run_mteb(hash_encoder, ["STS13"], out, provider(tmp_path / "cased", said.append))
    assert hash_encoder.seen  # it was run again, on the other texts
    assert stored(out, "STS13")["dataset_revision"] != first
    hash_encoder.seen.clear()
    run_mteb(hash_encoder, ["STS13"], out, provider(tmp_path / "cased", said.append))
    assert not hash_encoder.seen  # the same data: it was there


def test_scifact_from_a_beir_folder(hash_encoder, tmp_path: Path) -> None:
    folder = tmp_path / "scifact"
    write(
        folder / "corpus.jsonl",
        "".join(json.dumps({"_id": str(i), "title": "T", "text": f"document {i}"}) + "\n" for i in range(5)),
    )
    write(
        folder / "queries.jsonl",
        "".join(json.dumps({"_id": f"q{i}", "text": f"T document {i}"}) + "\n" for i in range(3)),
    )
    write(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq1\t1\t1\nq2\t2\t1\n")
    hash_encoder.encode_plain = hash_encoder.encode
    hash_encoder.encode = lambda texts, side: hash_encoder.encode_plain(
        texts, "x"
    )  # equal texts, equal vectors
    scores = run_mteb(hash_encoder, ["SciFact"], tmp_path / "out", provider(tmp_path, lambda line: None))
    assert scores["SciFact"] == 1.0
    assert {text for text, _ in hash_encoder.seen} == {f"T document {i}" for i in range(5)}


def test_data_that_are_not_there_are_one_line(hash_encoder, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="is no folder"):
        provider(tmp_path / "none", print)
    for task, match in (("STS13", "mteb task STS13: neither"), ("SciFact", "no folder 'scifact'")):
        with pytest.raises(EvalError, match=match) as error:
            run_mteb(hash_encoder, [task], tmp_path / "out", provider(tmp_path, print))
        assert "\n" not in str(error.value)


def test_an_encoder_without_vectors_is_not_called_missing_data(tmp_path: Path) -> None:
    from eval_suite.bm25 import BM25Encoder

    released(tmp_path)
    with pytest.raises(EvalError, match="bm25: has no vectors"):
        run_mteb(BM25Encoder(), ["STS13"], tmp_path / "out", provider(tmp_path, lambda line: None))
