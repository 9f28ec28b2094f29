"""An index of texts: what is found, what is refused, and that it is whole at any moment."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.shards import PairShards, write_shards
from data_prep.shards.tokens import TokenHead
from lightning_cpt.cli import main
from lightning_cpt.embed.inputs import Fields, read_rows
from lightning_cpt.errors import ConfigError

pytest.importorskip("faiss")
from eval_suite.vectors import unit_rows
from lightning_cpt.search import Item, SearchIndex, ann, build_index, read_items

WORDS = ["lion", "river", "sonata", "proof", "engine", "bread", "comet", "harbour", "violin", "granite"]


def items(count: int) -> Iterator[Item]:
    rng = random.Random(0)
    for at in range(count):
        yield Item(f"id{at}", f"{' '.join(rng.choices(WORDS, k=5))} number{at}", {"at": at})


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw"])
def test_every_kind_finds_what_exact_finds(tmp_path: Path, bag: Any, kind: Any) -> None:
    index = build_index(tmp_path / "index", bag, items(2000), kind=kind)
    opened = SearchIndex.open(tmp_path / "index", bag)
    vectors = unit_rows(bag.encode([item.text for item in items(2000)], "y"), np.float32)
    asked = ["lion violin comet", "granite bread number77"]
    scores = unit_rows(bag.encode(asked, "x"), np.float32) @ vectors.T
    for hits, row in zip(opened.query(asked, k=5), scores, strict=True):
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
        np.testing.assert_allclose(
            [hit.score for hit in hits], [row[hit.item.meta["at"]] for hit in hits], atol=1e-5
        )
        assert hits[0].score >= np.sort(row)[-5] - 1e-5
        if kind == "exact":
            np.testing.assert_allclose([hit.score for hit in hits], np.sort(row)[::-1][:5], atol=1e-5)
    assert len(opened) == len(index) == 2000


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_recall_is_that_of_the_index(tmp_path: Path, bag: Any, kind: Any) -> None:
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.normal(size=(3000, 16)), np.float32)
    queries = unit_rows(rng.normal(size=(50, 16)), np.float32)
    index = ann.make(kind, vectors)
    rows = list(ann.recalls(index, kind, vectors, queries))
    assert [row.effort for row in rows] == sorted({row.effort for row in rows})
    assert rows[0].value < rows[-1].value <= 1
    truth = np.argsort(-queries @ vectors.T, axis=1)[:, :10]
    for row in rows:
        ann.set_effort(index, kind, row.effort)
        _, found = index.search(queries, 10)
        shared = np.mean([len({*a} & {*b}) / 10 for a, b in zip(found.tolist(), truth.tolist(), strict=True)])
        assert row.value == pytest.approx(shared)


def test_another_encoder_is_refused(tmp_path: Path, bag: Any) -> None:
    build_index(tmp_path, bag, items(3))
    other = type(bag)("bag-2")
    with pytest.raises(ConfigError, match=r"was made by bag \(fingerprint bag-1\), not by bag \(bag-2\)"):
        SearchIndex.open(tmp_path, other)


def test_a_build_that_breaks_leaves_the_old_index(tmp_path: Path, bag: Any) -> None:
    build_index(tmp_path, bag, items(3))
    before = sorted(path.name for path in tmp_path.iterdir())

    def broken() -> Iterator[Item]:
        yield from items(5)
        raise DataError("row 6: broken")

    with pytest.raises(DataError, match="row 6"):
        build_index(tmp_path, bag, broken())
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert len(SearchIndex.open(tmp_path, bag)) == 3
    build_index(tmp_path, bag, items(4))
    assert len(SearchIndex.open(tmp_path, bag)) == 4
    assert len(list(tmp_path.iterdir())) == len(before)


@pytest.mark.parametrize("part", ["vectors", "items", "offsets", "index"])
def test_a_cut_or_missing_file_is_one_line(tmp_path: Path, bag: Any, part: str) -> None:
    build_index(tmp_path, bag, items(3))
    path = next(tmp_path.glob(f"{part}*"))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ConfigError, match="build the index again"):
        SearchIndex.open(tmp_path, bag)
    path.unlink()
    with pytest.raises(ConfigError, match=r"build the index again|no index there"):
        SearchIndex.open(tmp_path, bag)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, bag: Any) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds thesis.tex, which is no index"):
        build_index(tmp_path, bag, items(3))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_kinds_of_input(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n  two  \n")
    (tmp_path / "b.jsonl").write_text('{"id": 7, "text": "three"}\n{"y": "four", "x": "no"}\n')
    (tmp_path / "c.csv").write_text("id,text\nk,five\n")
    write_shards(tmp_path / "shards", [Pair(id="s", x="side x", y="side y", source="toy")], source="toy")
    files = [tmp_path / name for name in ("a.txt", "b.jsonl", "c.csv")]
    found = [(item.id, item.text) for item in read_items([*files, tmp_path / "shards"])]
    expected = [("a.txt:1", "one"), ("a.txt:3", "two"), ("7", "three"), ("b.jsonl:2", "four"), ("k", "five")]
    assert found == [*expected, ("s", "side y")]
    assert [item.text for item in read_items([tmp_path / "shards"], "x")] == ["side x"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": 5}\n', "row 1: text must be text, not int"),
        ("a.jsonl", '{"text": "\\ud800"}\n', "'a.jsonl:1': holds half of a surrogate pair"),
        ("a.jsonl", "nonsense\n", "row 1: not JSON"),
        ("a.csv", "name\nx\n", r"a\.csv: row 1: no text \(there: name\); name its field with --field"),
        ("a.pdf", "x", r"a\.pdf: of no known kind"),
    ],
)
def test_a_bad_input_names_file_and_row(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises((ConfigError, DataError), match=message):
        list(read_items([tmp_path / name]))


def test_in_the_terminal(tmp_path: Path, bag_spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.txt").write_text("the lion sleeps\nbread and water\na comet in the sky\n")
    assert (
        main(["search", "index", "texts.txt", "--encoder", bag_spec, "--out", "index", "--kind", "hnsw"]) == 0
    )
    out = capsys.readouterr().out
    assert "3 texts, 64 columns, hnsw" in out
    assert "recall@3 against exact: 1.000" in out
    assert main(["search", "query", "index", "a lion", "comet", "-k", "1", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["hits"][0]["id"] for line in lines] == ["texts.txt:1", "texts.txt:3"]
    assert main(["search", "query", "index", "bread"]) == 0
    assert "texts.txt:2" in capsys.readouterr().out


def test_mistakes_in_the_terminal(
    tmp_path: Path, bag_spec: str, bag: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts.txt").write_text("a\n")
    (tmp_path / "empty.txt").write_text("\n")
    build_index(tmp_path / "index", bag, items(3))
    shutil.rmtree(tmp_path / "nothing", ignore_errors=True)
    for arguments, message in [
        (["index", "nowhere.txt", "--encoder", bag_spec, "--out", "o"], "nowhere.txt: no such file"),
        (["index", "empty.txt", "--encoder", bag_spec, "--out", "o"], "nothing to index"),
        (["index", "texts.txt", "--encoder", bag_spec, "--out", "o", "--kind", "lsh"], "--kind lsh"),
        (["index", "texts.txt", "--encoder", "bag", "--out", "o"], "scheme:rest"),
        (["query", "nothing", "a"], "no index there"),
        (["query", "index", "a", "--encoder", bag_spec], "was made by bag"),
        (["query", "index", " "], "QUESTION"),
        (["query", "index", "a", "-k", "0"], "-k 0"),
        (["code", "nowhere", "a", "--encoder", bag_spec], "nowhere: no such"),
        (["code", ".", "a"], "runs/quickstart/run/last.ckpt"),
    ]:
        assert main(["search", *arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert message in error, (arguments, error)
        assert "Traceback" not in error


def test_a_missing_extra_names_the_pip_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert main(["search", "query", "index", "a"]) == 2
    assert "pip install 'lightning-cpt[search]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": None}, "damaged"),
        ({"encoder": None}, "damaged"),
        ({"parts": {}}, "damaged"),
        ({"bytes": {}}, "damaged"),
        ({"parts": "../outside"}, r"names '\.\./outside'"),
    ],
)
def test_a_manifest_of_somebody_else_s_is_not_trusted(
    tmp_path: Path, bag: Any, change: dict[str, Any], message: str
) -> None:
    build_index(tmp_path / "index", bag, items(3))
    path = tmp_path / "index" / "index.json"
    manifest = json.loads(path.read_text())
    outside = tmp_path / "outside"
    outside.write_bytes((tmp_path / "index" / manifest["parts"]["items"]).read_bytes())
    if change.get("parts"):
        change = {"parts": {**manifest["parts"], "items": change["parts"]}}
    manifest = {key: value for key, value in (manifest | change).items() if value is not None}
    path.write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=message):
        SearchIndex.open(tmp_path / "index", bag)


def test_an_index_that_cannot_name_its_encoder_says_so(tmp_path: Path, bag: Any) -> None:
    build_index(tmp_path / "index", bag, items(3))
    with pytest.raises(ConfigError, match=r"does not say where its encoder bag lies; give --encoder"):
        SearchIndex.open(tmp_path / "index")


def test_questions_that_are_no_utf8_are_one_line(
    tmp_path: Path, bag_spec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "texts.txt").write_text("a\n")
    assert main(["search", "index", "texts.txt", "--encoder", bag_spec, "--out", "~/index"]) == 0
    assert (tmp_path / "index" / "index.json").is_file()
    capsys.readouterr()
    assert main(["search", "query", "index", "caf\udce9"]) == 2
    assert "not UTF-8" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8"))
    assert main(["search", "query", "index"]) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_what_is_found_cannot_move_the_cursor(tmp_path: Path, bag: Any) -> None:
    from rich.console import Console

    from lightning_cpt.search.show import show_functions, show_texts

    evil = "a\x1b]0;title\x07\x9b2J"
    meta = {"path": f"f{evil}.py", "line": 1, "name": "f", "signature": f"def f({evil})", "doc": evil}
    index = build_index(tmp_path / "index", bag, [Item(evil, f"{evil} b", meta)])
    console = Console(file=io.StringIO())
    hits = index.query("b")[0]
    show_texts(console, "b", hits)
    show_functions(console, tmp_path, "b", hits)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "title" in shown
    assert not set(shown) & {"\x1b", "\x07", "\x9b"}


def test_token_ids_are_no_texts(tmp_path: Path) -> None:
    write_shards(tmp_path / "s", (Pair(id=f"{i}", x="x", y=f"y {i}") for i in range(3)), source="toy")
    opened = PairShards.open(tmp_path / "s")
    opened.tokens = TokenHead("0" * 64, "uint16", None, "0" * 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairShards, "open", lambda *_: opened)
        with pytest.raises(ConfigError, match="holds token ids, not texts"):
            list(read_items([tmp_path / "s"]))
        with pytest.raises(ConfigError, match="holds token ids, not texts"):
            list(read_rows([str(tmp_path / "s")], None, Fields("y")))


def test_an_index_that_faiss_cannot_write_is_one_line(tmp_path: Path, bag: Any) -> None:
    index = ann.make("exact", np.eye(4, dtype=np.float32))
    with pytest.raises(ConfigError, match="cannot be written"):
        ann.save(index, tmp_path / "no" / "folder.faiss")
