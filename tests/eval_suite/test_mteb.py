"""mteb's own tasks on an encoder of ours: sides, names, layout, and no other checkpoint's scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval_suite.errors import EvalError

pytest.importorskip("mteb")
datasets = pytest.importorskip("datasets")

from eval_suite.mteb_encoder import MtebEncoder  # noqa: E402
from eval_suite.mteb_run import make_strict, run_mteb  # noqa: E402

SENTENCES = ["a cat sat", "the dog ran", "rain fell all day", "a cat slept", "dogs run fast", "it was wet"]


def local(task: Any) -> bool:
    """Give mteb's task a few rows of its own form."""
    if task.metadata.type == "STS":
        rows = {"sentence1": SENTENCES[:3], "sentence2": SENTENCES[3:], "score": [3.0, 4.0, 2.0]}
        task.dataset = {"default": datasets.DatasetDict(test=datasets.Dataset.from_dict(rows))}
        task.dataset = task.dataset["default"]
    else:
        documents = {"id": list("abc"), "title": [""] * 3, "text": SENTENCES[:3]}
        queries = {"id": ["q", "r"], "text": SENTENCES[3:5]}
        task.dataset = {
            "default": {
                "test": {
                    "corpus": datasets.Dataset.from_dict(documents),
                    "queries": datasets.Dataset.from_dict(queries),
                    "relevant_docs": {"q": {"a": 1}, "r": {"b": 1}},
                    "top_ranked": None,
                }
            }
        }
    task.data_loaded = True
    return True


def test_queries_are_x_and_documents_y_and_similarity_is_symmetric(hash_encoder, tmp_path: Path) -> None:
    run_mteb(hash_encoder, ["SciFact"], tmp_path, local)
    sides = dict(hash_encoder.seen)
    assert {sides[text] for text in SENTENCES[3:5]} == {"x"}
    assert {side for text, side in sides.items() if text.strip() in SENTENCES[:3]} == {"y"}
    hash_encoder.seen.clear()
    hash_encoder.symmetric_side = "plain"
    run_mteb(hash_encoder, ["STS12"], tmp_path, local)
    assert {side for _, side in hash_encoder.seen} == {"plain"}


def test_the_layout_is_mtebs_and_strict(hash_encoder, tmp_path: Path) -> None:
    hash_encoder.name, hash_encoder.facts = "runs/mine step 4", {"step": 4, "parameters": 9}
    scores = run_mteb(hash_encoder, ["STS12", "SciFact"], tmp_path, local)
    (folder,) = (tmp_path / "results").glob("*/*")
    assert folder.parent.name == "lightning_cpt__runs-mine-step-4"
    assert folder.name == "step-4-hash16"
    for task, score in scores.items():
        content = json.loads((folder / f"{task}.json").read_text(), parse_constant=pytest.fail)
        assert content["scores"]["test"][0]["main_score"] == pytest.approx(score, abs=1e-5)
    import mteb

    frame = mteb.ResultCache(tmp_path).load_results(tasks=["STS12", "SciFact"]).to_dataframe()
    assert len(frame) == 2


def test_another_checkpoint_never_gets_the_firsts_score(hash_encoder, tmp_path: Path) -> None:
    first = run_mteb(hash_encoder, ["STS12"], tmp_path, local)
    seen = len(hash_encoder.seen)
    assert run_mteb(hash_encoder, ["STS12"], tmp_path, local) == first
    assert len(hash_encoder.seen) == seen  # it was there
    hash_encoder.fingerprint = "other weights"
    hash_encoder.encode = lambda texts, side: np.ones((len(texts), 2), np.float32)
    other = run_mteb(hash_encoder, ["STS12"], tmp_path, local)
    assert other != first


def test_nan_becomes_null(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [NaN, 1.5, {"b": Infinity}]}')
    make_strict(path)
    assert json.loads(path.read_text()) == {"a": [None, 1.5, {"b": None}]}


def test_mistakes_are_one_line(hash_encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EvalError, match="unknown mteb task 'STS122'; did you mean 'STS12'"):
        run_mteb(hash_encoder, ["STS122"], tmp_path)
    monkeypatch.setattr("mteb.evaluate", lambda *args, **how: 1 / 0)
    with pytest.raises(EvalError, match="mteb task STS12: no data"):
        run_mteb(hash_encoder, ["STS12"], tmp_path)
    assert isinstance(MtebEncoder(hash_encoder).mteb_model_meta.revision, str)
