"""Mining code: exact sources without docstrings, stable ids, packages, filters with counted reasons."""

from __future__ import annotations

import ast
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

from data_prep.code import grammar, mine
from data_prep.code.python import Function, find_functions
from data_prep.code.sources import find_sources, is_stdlib
from data_prep.errors import DataError
from data_prep.filters import CodeRules
from data_prep.report import Report


def functions(source: str) -> list[Function]:
    found = find_functions(textwrap.dedent(source).encode())
    assert found is not None
    return found


SOURCE = '''\
@decorator(
    option=1
)
async def fetch(url):
    """Fetch a page.

    More.
    """

    # a comment
    return await get(url)


class Outer:
    class Inner:
        def method(self):
            r"""Say \\d """ "twice."  # noqa
            text = """
kept as it is
    """
            other = f"""
              {text}
            """
            def nested():
                """Nested one."""
                return 1
            return text, other, "continued \\
            here"

    @property
    def name(self):
        'Get the name.'
        return self._name

    @name.setter
    def name(self, value):
        'Set the name.'
        self._name = value

    if True:
        def branch(self): "Inline."; return 1
'''


def test_what_is_found() -> None:
    found = functions(SOURCE)
    assert [(function.name, function.doc) for function in found] == [
        ("fetch", "Fetch a page.\n\n    More.\n    "),
        ("Outer.Inner.method", "Say \\d twice."),
        ("Outer.name@30", "Get the name."),
        ("Outer.name@35", "Set the name."),
        ("Outer.branch", "Inline."),
    ]
    assert found[0].span == (1, 11)
    assert (
        found[0].code
        == "@decorator(\n    option=1\n)\nasync def fetch(url):\n    # a comment\n    return await get(url)"
    )
    assert found[2].code == "@property\ndef name(self):\n    return self._name"
    assert found[4].code == "def branch(self): return 1"


def without_docstring(node: ast.AST) -> str:
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    node.body = node.body[1:]
    return ast.dump(node)


def expected_sources(source: str) -> dict[int, str]:
    """What Python's own parser sees: first line -> the function's tree without its docstring."""
    found: dict[int, str] = {}

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                visit(child)
            elif ast.get_docstring(child) is not None:
                line = min(
                    child.lineno, *(decorator.lineno for decorator in child.decorator_list), child.lineno
                )
                found[line] = without_docstring(child)

    visit(ast.parse(source))
    return found


def check_against_ast(source: str) -> int:
    expected = expected_sources(source)
    found = functions(source)
    assert {function.span[0] for function in found} == set(expected)
    for function in found:
        if not (function.stub and function.code.rstrip().endswith(":")):
            assert ast.dump(ast.parse(function.code).body[0]) == expected[function.span[0]], function.name
    return len(found)


def test_the_source_is_exact() -> None:
    assert check_against_ast(SOURCE) == 5


@pytest.mark.parametrize("name", ["inspect.py", "turtle.py", "idlelib/pyparse.py", "typing.py", "doctest.py"])
def test_real_files_agree_with_ast(name: str) -> None:
    source = Path(sysconfig.get_path("stdlib"), name).read_text(encoding="utf-8")
    assert check_against_ast(source) >= 5


def test_what_is_no_docstring() -> None:
    assert (
        functions('def f():\n    f"""no {1}"""\ndef g():\n    b"no"\ndef h():\n    x = "no"\ndef i(): pass\n')
        == []
    )
    assert find_functions(b"def f(:\n    'doc'\n") is None


@pytest.mark.parametrize("body", ["", "pass", "...", "raise NotImplementedError('x')", "# only a comment"])
def test_stubs(body: str) -> None:
    assert functions(f"def f():\n    'Do what is to be done.'\n    {body}\n")[0].stub


def test_no_stub() -> None:
    assert not functions("def f():\n    'Do.'\n    raise ValueError\n")[0].stub
    assert not functions("def f():\n    'Do.'\n    x = 1\n    pass\n")[0].stub


GOOD = 'def {name}(a):\n    """{doc}"""\n    b = a\n    return b\n'
DOC = "Give the argument back."


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    return root


def good(name: str = "f", doc: str = DOC) -> str:
    return GOOD.format(name=name, doc=doc)


def test_ids_packages_and_meta(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "lib",
        {
            "pkg/sub/mod.py": "class A:\n" + textwrap.indent(good("m"), "    "),
            "pkg/b.py": good(),
            "single.py": good(),
            ".hidden/x.py": good(),
            "env/pyvenv.cfg": "",
            "env/x.py": good(),
            "pkg/__pycache__/x.py": good(),
        },
    )
    pairs = list(mine([root], processes=1))
    assert [pair.id for pair in pairs] == ["pkg/b.py:f", "pkg/sub/mod.py:A.m", "single.py:f"]
    assert [pair.meta["package"] for pair in pairs] == ["pkg", "pkg", "single"]
    assert pairs[1].x == DOC
    assert pairs[1].y == "def m(a):\n    b = a\n    return b"
    assert pairs[1].meta == {
        "document": "pkg/sub/mod.py", "package": "pkg", "path": "pkg/sub/mod.py", "name": "A.m",
        "lang": "python", "span": [2, 5],
    }  # fmt: skip
    assert str(tmp_path) not in repr(pairs)


def test_a_repository_a_package_and_a_file(tmp_path: Path) -> None:
    repository = tree(tmp_path / "repo", {"src/a.py": good(), "tools/b.py": good()})
    (repository / ".git").mkdir()
    package = tree(tmp_path / "lib" / "pkg", {"__init__.py": "", "sub/a.py": good()})
    module = tree(tmp_path / "lib", {"single.py": good()}) / "single.py"
    sources = find_sources([repository, package, module, package])
    assert [(source.name, source.package) for source in sources] == [
        ("pkg/__init__.py", "pkg"),
        ("pkg/sub/a.py", "pkg"),
        ("repo/src/a.py", "repo"),
        ("repo/tools/b.py", "repo"),
        ("single.py", "single"),
    ]


def test_the_standard_library_is_one_package() -> None:
    root = Path(sysconfig.get_path("stdlib"))
    assert is_stdlib(root)
    sources = find_sources([root])
    assert {source.package for source in sources} == {"python-stdlib"}
    names = {source.name for source in sources}
    assert "python-stdlib/json/decoder.py" in names
    assert not [name for name in names if "site-packages" in name]


def test_reasons_are_counted_and_files_named(tmp_path: Path) -> None:
    files = {
        "pkg/kept.py": good(),
        "pkg/crlf.py": good("g", "Another good docstring.").replace("\n", "\r\n"),
        "pkg/latin.py": "# -*- coding: latin-1 -*-\n" + good("h", "A third good docstring."),
        "pkg/tests/x.py": good(),
        "pkg/test_x.py": good(),
        "pkg/conftest.py": good(),
        "pkg/_vendor/other/x.py": good(),
        "pkg/gen.py": "# This file was automatically generated\n" + good(),
        "pkg/about.py": "# Nodes are generated by passing a flag\n" + good("i", "Keep this one too."),
        "pkg/broken.py": "def f(:\n" + good(),
        "pkg/bytes.py": good().replace("Give", "\udcff\udcfe"),
        "pkg/long.py": good() + f"X = '{'x' * 2000}'\n",
        "pkg/large.py": good() + "# padding\n" * 100_001,
        "pkg/many.py": "".join(
            [
                good("__len__"),
                good("test_it"),
                good("short", "Two words."),
                good("doc", "word " * 300),
                good("markup", ":param a: the argument"),
                good("signs", "x = {y} * (2 ** 3) + [4, 5] / 6, a b c"),
                good("old", "Deprecated since version 3, use g."),
                good("russian", "Возвращает свой аргумент без изменений."),
                'def one(a): "Give it back at once."; return a\n',
                'def stub(a):\n    """Give back what it is."""\n    raise NotImplementedError\n',
                good("big").replace("b = a", f"b = {'a + ' * 450}a\n" + f"    b = {'a + ' * 450}a\n" * 12),
            ]
        ),
    }
    report = Report()
    pairs = list(mine([tree(tmp_path, files) / "pkg", tmp_path], processes=1, report=report))
    assert [pair.id.split(":")[1] for pair in pairs] == ["i", "g", "f", "h"]
    assert "\r" not in pairs[1].y
    assert report.kept["files read"] == 5
    assert dict(report.dropped) == {
        "test file": 3,
        "vendored file": 1,
        "generated file": 1,
        "file does not parse": 1,
        "file not decodable": 1,
        "file with a line over 2,000 characters": 1,
        "file over 1,000,000 bytes": 1,
        "dunder method": 1,
        "test function": 1,
        "docstring under 3 words": 1,
        "docstring over 1,000 characters": 1,
        "docstring without prose": 1,
        "docstring mostly markup": 1,
        "docstring is boilerplate": 1,
        "docstring not ASCII": 1,
        "function under 3 lines": 1,
        "stub (no body)": 1,
        "function over 20,000 characters": 1,
    }
    assert [name for _, name in report.named] == [
        "pkg/broken.py",
        "pkg/bytes.py",
        "pkg/large.py",
        "pkg/long.py",
    ]
    assert "file does not parse: pkg/broken.py" in report.table()


def test_rules_are_options(tmp_path: Path) -> None:
    tree(tmp_path, {"pkg/a.py": good("f", "Two words.") + 'def g(a): "Give it back at once."; return a\n'})
    assert list(mine([tmp_path], processes=1)) == []
    loose = list(mine([tmp_path], rules=CodeRules(min_doc_words=2, min_code_lines=1), processes=1))
    assert [pair.meta["name"] for pair in loose] == ["f", "g"]


def test_two_processes_give_the_same(tmp_path: Path) -> None:
    tree(tmp_path, {f"pkg/m{i}.py": good(doc=f"Give number {i} back.") for i in range(150)})
    reports = Report(), Report()
    one, two = (list(mine([tmp_path], processes=n + 1, report=reports[n])) for n in range(2))
    assert one == two
    assert len(one) == 150
    assert reports[0].table() == reports[1].table()


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="absent: no such file or folder"):
        list(mine([tmp_path / "absent"]))
    with pytest.raises(DataError, match=r"no \.py files"):
        list(mine([tmp_path], languages=["python"]))
    grammar.load.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_python", None)
    with pytest.raises(DataError, match=r"pip install 'lightning-cpt\[prep\]'"):
        find_functions(b"")
