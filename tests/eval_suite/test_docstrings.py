"""Docstrings taken out of Python functions, and functions that hold their query."""

from __future__ import annotations

import ast

import pytest

from eval_suite.docstrings import holds_query, leak_share, strip_docstring, summary


@pytest.mark.parametrize(
    ("code", "stripped"),
    [
        ('def f(x):\n    """Add one."""\n    return x + 1\n', "def f(x):\n    return x + 1\n"),
        ("def f(x):\n    'Add one.'\n    return x + 1", "def f(x):\n    return x + 1"),
        ('def f(a={"k:": ":"}, *b) -> Dict[str, int]:\n    r"""Doc."""\n    return 1\n', None),
        (
            '@wraps("x:")\n# def g():\nasync def f(a):\n    """Doc\n\n    more\n    """\n\n    return a\n',
            None,
        ),
        ('class A(object):\n    u"""Doc."""\n    x = 1\n', None),
        ('def f():\n    # a remark\n    """Doc."""\n    return 1\n', None),
        ('def f():\n    """Only this."""\n', None),
        ('def f(): "one line"; return 2\n', None),
        ('def f():     """Get it."""     return g(1)', "def f():     return g(1)"),
    ],
)
def test_the_first_statement_goes(code: str, stripped: str | None) -> None:
    found = strip_docstring(code)
    assert stripped is None or " ".join(found.split()) == " ".join(stripped.split())
    if "     " not in code:
        node = ast.parse(found).body[-1]
        assert ast.get_docstring(node) is None  # type: ignore[arg-type]
        before = ast.parse(code).body[-1].body[1:]  # type: ignore[attr-defined]
        assert [ast.dump(n) for n in node.body] == [ast.dump(n) for n in before] or not before  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    return 'no docstring'\n",
        "def f():\n    '{}'.format(1)\n",
        "def f():\n    'a' if x else y\n",
        "x = 'no function'\n",
        "def f(",
        "",
        "def f():\n    x = '''text'''\n",
        'def f():\n    """never closed\n',
    ],
)
def test_everything_else_stays(code: str) -> None:
    assert strip_docstring(code) == code


def test_python_2_is_read_too() -> None:
    code = 'def f(x, (a, b)):\n    ur"""Doc."""\n    print "x", `a`\n    raise E, "y"\n'
    assert (
        strip_docstring(code.replace("ur", "u"))
        == 'def f(x, (a, b)):\n    print "x", `a`\n    raise E, "y"\n'
    )


def test_what_holds_its_query() -> None:
    assert holds_query("Sort the list.\n\nMore.", "def f(l):\n    # sort\n    # the list\n    l.sort()")
    assert not holds_query("Sort the list.", "def sort_list(the): ...")
    assert not holds_query("Sort list", "def f(): # sort list")  # too short to tell
    assert leak_share(["sort the list", "read a file"], ["# Sort_theList", "x"]) == 0.5


def test_summary_is_the_first_paragraph() -> None:
    assert summary("  One\n  line.\n   \n More. ") == "One line."
