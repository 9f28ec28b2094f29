"""CodeSearchNet's rows: the docstring out of the code, or the row out of the corpus; all of it counted."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.code import codesearchnet, mine
from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.report import Report

PYTHON = (
    'def f(self, a):\n        """Does it all with care.\n\n        More.\n        """\n'
    "        b = a\n        return b"
)
JAVA = "@Override\n  public int f(int a) {\n    return g(a);\n  }"
DOC = "Does it all with care."


def row(language: str, code: str, doc: str = DOC, **fields: Any) -> dict[str, Any]:
    return {
        "repo": "who/what", "path": "src/a.x", "func_name": "A.f", "original_string": code, "language": language,
        "code": code, "code_tokens": [], "docstring": doc, "docstring_tokens": [], "partition": "valid",
        "sha": "0123abc", "url": "https://example.org/who/what/blob/0123abc/src/a.x#L10-L14",
    } | fields  # fmt: skip


def corpus(folder: Path, *rows: dict[str, Any], name: str = "x_valid_0.jsonl.gz") -> Path:
    data = "".join(json.dumps(one) + "\n" for one in rows).encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder / name


def mined(path: Path, report: Report | None = None, **options: Any) -> list[Pair]:
    return list(mine([path], processes=1, report=report, **options))


def test_a_row(tmp_path: Path) -> None:
    pairs = mined(corpus(tmp_path, row("python", PYTHON, DOC + "\n\nMore.")))
    assert [(pair.id, pair.x, pair.y) for pair in pairs] == [
        ("x_valid_0.jsonl.gz#1", DOC, "def f(self, a):\n        b = a\n        return b")
    ]
    assert pairs[0].meta == {
        "document": "who/what/src/a.x", "package": "who/what", "path": "who/what/src/a.x", "name": "A.f",
        "lang": "python", "span": [10, 14], "commit": "0123abc", "partition": "valid",
        "url": "https://example.org/who/what/blob/0123abc/src/a.x#L10-L14",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("language", "comment", "code"),
    [
        ("java", f"/** {DOC} */\n", JAVA),
        ("javascript", f"/**\n * {DOC}\n * @return x\n */\n", "function (a) {\n  return g(a);\n}"),
        ("javascript", f"// one\n// {DOC}\n", "f(a) {\n  return g(a);\n}"),
        ("php", f"/**\n * {DOC}\n */\n", "public function f($a)\n    {\n        return g($a);\n    }"),
        ("ruby", f"# {DOC}\n# more\n", "def f(a)\n  g(a)\nend"),
        ("go", f"// {DOC}\n", "func (s *S) f(a int) int {\n\treturn g(a)\n}"),
    ],
)
def test_the_documentation_goes(tmp_path: Path, language: str, comment: str, code: str) -> None:
    report = Report()
    rows = row(language, comment + code), row(language, code.replace("f", "h"))
    pairs = mined(corpus(tmp_path, *rows), report)
    assert [pair.y for pair in pairs] == [code, code.replace("f", "h")]
    assert report.kept[f"{language} rows, docstring removed"] == 1
    assert report.kept[f"{language} rows, no docstring in the code"] == 1
    assert report.kept[f"{language} rows"] == 2


def test_a_docstring_that_stays_costs_the_row(tmp_path: Path) -> None:
    inside = "public int f(int a) {\n  /* Does it all\n   * with care. */\n  return g(a);\n}"
    broken = 'def f(a:\n    """Does it all with care."""\n    return a +'
    report = Report()
    assert mined(corpus(tmp_path, row("java", inside), row("python", broken)), report) == []
    assert dict(report.dropped) == {
        "row whose docstring was not found, yet stands in the code": 1,
        "row whose code does not parse: docstring not removed": 1,
    }


def test_filters_and_languages(tmp_path: Path) -> None:
    path = corpus(
        tmp_path, row("java", JAVA, "Two words."), row("java", JAVA), row("go", "x"), name="a.jsonl"
    )
    report = Report()
    assert [pair.id for pair in mined(path, report, languages=["java"])] == ["a.jsonl#2"]
    assert dict(report.dropped) == {"docstring under 3 words": 1, "row in another language (go)": 1}


def test_original_string_where_there_is_no_code(tmp_path: Path) -> None:
    only = row("python", "", original_string=PYTHON)
    del only["code"], only["sha"], only["url"], only["partition"]
    pair = mined(corpus(tmp_path, only))[0]
    assert pair.y.startswith("def f(self, a):\n        b = a")
    assert not {"span", "commit", "url", "partition"} & set(pair.meta)


def test_two_processes_give_the_same(tmp_path: Path) -> None:
    path = corpus(tmp_path, *(row("python", PYTHON.replace("def f", f"def f{i}")) for i in range(300)))
    one, two = (list(mine([path], processes=n + 1)) for n in range(2))
    assert len(one) == 300
    assert one == two


def test_beside_a_folder(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/a.py").write_text(f'def g(a):\n    """{DOC}"""\n    b = a\n    return b\n')
    counts: list[int] = []
    pairs = list(
        mine([corpus(tmp_path, row("java", JAVA)), tmp_path / "pkg"], processes=1, on_found=counts.append)
    )
    assert [pair.meta["lang"] for pair in pairs] == ["python", "java"]
    assert counts == [2]


def test_streamed(tmp_path: Path) -> None:
    path = corpus(tmp_path, row("java", JAVA), row("java", JAVA))
    with open(path, "ab") as file:
        file.write(b"damage that is only met at the end")
    rows = codesearchnet.read_rows(path)
    assert next(rows).name == "x_valid_0.jsonl.gz#1"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"code": None, "original_string": None}, "#1: no text under 'code'; CodeSearchNet's rows have it"),
        ({"docstring": 3}, "#1: no text under 'docstring'"),
        ({"language": None}, "#1: no text under 'language'"),
        ({"code": "\ud800"}, "#1: holds half a surrogate pair"),
    ],
)
def test_a_broken_row(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        mined(corpus(tmp_path, row("java", JAVA) | fields))


def test_mistakes(tmp_path: Path) -> None:
    path = corpus(tmp_path, *(row("java", JAVA, url=str(i)) for i in range(200)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"x_valid_0.jsonl.gz: cut or damaged .*; copy it again"):
        mined(path)
    with pytest.raises(DataError, match=r"absent\.jsonl: no such file or folder"):
        mined(tmp_path / "absent.jsonl")
    (tmp_path / "bad.jsonl").write_bytes(b"{\n")
    with pytest.raises(DataError, match=r"bad\.jsonl#1: not JSON"):
        mined(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(DataError, match="not UTF-8 text"):
        mined(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_bytes(b"[1]\n")
    with pytest.raises(DataError, match="a row must be an object, not list"):
        mined(tmp_path / "bad.jsonl")


def test_documentation_behind_an_annotation_goes_too(tmp_path: Path) -> None:
    code = "@Deprecated\n/** Runs the {@code name} of the user given now. */\npublic int run(int a) {\n  a += 1;\n  return a;\n}"
    (pair,) = mined(corpus(tmp_path, row("java", code, "Runs the name of the user given now.")))
    assert pair.y == "@Deprecated\npublic int run(int a) {\n  a += 1;\n  return a;\n}"


def test_a_short_docstring_that_stays_is_seen(tmp_path: Path) -> None:
    report = Report()
    code = "function run(a) {\n  // Runs it now.\n  a += 1;\n  return a;\n}"
    assert mined(corpus(tmp_path, row("javascript", code, "Runs it now.")), report) == []
    assert report.dropped["row whose docstring was not found, yet stands in the code"] == 1


@pytest.mark.parametrize("line", ["[" * 100_000, json.dumps(row("java", JAVA) | {"repo": "\ud800"})])
def test_rows_that_cannot_be(tmp_path: Path, line: str) -> None:
    (tmp_path / "x_valid_0.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=r"x_valid_0\.jsonl.*(not JSON|surrogate)"):
        mined(tmp_path / "x_valid_0.jsonl")
