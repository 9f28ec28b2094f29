"""NLI judgements to triplets: the protocol on hand-made rows, both forms, and mistakes named by file and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import DataError
from data_prep.nli import read_nli
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.shards import open_splits

ROWS = [
    ("A dog runs .", "An animal moves .", "entailment"),
    ("A dog runs .", "A dog sleeps .", "contradiction"),
    ("A dog runs .", "A dog chases a cat .", "neutral"),
    ("Two men talk .", "People talk .", "entailment"),
    ("A  dog runs .", "There is a dog .", "entailment"),
    ("A dog runs .", "A cat sits .", "contradiction"),
    ("A dog runs .", "An animal moves .", "entailment"),
    ("A dog runs .", "A dog sleeps .", "contradiction"),
    ("No one .", "Everyone .", "contradiction"),
    ("Two men talk .", "Two men .", "-"),
    ("Two men talk .", " ", "entailment"),
]


def write_jsonl(path: Path, rows: list[tuple[str, str, str]] = ROWS, ids: bool = True) -> Path:
    lines = [
        {"sentence1": a, "sentence2": b, "gold_label": label, "annotator_labels": [label]}
        | ({"pairID": f"{path.stem}#{i}"} if ids else {})
        for i, (a, b, label) in enumerate(rows, 1)
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def write_parallel(folder: Path, name: str, rows: list[tuple[str, str, str]] = ROWS) -> Path:
    folder.mkdir(exist_ok=True)
    for part, column in zip(("s1", "s2", "labels"), zip(*rows, strict=True), strict=True):
        (folder / f"{part}.{name}").write_text("".join(f"{text}\n" for text in column))
    return folder


def read(*paths: Path, report: Report | None = None, **options: Any) -> list[Pair]:
    return read_nli(list(paths), report or Report(), **options)


def triplets(pairs: list[Pair]) -> list[tuple[str, str, list[str]]]:
    return [(pair.x, pair.y, pair.negatives) for pair in pairs]


DOG = ["A dog sleeps .", "A cat sits ."]
EXPECTED = [("A dog runs .", "An animal moves .", DOG), ("A dog runs .", "There is a dog .", DOG)]


def test_a_triplet_per_entailment_with_all_contradictions_of_the_premise(tmp_path: Path) -> None:
    report = Report()
    pairs = read(write_jsonl(tmp_path / "dev.jsonl"), report=report)
    assert triplets(pairs) == EXPECTED
    assert [pair.id for pair in pairs] == ["dev.jsonl:dev#1", "dev.jsonl:dev#5"]
    assert {pair.document for pair in pairs} == {"A dog runs ."}
    assert report.kept == {"files read": 1, "pairs": 2, "triplets": 4}
    assert +report.dropped == {
        "neutral row": 1,
        "repeated entailment": 1,
        "row without a gold label (-)": 1,
        "row with an empty sentence": 1,
        "contradiction of a premise without entailment": 1,
        "entailment of a premise without contradiction": 1,
    }


def test_sentevals_files_give_the_same_under_row_numbers(tmp_path: Path) -> None:
    folder = write_parallel(tmp_path / "snli", "dev")
    for path in (folder, folder / "s1.dev"):
        pairs = read(path)
        assert triplets(pairs) == EXPECTED
        assert [pair.id for pair in pairs] == ["s1.dev:1", "s1.dev:5"]


def test_premises_without_contradiction_are_kept_on_demand(tmp_path: Path) -> None:
    pairs = read(write_jsonl(tmp_path / "a.jsonl"), keep_without_negatives=True)
    assert triplets(pairs) == [*EXPECTED, ("Two men talk .", "People talk .", [])]


def test_an_entailed_sentence_is_no_negative(tmp_path: Path) -> None:
    rows = [("p", "both", "entailment"), ("p", "both", "contradiction"), ("p", "wrong", "contradiction")]
    report = Report()
    assert triplets(read(write_jsonl(tmp_path / "a.jsonl", rows), report=report)) == [
        ("p", "both", ["wrong"])
    ]
    assert report.dropped["negative that is a right answer too"] == 1
    assert read(write_jsonl(tmp_path / "b.jsonl", rows[:2])) == []


def test_a_premise_of_two_files_is_one_group_of_the_held_out_one(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", ROWS[:2])
    dev = write_jsonl(tmp_path / "dev.jsonl", ROWS[4:6])
    pairs = read(train, dev, validation=["dev.jsonl"])
    assert [(pair.y, pair.meta["file"]) for pair in pairs] == [
        ("There is a dog .", "dev.jsonl"),
        ("An animal moves .", "dev.jsonl"),
    ]
    assert pairs[0].negatives == ["A cat sits .", "A dog sleeps ."]
    with pytest.raises(DataError, match=r"^dav\.jsonl: no input file of this name .*: dev\.jsonl"):
        read(train, dev, holdout=["dav.jsonl"])


def test_splits_never_share_a_premise_and_pools_hold_it_once(
    tmp_path: Path, prep: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        (f"p{i}", f"h{i}{j}", label)
        for i in range(200)
        for j, label in enumerate(["entailment", "entailment", "contradiction"])
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows, ids=False)
    fractions = ("--test-fraction", 0.2, "--validation-fraction", 0.2)
    assert prep("nli", path, "--out", tmp_path / "out", *fractions) == 0
    assert "triplets" in capsys.readouterr().out
    x = {name: [record["x"] for record in split] for name, split in open_splits(tmp_path / "out").items()}
    assert sum(len(set(texts)) for texts in x.values()) == len(set().union(*x.values())) == 200
    assert len(x["train"]) == 2 * len(set(x["train"]))
    for name in ("validation", "test"):
        assert len(x[name]) == len(set(x[name])) > 20


def test_files_by_name_are_the_splits(tmp_path: Path, prep: Callable[..., int]) -> None:
    folder = tmp_path / "data"
    for name in ("train", "dev", "test"):
        rows = [(name + a, b, label) for a, b, label in ROWS]
        write_parallel(folder, name, rows)
    prep("nli", folder, "--out", tmp_path / "out", "--validation", "s1.dev", "--holdout", "s1.test")
    found = {name: {record["x"] for record in split} for name, split in open_splits(tmp_path / "out").items()}
    assert found == {
        "train": {"trainA dog runs ."},
        "validation": {"devA dog runs ."},
        "test": {"testA dog runs ."},
    }


GOOD = b'{"sentence1": "a", "sentence2": "b", "gold_label": "neutral"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + b"{", "a.jsonl: row 2: not JSON"),
        (GOOD + b"[]", "a.jsonl: row 2: no text under 'sentence1'; SNLI's form has"),
        (b'{"premise": "a"}', "a.jsonl: row 1: no text under 'sentence1'"),
        (
            b'{"sentence1": "a", "sentence2": "b", "gold_label": 1}',
            "a.jsonl: row 1: no text under 'gold_label'",
        ),
        (GOOD.replace(b"neutral", b"maybe"), "a.jsonl: row 1: label 'maybe' is none of entailment, neutral"),
        (b"\xff", "a.jsonl: not UTF-8 text"),
    ],
)
def test_bad_rows(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.jsonl")
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(caught.value)


def test_half_a_surrogate_pair_is_named_with_its_file(tmp_path: Path) -> None:
    rows = [("a", "\ud800", "entailment"), ("a", "c", "contradiction")]
    with pytest.raises(DataError, match=r"pair a\.jsonl:a#1: y holds half a surrogate"):
        read(write_jsonl(tmp_path / "a.jsonl", rows))


def test_bad_parallel_files(tmp_path: Path) -> None:
    folder = write_parallel(tmp_path / "snli", "dev")
    (folder / "s2.dev").write_text("one\n")
    with pytest.raises(DataError, match=r"s2\.dev: ends before row 2; s1, s2, labels need as many lines"):
        read(folder)
    (folder / "labels.dev").unlink()
    with pytest.raises(DataError, match=r"labels\.dev: cannot be read \(No such file"):
        read(folder)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such path; give SNLI's"):
        read(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no \.jsonl and no s1\.NAME file"):
        read(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "dev.jsonl")
    with pytest.raises(DataError, match=r"b/dev\.jsonl: has the name of .*a/dev\.jsonl; rename one"):
        read(tmp_path)


def test_ids_that_come_twice(tmp_path: Path, prep: Callable[..., int]) -> None:
    rows = [(f"p{i // 2}", f"h{i}", ("entailment", "contradiction")[i % 2]) for i in range(4)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    path.write_text(path.read_text().replace("a#3", "a#1"))
    with pytest.raises(DataError, match=r"id 'a\.jsonl:a#1': two different pairs have it"):
        prep("nli", path, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("names", "count", "pairs"),
    [(["dev"], 3253, 3170), (["test"], 3247, 3167), (["dev", "test"], 6502, None)],
)
def test_the_real_files_have_so_many(
    snli_data: Path, names: list[str], count: int, pairs: int | None
) -> None:
    report = Report()
    found = read(*(snli_data / f"s1.{name}" for name in names), report=report)
    assert report.kept["triplets"] == count
    assert pairs is None or len(found) == pairs
