"""A set of one's own, in one small file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval_suite.errors import EvalError
from eval_suite.registry import find_task, find_tasks
from eval_suite.task import Options

OPTIONS = Options(workers=1, kfold=3)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    rows = [{"text": f"{word} film {i}", "label": word} for i in range(15) for word in ("good", "bad")]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "test.csv").write_text("text,label\n" + "".join(f"a {w} one,{w}\n" for w in ("good", "bad")))
    task = tmp_path / "reviews.yaml"
    task.write_text("name: Reviews\nkind: classification\ntrain: train.jsonl\ntest: test.csv\n")
    return task


def test_classification_with_a_test_file(reviews: Path, hash_encoder, tmp_path: Path) -> None:
    hash_encoder.dim = 64
    (task,) = find_tasks([str(reviews)])
    result = task.run(hash_encoder, tmp_path, OPTIONS)
    assert (result.task, result.score, result.metric) == ("Reviews", 100.0, "accuracy")
    assert result.examples == {"train": 30, "test": 2}
    assert task.examples(tmp_path) == [("a good one",), ("a bad one",)]


def test_classification_without_one_is_nested(reviews: Path, hash_encoder, tmp_path: Path) -> None:
    reviews.write_text("name: Reviews\nkind: classification\ntrain: train.jsonl\n")
    result = find_task(str(reviews)).run(hash_encoder, tmp_path, OPTIONS)
    assert result.protocol.startswith("own/nested3/")
    assert len(result.details["fold_scores"]) == 3


def test_similarity(tmp_path: Path, hash_encoder) -> None:
    (tmp_path / "pairs.tsv").write_text("a\tb\tgold\nx y\tx y\t5\nx y\tx z\t3\nx y\tu v\t1\n")
    task = tmp_path / "mine.yml"
    task.write_text("name: Mine\nkind: similarity\npairs: pairs.tsv\nfirst: a\nsecond: b\nscore: gold\n")
    result = find_task(str(task)).run(hash_encoder, tmp_path, OPTIONS)
    assert (result.metric, result.examples) == ("spearman", {"pairs": 3})
    assert result.score > 80
    assert find_task(str(task)).examples(tmp_path)[1] == ("x y", "x z")


def test_search(tmp_path: Path, hash_encoder) -> None:
    hash_encoder.dim = 64
    folder = tmp_path / "faq"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(
            json.dumps({"_id": w, "title": "", "text": f"about {w}"}) + "\n" for w in ("tax", "rent", "pay")
        )
    )
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "rent"}\n{"_id": "2", "text": "tax"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\trent\t1\n2\ttax\t1\n")
    task = tmp_path / "faq.yaml"
    task.write_text("name: FAQ\nkind: search\nfolder: faq\nmetric: mrr@10\n")
    result = find_task(str(task)).run(hash_encoder, tmp_path, OPTIONS)
    assert (result.task, result.score, result.metric) == ("FAQ", 100.0, "mrr@10")
    assert find_task(str(task)).examples(tmp_path) == [("rent",), ("tax",)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: A\nkind: clasification\n", "did you mean 'classification'"),
        ("name: A\nkind: classification\n", "needs the key 'train'"),
        ("name: A\nkind: classification\ntrian: a.csv\n", "unknown key 'trian'; did you mean 'train'"),
        ("kind: search\n", "needs the keys name and kind"),
        ("name: a/b\nkind: search\nfolder: a\n", "leave the / out"),
        ("[", "is no YAML"),
        ("name: A\nkind: search\nfolder: a\nmetric: ndcg\n", "did you mean 'ndcg@10'"),
    ],
)
def test_a_bad_description_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(EvalError, match=message) as error:
        find_task(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", '{"text": "a"}\n', "row 1 has no 'label'; it has text"),
        ("train.jsonl", "{\n", "line 1 is no JSON"),
        ("train.jsonl", "", "has no rows"),
        ("test.csv", "text,label\na,neutral\n", "label 'neutral' is not in train.jsonl"),
    ],
)
def test_bad_data_is_one_line(
    reviews: Path, hash_encoder, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(EvalError, match=message):
        find_task(str(reviews)).run(hash_encoder, tmp_path, OPTIONS)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"nowhere\.yaml: cannot be read"):
        find_task(str(tmp_path / "nowhere.yaml"))
