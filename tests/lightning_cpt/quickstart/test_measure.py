"""The quickstart's probe examples, its opponent and the reading of its logs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from data_prep.tokenizer import save_tokenizer, train_tokenizer
from lightning_cpt.errors import ConfigError
from lightning_cpt.quickstart import measure
from lightning_cpt.quickstart.opponents import RandomBag
from lightning_cpt.quickstart.report import read_curve
from lightning_cpt.tokenization import PairTokenizer


def records(classes: int, each: int) -> list[measure.Record]:
    return [
        {
            "id": f"{c:02d}-{i:03d}",
            "x": f"Fit part{c} and Parts{c} number {i}",
            "meta": {"path": f"lib/part{c}/a.py"},
        }
        for c in range(classes)
        for i in range(each)
    ]


def test_the_largest_subpackages_are_taken_evenly() -> None:
    found = measure.package_texts([*records(20, 100), *records(3, 150)[:5], *records(22, 3)])
    assert len(found.labels) == 2000
    assert {found.labels.count(label) for label in found.labels} == {100}


def test_all_the_names_are_masked_in_all_the_texts() -> None:
    examples = records(20, 100)
    examples[0]["x"] = "The part7 of lib.part0, its part_3 and a Part12s, but depart1 stays"
    (text,) = measure.package_texts(examples).texts[:1]
    assert text.split() == [
        "The",
        "of",
        ".",
        ",",
        "its",
        "part",
        "3",
        "and",
        "a",
        ",",
        "but",
        "depart1",
        "stays",
    ]


def test_too_few_subpackages_are_refused() -> None:
    with pytest.raises(ConfigError, match="20 sub-packages"):
        measure.package_texts(records(19, 100))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("scipy/stats/_qmc.py", "scipy.stats"),
        ("python-stdlib/json/decoder.py", "json"),
        ("python-stdlib/argparse.py", "argparse"),
    ],
)
def test_a_subpackage_is_the_second_level(path: str, name: str) -> None:
    assert measure.subpackage(path) == name


def test_the_bag_weighs_by_idf_and_dampened_count(tmp_path: Path) -> None:
    words = ["read the file", "the end", "the list", "sort the list"]
    save_tokenizer(train_tokenizer(words * 9, vocab_size=300, identifiers=True), tmp_path)
    tokenizer = PairTokenizer(tmp_path)
    documents = [["read the file", "the end"], ["the list", "sort the list"]]
    bag = RandomBag(tokenizer, documents, width=4096)
    once, twice, other = bag.encode(["file", "file file", "list"], "x")
    np.testing.assert_allclose(once, twice, atol=1e-6)  # one word only: its count is only length
    assert abs(once @ other) < 0.1
    rare, common = bag.encode(["file the", "the the the"], "y")
    assert 0 < rare @ common < rare @ once  # the rare word outweighs the common one
    assert math.isclose(float(np.linalg.norm(rare)), 1, abs_tol=1e-5)
    assert not bag.encode([""], "x").any()


def test_the_curve_joins_a_run_and_its_continuation(tmp_path: Path) -> None:
    header = "step,train/loss,train/pairs_per_second,val/mrr\n"
    for number, rows in enumerate(["9,3.0,100,\n19,2.0,200,\n19,,,0.4\n", "19,2.0,50,\n29,1.0,100,\n"]):
        folder = tmp_path / f"version_{number}"
        folder.mkdir()
        (folder / "metrics.csv").write_text(header + rows)
    curve = read_curve(tmp_path)
    assert (curve.steps, curve.loss) == ([10, 20, 30], [3.0, 2.0, 1.0])
    assert curve.pairs_per_second == [100, 50, 100]
    assert (curve.val_steps, curve.val_mrr) == ([20], [0.4])
