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


def test_other_columns_are_other_data(tmp_path: Path) -> None:
    """Else the result of the wrong column would count as finished once the YAML is right."""
    (tmp_path / "pairs.tsv").write_text("first\tsecond\tscore\tother\nx\ty\t1\t2\n")
    task = tmp_path / "mine.yml"
    seen = set()
    for extra in ("", "score: other\n", "first: second\n"):
        task.write_text(f"name: Mine\nkind: similarity\npairs: pairs.tsv\n{extra}")
        seen.add(find_task(str(task)).sha256(tmp_path))
    (tmp_path / "train.csv").write_text("text,label,other\na,x,y\n")
    for extra in ("", "label: other\n"):
        task.write_text(f"name: Mine\nkind: classification\ntrain: train.csv\n{extra}")
        seen.add(find_task(str(task)).sha256(tmp_path))
    assert len(seen) == 5


def test_a_judgement_that_is_no_number_names_its_row(tmp_path: Path) -> None:
    task = tmp_path / "mine.yml"
    task.write_text("name: Mine\nkind: similarity\npairs: pairs.tsv\n")
    for gold in ("nan", "inf", "high"):
        (tmp_path / "pairs.tsv").write_text(f"first\tsecond\tscore\nx\ty\t1\nx\ty\t{gold}\n")
        with pytest.raises(EvalError, match=f"row 2: score '{gold}' is no number"):
            find_task(str(task)).examples(tmp_path)


def test_rows_end_at_line_feeds_alone(tmp_path: Path) -> None:
    task = tmp_path / "mine.yml"
    task.write_text("name: Mine\nkind: similarity\npairs: pairs.tsv\n")
    (tmp_path / "pairs.tsv").write_text(
        'first\tsecond\tscore\na\u2028b\tc\x85d\t1\r\n"e\nf"\tg\t2\n', encoding="utf-8", newline=""
    )
    assert find_task(str(task)).examples(tmp_path) == [("a\u2028b", "c\x85d"), ("e\nf", "g")]


def test_options_that_cannot_be_are_named_before_any_work(reviews: Path) -> None:
    for options, message in (
        (Options(features="unitt"), "features 'unitt'.*did you mean 'unit'"),
        (Options(probe="fasst"), "probe 'fasst'.*did you mean 'fast'"),
        (Options(kfold=1), "kfold 1: must be 2 or more"),
    ):
        for task in (find_task("CR"), find_task(str(reviews))):
            with pytest.raises(EvalError, match=message):
                task.protocol(options)
