"""Mining trees of several languages: packages, reasons, limits, licences, and what the table says of each language."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.code import grammar, mine
from data_prep.code.languages import choose
from data_prep.code.miner import mine_file
from data_prep.code.sources import SourceFile, find_sources
from data_prep.errors import DataError
from data_prep.filters import CodeRules
from data_prep.report import Report

SOUND = {
    ".py": 'def {name}(a):\n    """Does {name} with it."""\n    b = a\n    return b\n',
    ".java": "class K {{\n  /** Does {name} with it. */\n  int {name}(int a) {{\n    return g(a);\n  }}\n}}\n",
    ".js": "/** Does {name} with it. */\nfunction {name}(a) {{\n  return g(a);\n}}\n",
    ".php": "<?php\n/** Does {name} with it. */\nfunction {name}($a) {{\n  return g($a);\n}}\n",
    ".rb": "# Does {name} with it.\ndef {name}(a)\n  g(a)\nend\n",
    ".go": "package p\n\n// {name} does it well.\nfunc {name}(a int) int {{\n\treturn g(a)\n}}\n",
}


def sound(path: str) -> str:
    name = path.replace("/", "_").replace(".", "_").replace("-", "_").replace("@", "")
    return SOUND["." + path.rpartition(".")[2]].format(name=name)


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """``tree("a/b.js", ...)``: a folder with these files, a sound function in each source."""

    def make(*paths: str, **texts: str) -> Path:
        for path in paths:
            file = tmp_path / "tree" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            suffix = file.suffix
            file.write_text(sound(path) if suffix in SOUND else "")
        return tmp_path / "tree"

    return make


def packages(root: Path) -> dict[str, str]:
    return {source.name: source.package for source in find_sources([root])}


def test_packages(tree: Callable[..., Path]) -> None:
    root = tree(
        "loose/a.js", "loose/deep/b.go", "single.rb",
        "node/package.json", "node/lib/a.js", "node/sub/package.json", "node/sub/b.js",
        "@scope/kit/package.json", "@scope/kit/index.js",
        "maven/pom.xml", "maven/core/build.gradle", "maven/core/src/main/java/K.java", "maven/src/main/java/L.java",
        "gem/gem.gemspec", "gem/lib/gem.rb",
        "repo/.git/HEAD", "repo/x/go.mod", "repo/x/a.go", "repo/y/composer.json", "repo/y/b.php",
        "node/node_modules/dep/index.js", "node/tool.py",
    )  # fmt: skip
    assert packages(root) == {
        "loose/a.js": "loose", "loose/deep/b.go": "loose", "single.rb": "single",
        "node/lib/a.js": "node", "node/sub/b.js": "node/sub", "@scope/kit/index.js": "@scope/kit",
        "maven/core/src/main/java/K.java": "maven/core", "maven/src/main/java/L.java": "maven",
        "gem/lib/gem.rb": "gem", "repo/x/a.go": "repo", "repo/y/b.php": "repo", "node/tool.py": "node",
    }  # fmt: skip


def test_a_root_that_is_a_package(tree: Callable[..., Path]) -> None:
    root = tree("package.json", "a.js", "packages/b/package.json", "packages/b/c.js", "tools/d.py")
    assert packages(root) == {
        "tree/a.js": "tree",
        "tree/packages/b/c.js": "tree/packages/b",
        "tools/d.py": "tools",
    }
    (root / ".git").mkdir()
    assert set(packages(root).values()) == {"tree"}


def test_all_languages_and_some(tree: Callable[..., Path]) -> None:
    root = tree(*(f"pkg/one{suffix}" for suffix in SOUND))
    report = Report()
    pairs = list(mine([root], processes=1, report=report))
    assert {pair.meta["lang"] for pair in pairs} == {"python", "java", "javascript", "php", "ruby", "go"}
    assert all("oes " in pair.x and pair.x not in pair.y and "g(" in pair.y + "g(" for pair in pairs)
    assert report.kept["java files"] == report.kept["go pairs before duplicates"] == 1
    assert report.kept["files read"] == 6
    some = list(mine([root], languages=["ruby", "go"], processes=1))
    assert [pair.id for pair in some] == ["pkg/one.go:pkg_one_go", "pkg/one.rb:pkg_one_rb"]
    assert some == [pair for pair in pairs if pair.meta["lang"] in ("ruby", "go")]


def test_reasons_by_name(tree: Callable[..., Path]) -> None:
    root = tree(
        "p/src/test/java/K.java", "p/KTest.java", "p/a.test.js", "p/__tests__/a.js", "p/CTest.php",
        "p/spec/a.rb", "p/a_spec.rb", "p/test_a.rb", "p/a_test.go", "p/testdata/a.go",
        "p/a.min.js", "p/api.pb.go", "p/vendor/q/a.go", "p/bower_components/a.js", "p/contest.js",
    )  # fmt: skip
    report = Report()
    assert [pair.id for pair in mine([root], processes=1, report=report)] == ["p/contest.js:p_contest_js"]
    assert dict(report.dropped) == {"test file": 10, "generated file": 2, "vendored file": 2}


def test_licences_and_line_ends(tree: Callable[..., Path]) -> None:
    root = tree("p/package.json", "p/LICENSE.md", "p/a.js", "p/b.js", "q/c.js")
    text = "// SPDX-License-Identifier: MIT OR Apache-2.0\n" + sound("p/b.js")
    (root / "p/b.js").write_bytes(text.replace("\n", "\r\n").encode())
    (root / "q/c.js").write_bytes(sound("q/c.js").replace("it.", "café.").encode("cp1252"))
    report = Report()
    pairs = {pair.meta["path"]: pair for pair in mine([root], processes=1, report=report)}
    assert pairs["p/a.js"].meta["licence"] == "LICENSE.md"
    assert pairs["p/b.js"].meta["licence"] == "MIT OR Apache-2.0"
    assert "\r" not in pairs["p/b.js"].y
    assert pairs["p/b.js"].meta["span"] == [3, 5]
    assert "licence" not in pairs["q/c.js"].meta
    assert "café" in pairs["q/c.js"].x


def test_part_of_a_broken_file_is_kept_and_the_file_named(tree: Callable[..., Path]) -> None:
    root = tree("p/a.js", "p/b.py")
    with open(root / "p/a.js", "a") as file:
        file.write("/** Is broken by an error. */\nfunction b() {\n  return 1 +;\n}\n")
    with open(root / "p/b.py", "a") as file:
        file.write("def broken(:\n")
    report = Report()
    assert [pair.meta["lang"] for pair in mine([root], processes=1, report=report)] == ["javascript"]
    assert report.dropped["function with a syntax error"] == 1
    assert sorted(report.named) == [
        ("file does not parse", "p/b.py"),
        ("part of a file (syntax error)", "p/a.js"),
    ]


@pytest.mark.parametrize("language", ["python", "java", "javascript", "php", "ruby", "go"])
def test_a_file_that_takes_too_long_is_given_up(language: str) -> None:
    source = b"<?php\n" * (language == "php") + b"f(((((((((( [[[[[[ {{{{{ x = 1 + \n" * 20_000
    with pytest.raises(grammar.TooSlow):
        grammar.parse(language, source, 0.02)
    assert not grammar.parse(language, b"<?php\n" * (language == "php"), 10).has_error


def test_what_takes_too_long_is_counted_and_named(tree: Callable[..., Path]) -> None:
    root = tree("p/a.js", "p/b.js")
    (root / "p/a.js").write_text("f(((( [[[[ {{{{ x = 1 + \n" * 30_000)
    report, rules = Report(), CodeRules(max_parse_seconds=0.05)
    pairs = list(mine([root], processes=1, report=report, rules=rules))
    assert [pair.meta["path"] for pair in pairs] == ["p/b.js"]
    assert report.named == [("file takes over 0.05 s of processor time to parse", "p/a.js")]


@pytest.mark.parametrize("source", ["(" * 5_000, "[" * 9_000 + "]" * 9_000, "a(" * 9_000 + ")" * 9_000])
def test_deep_nesting_ends_nothing(source: str, tree: Callable[..., Path]) -> None:
    root = tree("p/b.js")
    folded = "\n".join(source[i : i + 100] for i in range(0, len(source), 100))
    for name in ("a.js", "a.rb", "a.go", "a.java", "a.py"):
        (root / "p" / name).write_text(folded)
    assert [pair.meta["path"] for pair in mine([root], processes=1)] == ["p/b.js"]


def test_a_missing_grammar(tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree("p/a.rb", "p/b.go")
    grammar.load.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_ruby", None)
    with pytest.raises(
        DataError, match=r"mining ruby needs tree-sitter-ruby: pip install 'lightning-cpt\[prep\]'"
    ):
        list(mine([root], languages=["ruby"]))
    report = Report()
    assert [pair.meta["lang"] for pair in mine([root], processes=1, report=report)] == ["go"]
    assert dict(report.dropped) == {"ruby file (pip install tree-sitter-ruby)": 1}


def test_an_unknown_language() -> None:
    with pytest.raises(DataError, match=r"--languages perl: unknown; there are python, java, javascript"):
        choose(["perl"])


def test_two_processes_give_the_same(tree: Callable[..., Path]) -> None:
    root = tree(*(f"p{i}/one{suffix}" for i in range(25) for suffix in SOUND))
    reports = Report(), Report()
    one, two = (list(mine([root], processes=n + 1, report=reports[n])) for n in range(2))
    assert one == two
    assert len(one) == 150
    assert reports[0].table() == reports[1].table()


def test_a_folder_of_sources_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pkg/shut").mkdir(parents=True)
    (tmp_path / "pkg/a.py").write_text("x = 1\n")
    scandir = os.scandir

    def refuse(path="."):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"shut: cannot be read \(Permission denied\)"):
        find_sources([tmp_path / "pkg"])


@pytest.mark.parametrize(
    "raw", [b"# coding: utf-7\nx='+2AA-'\n", b"# coding: undefined\nx=1\n", b"# coding: punycode\nx=1\n"]
)
def test_a_source_in_an_odd_codec_is_lost_alone(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.py").write_bytes(raw)
    assert mine_file(SourceFile("a.py", "a", tmp_path / "a.py"), CodeRules()).lost == "file not decodable"
