"""Reading SentEval's files: order, tokens, oddities, and one clear line for what is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from eval_suite.errors import EvalError
from eval_suite.tasks.files import downstream, edition_warnings
from eval_suite.tasks.senteval import TASKS, find_task

SIZES = {
    "SST2-sentences": {"train": 6920, "dev": 872, "test": 1821},
    "MR": {"all": 10662},
    "CR": {"all": 3775},
    "SUBJ": {"all": 10000},
    "MPQA": {"all": 10606},
    "SST2": {"train": 67349, "dev": 872, "test": 1821},
    "TREC": {"train": 5452, "test": 500},
    "MRPC": {"train": 4076, "test": 1725},
}


def put(root: Path, path: str, content: bytes) -> None:
    target = root / "downstream" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def test_sorted_by_length_then_label_and_stable(tmp_path: Path) -> None:
    put(tmp_path, "CR/custrev.pos", b"b b\nlong long long\na a\nx\n")
    put(tmp_path, "CR/custrev.neg", b"n n\nm m\n")
    examples = find_task("CR").read(tmp_path)["all"]
    assert examples.columns == (["x", "n n", "m m", "b b", "a a", "long long long"],)
    assert examples.labels.tolist() == [1, 0, 0, 1, 1, 1]


def test_lines_end_at_line_feeds_only_and_empty_ones_become_a_full_stop(tmp_path: Path) -> None:
    put(tmp_path, "MPQA/mpqa.pos", b"one\x85two \x0bthree\n\n")
    put(tmp_path, "MPQA/mpqa.neg", b"caf\xe9\nlast")
    examples = find_task("MPQA").read(tmp_path)["all"]
    assert examples.columns[0] == [
        ".",
        "caf\u00e9",
        "last",
        "one two three",
    ]  # as str.split() sees NEL and VT
    assert examples.labels.tolist() == [1, 0, 0, 1]


def test_trec_drops_the_fine_label(tmp_path: Path) -> None:
    put(tmp_path, "TREC/train_5500.label", b"NUM:dist How far is 10:30 ?\nABBR:exp What is it ?\n")
    put(tmp_path, "TREC/TREC_10.label", b"LOC:city  Where ?\n")
    parts = find_task("TREC").read(tmp_path)
    assert parts["train"].columns == (["What is it ?", "How far is 10:30 ?"],)
    assert parts["train"].labels.tolist() == [0, 5]
    assert parts["test"].columns == (["Where ?"],)


def test_mrpc_sorts_by_both_lengths_and_skips_the_header(tmp_path: Path) -> None:
    head = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    rows = "1\t1\t2\ta a\tb b b\n0\t3\t4\tc c\td\n1\t5\t6\te\tf f\n"
    for part in ("train", "test"):
        put(tmp_path, f"MRPC/msr_paraphrase_{part}.txt", (head + rows).encode())
    train = find_task("MRPC").read(tmp_path)["train"]
    assert train.columns == (["e", "c c", "a a"], ["f f", "d", "b b b"])
    assert train.labels.tolist() == [1, 0, 1]


def test_downstream_itself_will_do(toy_data: Path) -> None:
    assert downstream(toy_data) == downstream(toy_data / "downstream")


def test_every_task_reads_from_the_toy_folder(toy_data: Path) -> None:
    for task in TASKS.values():
        for examples in task.read(toy_data).values():
            assert all(len(column) == len(examples.labels) > 0 for column in examples.columns)


def test_the_hash_follows_the_bytes_of_the_tasks_own_files(toy_data: Path) -> None:
    before = {name: task.sha256(toy_data) for name, task in TASKS.items()}
    put(toy_data, "CR/custrev.neg", b"other\n")
    after = {name: task.sha256(toy_data) for name, task in TASKS.items()}
    assert [name for name in TASKS if before[name] != after[name]] == ["CR"]


def test_protocol_ids() -> None:
    assert find_task("MR").protocol(10) == "senteval/nested10/logreg/raw"
    assert find_task("TREC").protocol(5) == "senteval/kfold5/logreg/raw"
    assert find_task("SST2").protocol(10) == "senteval/split/logreg/raw/phrases67k"


def test_mistakes_are_named(toy_data: Path, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="unknown task 'SST-2'; did you mean 'SST2'"):
        find_task("SST-2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvalError, match="no `downstream` folder"):
        find_task("CR").read(tmp_path / "empty")
    with pytest.raises(EvalError, match="is no folder"):
        find_task("CR").read(tmp_path / "absent")
    (toy_data / "downstream/CR/custrev.neg").unlink()
    with pytest.raises(EvalError, match=r"custrev\.neg: cannot be read .*cpt eval fetch"):
        find_task("CR").read(toy_data)
    put(toy_data, "SST/binary/sentiment-dev", b"fine \t1\nno label here\n")
    with pytest.raises(EvalError, match="sentiment-dev: line 2"):
        find_task("SST2").read(toy_data)
    put(toy_data, "TREC/TREC_10.label", b"NOPE:x Who ?\n")
    with pytest.raises(EvalError, match=r"TREC_10\.label: line 1"):
        find_task("TREC").read(toy_data)
    put(toy_data, "MRPC/msr_paraphrase_test.txt", b"")
    with pytest.raises(EvalError, match=r"msr_paraphrase_test\.txt: no examples"):
        find_task("MRPC").read(toy_data)
    put(toy_data, "SST/binary/sentiment-dev", b"\xff\xfe\t1\n")
    with pytest.raises(EvalError, match="sentiment-dev: not utf-8"):
        find_task("SST2").read(toy_data)


@pytest.mark.data
def test_official_sizes(real_data: Path) -> None:
    for name, sizes in SIZES.items():
        parts = find_task(name).read(real_data)
        assert {part: len(examples.labels) for part, examples in parts.items()} == sizes
        assert all(len(np.unique(e.labels)) == (6 if name == "TREC" else 2) for e in parts.values())


def test_the_folder_is_found_below_the_data(toy_data: Path) -> None:
    assert downstream(toy_data.parent) == toy_data / "downstream"


def test_changed_bytes_are_named_by_their_checksums(toy_data: Path) -> None:
    root = downstream(toy_data)
    (line,) = edition_warnings(root, ["CR/custrev.neg"])
    found = hashlib.sha256((root / "CR/custrev.neg").read_bytes()).hexdigest()
    assert f"CR/custrev.neg: its sha256 is {found[:12]}, not ec94532766f6 of the known edition" in line
    (root / "own.txt").write_text("mine")
    assert edition_warnings(root, ["own.txt"]) == []


@pytest.mark.data
def test_the_known_edition_gives_no_warning(real_data: Path) -> None:
    for task in TASKS.values():
        assert edition_warnings(downstream(real_data), task.files) == []
