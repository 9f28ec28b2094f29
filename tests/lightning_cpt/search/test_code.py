"""The index of a source tree: every function, its place, and only what changed encoded again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from data_prep.code.languages import LANGUAGES
from eval_suite.untrained import RandomProjection
from lightning_cpt.cli import main
from lightning_cpt.errors import ConfigError

pytest.importorskip("faiss")
pytest.importorskip("tree_sitter_python")
from lightning_cpt.search import Item, SearchIndex, build_index, index_code
from lightning_cpt.search.functions import signature

FIRST = '''
import math

class Circle:
    @property
    def area(self):
        """Area of the disc.

        More.
        """
        return math.pi * self.radius**2

    def scale(self, factor: float,
              origin=(0, 0)) -> "Circle":
        return Circle(self.radius * factor)

def outer():
    def inner():
        return 1
    return inner
'''
SECOND = "def parse_header(line):\n    return line.split(':')\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "first.py").write_text(FIRST)
    (tmp_path / "tree" / "sub" / "second.py").write_text(SECOND)
    (tmp_path / "tree" / "test_first.py").write_text("def test_area():\n    assert 1\n")
    return tmp_path / "tree"


def metas(found: Any) -> dict[str, dict[str, Any]]:
    return {item.meta["name"]: item.meta for item in found.index.items.at(range(len(found.index)))}


def test_functions_with_and_without_documentation(tree: Path, bag: Any) -> None:
    found = metas(index_code(tree, bag))
    assert sorted(found) == ["Circle.area", "Circle.scale", "outer", "parse_header"]
    assert found["Circle.area"]["doc"] == "Area of the disc."
    assert found["Circle.area"]["line"] == 5
    assert (
        found["Circle.scale"]["signature"]
        == 'def Circle.scale(self, factor: float, origin=(0, 0)) -> "Circle"'
    )
    assert found["parse_header"]["path"] == "sub/second.py"
    assert "test_area" in metas(index_code(tree, bag, tests=True))


def test_a_documented_function_is_encoded_without_its_docstring(tree: Path, bag: Any) -> None:
    items = index_code(tree, bag).index.items.at(range(4))
    area = next(item for item in items if item.meta["name"] == "Circle.area")
    assert "disc" not in area.text
    assert "math.pi" in area.text


def test_a_sentence_finds_the_function(tree: Path, bag: Any) -> None:
    hits = index_code(tree, bag).query("parse the header of a line", k=2)
    assert [hit.rank for hit in hits] == [1, 2]
    assert hits[0].item.meta["name"] == "parse_header"


def test_the_documentation_counts_unless_it_is_left_out(tree: Path, bag: Any) -> None:
    with_docs = index_code(tree, bag).query("area of the disc", k=4)
    without = index_code(tree, bag, docs=False).query("area of the disc", k=4)
    assert with_docs[0].item.meta["name"] == "Circle.area"
    scores = {hit.item.meta["name"]: hit.score for hit in without}
    assert with_docs[0].score > scores["Circle.area"]
    others = [hit for hit in with_docs if not hit.item.meta["doc"]]
    assert [hit.score for hit in others] == pytest.approx([scores[hit.item.meta["name"]] for hit in others])


def test_only_changed_files_are_encoded_again(tree: Path, bag: Any) -> None:
    first = index_code(tree, bag)
    assert (first.refreshed.files, first.refreshed.encoded, bag.encoded) == (2, 2, 4)
    again = index_code(tree, bag)
    assert (again.refreshed.encoded, bag.encoded) == (0, 4)
    os.utime(tree / "first.py", (1, 1))  # another time, the same bytes
    assert index_code(tree, bag).refreshed.encoded == 0
    assert index_code(tree, bag).refreshed.encoded == 0
    (tree / "sub" / "second.py").write_text(SECOND + "\ndef write_footer(text):\n    return text\n")
    changed = index_code(tree, bag)
    assert (changed.refreshed.encoded, bag.encoded) == (1, 6)
    assert changed.query("write the footer", k=1)[0].item.meta["name"] == "write_footer"
    assert changed.query("area math pi radius", k=1)[0].item.meta["name"] == "Circle.area"
    fresh = index_code(tree, bag, folder=tree.parent / "fresh")
    assert metas(changed) == metas(fresh)
    for name in ("area of circle", "write text", "inner"):
        assert [hit.score for hit in changed.query(name)] == pytest.approx(
            [hit.score for hit in fresh.query(name)]
        )
    (tree / "first.py").unlink()
    gone = index_code(tree, bag)
    assert (gone.refreshed.removed, sorted(metas(gone))) == (1, ["parse_header", "write_footer"])


def test_a_damaged_cache_is_made_anew(tree: Path, bag: Any) -> None:
    folder = index_code(tree, bag).index.folder
    next(folder.glob("items*")).write_bytes(b"")
    assert len(index_code(tree, bag).index) == 4


def test_another_encoder_has_another_cache(tree: Path, bag: Any) -> None:
    one, other = index_code(tree, bag), index_code(tree, type(bag)("bag-2"))
    assert one.index.folder != other.index.folder
    with pytest.raises(ConfigError, match="was made by bag"):
        index_code(tree, type(bag)("bag-2"), folder=one.index.folder)


def test_a_syntax_error_loses_what_it_touches_and_says_so(tree: Path, bag: Any) -> None:
    (tree / "broken.py").write_text("def whole(a):\n    return a\n\ndef half(:\n    pass\n")
    found = index_code(tree, bag)
    assert found.refreshed.faults == {"broken.py": "a part with a syntax error"}
    assert "whole" in metas(found)


def test_a_tree_without_functions_is_an_error(tmp_path: Path, bag: Any) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match="holds no function"):
        index_code(tmp_path / "a.py", bag, folder=tmp_path / "index")


@pytest.mark.parametrize(
    ("language", "source", "names", "heads"),
    [
        ("javascript", "/** Adds. */\nfunction add(a, b) { return a + b; }\nconst twice = (x) => { return go(x) + go(x); };",
         ["add", "twice"], ["function add(a, b)", "const twice = (x)"]),
        ("go", "package a\n\n// Open opens.\nfunc (f *File) Open(n int) error { return nil }\nfunc run() { go() }",
         ["File.Open", "run"], ["func (f *File) File.Open(n int) error", "func run()"]),
        ("java", "class A { int twice(int n) { log(n); return 2 * n; } }", ["A.twice"], ["int A.twice(int n)"]),
        ("ruby", "class A\n  def twice(n)\n    log(n)\n    2 * n\n  end\nend\n", ["A.twice"], ["def A.twice(n)"]),
        ("php", "<?php\nfunction twice(int $n): int { log($n); return 2 * $n; }", ["twice"], ["function twice(int $n): int"]),
    ],
)  # fmt: skip
def test_other_languages(language: str, source: str, names: list[str], heads: list[str]) -> None:
    pytest.importorskip(f"tree_sitter_{language}")
    found = LANGUAGES[language].find_all(source.encode(), 5.0).functions
    assert found is not None
    assert [function.name for function in found] == names
    assert [signature(function.code, language, function.name) for function in found] == heads


def test_in_the_terminal(tree: Path, bag_spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["search", "code", "tree", "parse a header", "--encoder", bag_spec, "-k", "1"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "tree/sub/second.py:1" in out
    assert "def parse_header(line)" in out
    assert "4 functions in 2 files, 2 of them new or changed" in err
    assert main([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["hits"][0]["name"] == "parse_header"
    assert "up to date" in err


def test_an_index_of_texts_is_not_replaced_by_code(tree: Path, tmp_path: Path, bag: Any) -> None:
    build_index(tmp_path / "texts", bag, [Item("a", "a text", {})])
    with pytest.raises(ConfigError, match="is an index of texts"):
        index_code(tree, bag, folder=tmp_path / "texts")
    assert len(SearchIndex.open(tmp_path / "texts", bag)) == 1


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    (tree := tmp_path / "tree").mkdir()
    source = b'def add(a, b):\n    """Adds two numbers."""\n    return a + b\n'
    Path(os.fsdecode(os.fsencode(tree) + b"/caf\xe9.py")).write_bytes(source)
    for _ in range(2):
        found = index_code(tree, RandomProjection(8), folder=tmp_path / "index")
        assert found.query("adds numbers")[0].item.meta["path"] == "caf\\xe9.py"
    assert found.refreshed.encoded == 0
