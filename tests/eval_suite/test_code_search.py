"""Code pools: both directions, ties against the encoder, leaks, and the sets that are read from files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from eval_suite.bm25 import BM25Encoder
from eval_suite.errors import EvalError
from eval_suite.registry import find_task, groups
from eval_suite.run import run_task
from eval_suite.task import Options
from eval_suite.tasks.code_search import CodePool, PoolTask, pool_sha256
from eval_suite.tasks.code_sets import read_pools


class Table:
    """Vectors by text, the same for both sides."""

    name, fingerprint = "table", "table"

    def __init__(self, vectors: dict[str, list[float]]) -> None:
        self.vectors = vectors

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        return np.array([self.vectors[text] for text in texts], np.float32)


def task(pools: list[CodePool]) -> PoolTask:
    return PoolTask("toy", lambda _: pools, lambda _: pool_sha256(pools), "toy")


def test_both_directions_are_named() -> None:
    vectors = {"q0": [1, 0, 0], "q1": [0.9, 0.5, 0], "c0": [1, 0.1, 0], "c1": [0.4, 1, 0], "c2": [1, 0.5, 0]}
    pools = [CodePool(["q0", "q1"], ["c0", "c1"], np.array([0, 1]), ["a", "b"])]
    result = task(pools).run(Table(vectors), Path(), Options())
    # q0 finds c0; q1 is nearer to c0 than to c1; both codes find their own query
    assert result.scores == {"mrr": 75.0, "recall@1": 50.0, "recall@10": 100.0, "mrr_code_to_query": 100.0}
    assert result.per_example["mrr"] == [1.0, 0.5]
    assert result.details["candidates"] == [2]
    assert task(pools).examples(Path()) == [("q0",), ("q1",)]
    uneven = [CodePool(["q1"], ["c0", "c2", "c1"], np.array([2]), ["a", "b", "c"])]
    assert task(uneven).run(Table(vectors), Path(), Options()).scores == {
        "mrr": 33.33,
        "recall@1": 0.0,
        "recall@10": 100.0,
    }


def test_a_constant_encoder_scores_chance_and_is_told_so() -> None:
    names = [f"t{i}" for i in range(50)]
    codes = [f"c{i}" for i in range(50)]
    pools = [CodePool(names, codes, np.arange(50), codes)]
    result = task(pools).run(Table({text: [0.3, -0.7, 0.1] for text in names + codes}), Path(), Options())
    assert result.scores == {"mrr": 2.0, "recall@1": 0.0, "recall@10": 0.0, "mrr_code_to_query": 2.0}
    assert any("collapsed" in line for line in result.warnings)
    assert result.details["tie_rate"] == 1.0


def test_bm25_ranks_and_a_leak_is_said() -> None:
    codes = ["def f():\n    # add two numbers\n    pass", "def read_file(path): ..."]
    pools = [CodePool(["Add two numbers.", "read a file"], codes, np.arange(2), ["a", "b"])]
    result = task(pools).run(BM25Encoder(), Path(), Options())  # type: ignore[arg-type]
    assert result.score == 100.0
    assert result.details["query_in_code_share"] == 0.5
    assert result.warnings == ["50.0 % of the functions still hold their query word for word"]


def test_swapped_sides_are_noticed() -> None:
    class Swapped(Table):
        def encode(self, texts: list[str], side: str) -> np.ndarray:
            right = (side == "y") == texts[0].startswith("q")  # a text on its wrong side is read well
            rng = np.random.default_rng(int(side == "x"))
            return (
                super().encode(texts, side) if right else rng.normal(size=(len(texts), 60)).astype(np.float32)
            )

    rows = np.eye(60).tolist()
    vectors = {f"q{i}": rows[i] for i in range(60)} | {f"c{i}": rows[i] for i in range(60)}
    pools = [
        CodePool(
            [f"q{i}" for i in range(60)],
            [f"c{i}" for i in range(60)],
            np.arange(60),
            list(map(str, range(60))),
        )
    ]
    warnings = task(pools).run(Swapped(vectors), Path(), Options()).warnings
    assert any("x and y look swapped" in line for line in warnings)


def write_search_net(root: Path, n: int = 25, language: str = "python") -> Path:
    folder = root / language / "final" / "jsonl" / "test"
    folder.mkdir(parents=True)
    rows = [
        {
            "docstring": f"Return item number {i} of all.\n\nLonger.",
            "code": f'def item_{i}(x):\n    """Return item number {i} of all.\n\n    Longer.\n    """\n    return x[{i}]\n',
            "url": f"u{i}",
        }
        for i in range(n)
    ]
    for part in (0, 1):
        text = "".join(json.dumps(row) + "\n" for row in rows[part::2])
        (folder / f"{language}_test_{part}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return root


def test_pools_are_code_search_nets_own(tmp_path: Path) -> None:
    pools = read_pools(write_search_net(tmp_path), "python", 10, strip=True)
    in_order = [f"u{i}" for i in (*range(0, 25, 2), *range(1, 25, 2))]
    order = np.arange(25)
    np.random.seed(0)  # as the benchmark's own script does
    np.random.shuffle(order)
    shuffled = [in_order[i] for i in order]
    assert [pool.ids for pool in pools] == [shuffled[:10], shuffled[10:20]]  # the rest is left out
    assert pools[0].queries[0] == f"Return item number {shuffled[0][1:]} of all."
    assert '"""' not in pools[0].codes[0]
    assert [len(pool.codes) for pool in read_pools(tmp_path, "python", 1000, strip=True)] == [25]


def test_docstrings_leak_as_shipped_and_not_when_stripped(tmp_path: Path) -> None:
    write_search_net(tmp_path / "codesearchnet")
    shipped, stripped = (
        run_task(BM25Encoder(), name, tmp_path)  # type: ignore[arg-type]
        for name in ("CodeSearchNet-Python-as-shipped", "CodeSearchNet-Python")
    )
    assert shipped.details["query_in_code_share"] == 1.0
    assert stripped.details["query_in_code_share"] == 0.0
    assert shipped.comparability != stripped.comparability
    assert shipped.score >= stripped.score
    assert stripped.examples == {"queries": 25, "documents": 25, "pools": 1}
    assert "25 candidates, not 1,000" in stripped.warnings[0]
    with pytest.raises(EvalError, match=r"no go/final/jsonl/test"):
        find_task("CodeSearchNet-Go-10K").sha256(tmp_path)


def test_the_group_holds_six_languages_twice() -> None:
    names = groups()["code"]
    assert sum(name.startswith("CodeSearchNet") and "shipped" not in name for name in names) == 12
    assert {"CoSQA", "CoSQA-stripped"} <= set(names)


def write_cosqa(folder: Path, base: dict[str, int], asked: list[dict[str, object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "code_idx_map.txt").write_text(json.dumps(base))
    (folder / "cosqa-retrieval-test-500.json").write_text(json.dumps(asked))


def test_cosqa(tmp_path: Path) -> None:
    base = {"def b(): 'doc b'; return read_file()": 1, "def a(): return sort_list()": 0}
    write_cosqa(tmp_path / "raw" / "cosqa", base, [{"doc": "python read a file", "retrieval_idx": 1}])
    result = run_task(BM25Encoder(), "CoSQA", tmp_path)  # type: ignore[arg-type]
    assert result.score == 100.0
    assert "mrr_code_to_query" not in result.scores
    assert result.warnings[:2] == [
        "1 queries where the published set has 500: not comparable with published scores",
        "2 documents where the published set has 6,267: not comparable with published scores",
    ]


@pytest.mark.parametrize(
    ("base", "asked", "message"),
    [
        ({"a": 0, "b": 2}, [{"doc": "q", "retrieval_idx": 0}], "numbered from 0 without a gap"),
        ({"a": 0}, [{"doc": "q", "retrieval_idx": 1}], "beyond the 1 functions"),
        ({"a": 0}, [{"doc": "q"}], "no list of doc and retrieval_idx"),
        ({"a": 0}, [], "numbered from 0"),
    ],
)
def test_corrupt_cosqa(
    tmp_path: Path, base: dict[str, int], asked: list[dict[str, object]], message: str
) -> None:
    write_cosqa(tmp_path / "cosqa", base, asked)
    with pytest.raises(EvalError, match=f"{message}.*sha256 is"):
        run_task(BM25Encoder(), "CoSQA", tmp_path)  # type: ignore[arg-type]


@pytest.mark.data
def test_the_real_cosqa_is_whole(search_data: Path) -> None:
    result = run_task(BM25Encoder(), "CoSQA", search_data)  # type: ignore[arg-type]
    assert result.examples == {"queries": 500, "documents": 6267, "pools": 1}
    assert not any("published set" in line for line in result.warnings)
