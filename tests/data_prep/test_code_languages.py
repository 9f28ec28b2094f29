"""Java, JavaScript, PHP, Ruby and Go: what is documentation, what it says, and the function without it, byte for byte."""

from __future__ import annotations

import pytest

from data_prep.code.function import Function
from data_prep.code.languages import LANGUAGES

JAVA = """package a.b;

/** The class. */
public class Outer<T> {
    /**
     * Adds {@code a < b} to the {@link java.util.List#add(Object) list} &amp; returns <b>it</b>.
     *
     * <p>More of it.
     * @param a the first
     * @return the sum
     */
    @Override
    @SuppressWarnings({"x", "y"})
    public int add(int a) throws Exception {
        // keep this
        String text = \"\"\"
            kept
          as it is
            \"\"\";
        return a + text.length();
    }

    /** Adds two of them. */
    int add(int a, int b) { return a + b + 1; }

    /* No documentation. */
    void plain() { add(1); }

    /** The field. */
    int field;
    void after() { add(1); }

    /** Too far away. */

    void far() { add(1); }

    static class Inner {
        @Deprecated
        /** Runs it all the way. */
        void run() {
            Runnable r = new Runnable() {
                /** Inside of another. */
                public void run() { go(); }
            };
            r.run();
        }

        /** Makes one. */
        Inner() { super(); }

        /** Gives the name. */
        String getName() { return this.name; }

        /** Sets the name. */
        void setName(String name) { this.name = name; }

        /** Is abstract here. */
        abstract void later();

        /** Is not there yet. */
        void never() { throw new UnsupportedOperationException("no"); }

        /** Checks that it works. */
        @Test
        void works() { check(); }
    }
}
"""

JAVASCRIPT = """/**
 * @license MIT
 */

(function () {
  /**
   * Makes a [list]{@link List} of {@link Item items}.
   * - not this
   * @param {number} n how many
   */
  function make(n) {
    /** Inner one of it. */
    function inner() { return n; }
    return `a
  ${inner()}
b`;
  }

  /** Not an own one, being of a plain comment. */
  // eslint-disable-next-line
  Foo.prototype.bar = function () { make(2); };
}());

/** Is the default of the module. */
export default function () { return go(); }

/**
 * @description Fetches the page.
 */
export const fetch = async (url) => {
  return await get(url);
};

module.exports.one = exports.two = function* () { yield 1; };

/** Exports one of them. */
module.exports.one = exports.two = function* () { yield 1; };

class Box extends Base {
  /** Opens the box. */
  @bound
  static async open() { await this.lid(); }

  /** Makes a box. */
  constructor() { super(); }

  /** Shuts the box. */
  #shut = () => { this.lid(); };

  /** Gives the size. */
  get size() { return this.n; }
}

var tools = {
  /** Cuts it in two. */
  cut: function (a) { return saw(a); },
  /** Glues it together. */
  'glue-it'(a) { return glue(a); }
}, other = 1;

/* Plain comment. */
function plain() { go(); }
// A line.
function line() { go(); }
var x = 1; /** About x. */
function next() { go(); }
"""

PHP = """<?php
/** The head of the file. */

namespace A\\B;

/**
 * Joins the strings.
 *
 * @param string $a
 */
#[Pure]
function join($a)
{
    return <<<TXT
  kept $a
TXT . strtoupper($a);
}

class C extends D
{
    /**
     * {@inheritdoc}
     */
    public function inherited() { return f(1); }

    /** Finds what is {@see C::other() wanted}. */
    public static function find(int $a): ?int
    {
        $x = 'two
 lines';
        return f($x, $a);
    }

    /** Makes a C. */
    public function __construct() { f(); }

    /** Gets any property. */
    public function __get($name) { return f($name); }

    /** Is to be filled in. */
    abstract protected function later();

    // Not a documentation comment.
    public function plain() { f(); }

    /** Gets the name. */
    public function name() { return $this->name; }
}

/** Doubles its argument. */
$double = function ($x) use ($y) { return f($x); };
"""

RUBY = """#!/usr/bin/env ruby
# frozen_string_literal: true

module A
  # The class itself.
  class B::C < D
    ##
    # :call-seq:
    #   first(a) -> b
    #
    # Finds the +first+ of <tt>them</tt>, see {Other#thing the other}.
    #
    #   first(1)
    #
    # @param a [Integer]
    sig { params(a: Integer).void }
    private def first(a)
      text = <<~TXT
          kept
        as it is
      TXT
      text * a
    end

    # rubocop:disable Style
    # Makes all of them at once.
    # rubocop:enable Style
    def self.all; new.run; end

    # Is :nodoc: here.
    def visible?; run; end

    # :nodoc:
    # Is hidden from all.
    def hidden; run; end

    # Makes a new one.
    def initialize; run; end

    # Too far away.

    def far; run; end

    x = 1 # about x
    def after; run; end

    # Is empty for now.
    def empty; end

    # Is left to others.
    def later; raise NotImplementedError; end

    # Reads the value.
    def value
      @value
    end
  end
end

=begin
Adds one to it.
=end
def add(x) = x.succ + 1

# Squares the number given.
SQUARE = ->(x) { x * run(x) }
"""

GO = """// Package p does things.
package p

// Add returns the sum of [Number]s.
//
//\tAdd(1, 2)
//
//go:noinline
func Add(a, b int) int {
\treturn a +
\t\tb
}

/*
Get finds the item.
*/
func (s *Store[K, V]) Get(k K) V {
\treturn s.find(`raw
 kept`, k)
}

// far away.

func far() { go1() }

var a = 1 // about a
func after() { go1() }

// Run runs.
var Run = func() { go1() }

// asm is elsewhere.
func asm(a int) int

// TestIt tests it.
func TestIt(t *testing.T) { go1() }

// Name is the name.
func (Store) Name() string { return s.name }

// todo panics for now.
func todo() { panic("not implemented") }
"""

# Name -> prose, first and last line of the code (a single one: all of it), fault.
EXPECTED: dict[str, tuple[str, dict[str, tuple[str, str, str | None]]]] = {
    "java": (
        JAVA,
        {
            "Outer.add@12": ("Adds a < b to the list & returns it.", "@Override", None),
            "Outer.add@24": ("Adds two of them.", "int add(int a, int b) { return a + b + 1; }", None),
            "Outer.Inner.run": ("Runs it all the way.", "@Deprecated", None),
            "Outer.Inner.Inner": ("Makes one.", "Inner() { super(); }", "constructor"),
            "Outer.Inner.getName": (
                "Gives the name.",
                "String getName() { return this.name; }",
                "accessor (one field or constant)",
            ),
            "Outer.Inner.setName": (
                "Sets the name.",
                "void setName(String name) { this.name = name; }",
                "accessor (one field or constant)",
            ),
            "Outer.Inner.later": ("Is abstract here.", "abstract void later();", "stub (no body)"),
            "Outer.Inner.never": (
                "Is not there yet.",
                'void never() { throw new UnsupportedOperationException("no"); }',
                "stub (no body)",
            ),
            "Outer.Inner.works": ("Checks that it works.", "@Test", "test function"),
        },
    ),
    "javascript": (
        JAVASCRIPT,
        {
            "make": ("Makes a list of items.", "function make(n) {", None),
            "Foo.bar": (
                "Not an own one, being of a plain comment.",
                "Foo.prototype.bar = function () { make(2); };",
                None,
            ),
            "default": (
                "Is the default of the module.",
                "export default function () { return go(); }",
                None,
            ),
            "fetch": ("Fetches the page.", "export const fetch = async (url) => {", None),
            "one.two": (
                "Exports one of them.",
                "module.exports.one = exports.two = function* () { yield 1; };",
                None,
            ),
            "Box.open": ("Opens the box.", "@bound", None),
            "Box.constructor": ("Makes a box.", "constructor() { super(); }", "constructor"),
            "Box.#shut": ("Shuts the box.", "#shut = () => { this.lid(); }", None),
            "Box.size": (
                "Gives the size.",
                "get size() { return this.n; }",
                "accessor (one field or constant)",
            ),
            "tools.cut": ("Cuts it in two.", "cut: function (a) { return saw(a); }", None),
            "tools.glue-it": ("Glues it together.", "'glue-it'(a) { return glue(a); }", None),
        },
    ),
    "php": (
        PHP,
        {
            "join": ("Joins the strings.", "#[Pure]", None),
            "C.inherited": ("", "public function inherited() { return f(1); }", None),
            "C.find": ("Finds what is wanted.", "public static function find(int $a): ?int", None),
            "C.__construct": ("Makes a C.", "public function __construct() { f(); }", "constructor"),
            "C.__get": (
                "Gets any property.",
                "public function __get($name) { return f($name); }",
                "magic method",
            ),
            "C.later": (
                "Is to be filled in.",
                "abstract protected function later();",
                "stub (no body)",
            ),
            "C.name": (
                "Gets the name.",
                "public function name() { return $this->name; }",
                "accessor (one field or constant)",
            ),
            "double": (
                "Doubles its argument.",
                "$double = function ($x) use ($y) { return f($x); };",
                None,
            ),
        },
    ),
    "ruby": (
        RUBY,
        {
            "A.B.C.first": (
                "Finds the first of them, see the other.",
                "sig { params(a: Integer).void }",
                None,
            ),
            "A.B.C.all": ("Makes all of them at once.", "def self.all; new.run; end", None),
            "A.B.C.visible?": ("Is :nodoc: here.", "def visible?; run; end", None),
            "A.B.C.hidden": ("", "def hidden; run; end", None),
            "A.B.C.initialize": ("Makes a new one.", "def initialize; run; end", "constructor"),
            "A.B.C.empty": ("Is empty for now.", "def empty; end", "stub (no body)"),
            "A.B.C.later": (
                "Is left to others.",
                "def later; raise NotImplementedError; end",
                "stub (no body)",
            ),
            "A.B.C.value": ("Reads the value.", "def value", "accessor (one field or constant)"),
            "add": ("Adds one to it.", "def add(x) = x.succ + 1", None),
            "SQUARE": ("Squares the number given.", "SQUARE = ->(x) { x * run(x) }", None),
        },
    ),
    "go": (
        GO,
        {
            "Add": ("Add returns the sum of Numbers.", "func Add(a, b int) int {", None),
            "Store.Get": ("Get finds the item.", "func (s *Store[K, V]) Get(k K) V {", None),
            "Run": ("Run runs.", "var Run = func() { go1() }", None),
            "asm": ("asm is elsewhere.", "func asm(a int) int", "stub (no body)"),
            "TestIt": ("TestIt tests it.", "func TestIt(t *testing.T) { go1() }", "test function"),
            "Store.Name": (
                "Name is the name.",
                "func (Store) Name() string { return s.name }",
                "accessor (one field or constant)",
            ),
            "todo": (
                "todo panics for now.",
                'func todo() { panic("not implemented") }',
                "stub (no body)",
            ),
        },
    ),
}


def found(language: str, source: str) -> dict[str, Function]:
    functions = LANGUAGES[language].find(source.encode(), 60.0).functions
    assert functions is not None
    return {function.name: function for function in functions}


@pytest.mark.parametrize("language", EXPECTED)
def test_what_is_found(language: str) -> None:
    source, expected = EXPECTED[language]
    functions = found(language, source)
    prose = LANGUAGES[language].prose
    assert {
        name: (prose(function.doc), function.code.split("\n")[0], function.fault)
        for name, function in functions.items()
    } == expected


@pytest.mark.parametrize("language", EXPECTED)
def test_the_code_is_the_source_without_its_documentation(language: str) -> None:
    """Each line of the code is the file's line at its span, but for the indentation."""
    source = EXPECTED[language][0]
    lines = source.split("\n")
    for function in found(language, source).values():
        first, last = function.span
        there = [line.strip() for line in lines[first - 1 : last]]
        if function.name == "Outer.Inner.run":
            there.remove("/** Runs it all the way. */")
        code = [line.strip() for line in function.code.split("\n")]
        assert code[1:-1] == there[1:-1], function.name
        assert there[0].startswith(code[0]) or there[0].endswith(code[0])
        assert there[-1].startswith(code[-1]) or there[-1].endswith(code[-1])
        prose = LANGUAGES[language].prose(function.doc)
        assert not prose or prose not in function.code


def test_dedented_but_for_what_stands_in_literals() -> None:
    java = found("java", JAVA)["Outer.add@12"].code
    assert java == (
        '@Override\n@SuppressWarnings({"x", "y"})\npublic int add(int a) throws Exception {\n    // keep this\n'
        '    String text = """\n            kept\n          as it is\n            """;\n'
        "    return a + text.length();\n}"
    )
    assert found("java", JAVA)["Outer.Inner.run"].code.startswith("@Deprecated\nvoid run() {\n    Runnable r")
    javascript = found("javascript", JAVASCRIPT)["make"].code
    assert javascript.endswith("    return `a\n  ${inner()}\nb`;\n}".replace("    return", "  return"))
    php = found("php", PHP)
    assert php["join"].code.endswith("    return <<<TXT\n  kept $a\nTXT . strtoupper($a);\n}")
    assert "    $x = 'two\n lines';\n    return" in php["C.find"].code
    ruby = found("ruby", RUBY)["A.B.C.first"].code
    assert ruby == (
        "sig { params(a: Integer).void }\nprivate def first(a)\n  text = <<~TXT\n          kept\n"
        "        as it is\n      TXT\n  text * a\nend"
    )
    assert found("go", GO)["Store.Get"].code.endswith("(k K) V {\n\treturn s.find(`raw\n kept`, k)\n}")


BROKEN = {
    "java": "class A {\n  /** Sound one. */\n  int f() { return g(1); }\n  /** Broken one. */\n  int b( { return 1 +; }\n}\n",
    "javascript": "/** Sound one. */\nfunction f() { return g(1); }\n/** Broken one. */\nfunction b() { return 1 + ; }\n",
    "php": "<?php\n/** Sound one. */\nfunction f() { return g(1); }\n/** Broken one. */\nfunction b() { return 1 + ; }\n",
    "ruby": "# Sound one.\ndef f\n  g(1)\nend\n# Broken one.\ndef b\n  g(1 + )\nend\n",
    "go": "package p\n\n// Sound one.\nfunc f() { g(1) }\n\n// Broken one.\nfunc b() { g(1 + ) }\n",
}


@pytest.mark.parametrize("language", BROKEN)
def test_a_syntax_error_spares_the_sound_functions(language: str) -> None:
    whole = LANGUAGES[language].find(BROKEN[language].encode(), 60.0)
    assert whole.broken
    assert whole.functions is not None
    sound = [function.name.rpartition(".")[2] for function in whole.functions if function.fault is None]
    assert sound == ["f"]
    assert all(function.fault == "function with a syntax error" for function in whole.functions[1:])


@pytest.mark.parametrize(
    ("language", "doc", "prose"),
    [
        ("java", "/** One.\n * Two.\n */", "One. Two."),
        ("java", "/** {@inheritDoc} */", ""),
        ("java", "/** @return the sum */", ""),
        ("java", "/** Gets it.<p>More. */", "Gets it."),
        ("java", "/** <p>Gets <i>it</i>:<ul><li>a</ul> */", "Gets it:"),
        ("java", "/** Compares {@code Map<K, V>} to {@literal <b>}. */", "Compares Map<K, V> to <b>."),
        ("java", "/** See {@linkplain Zone#get() the {@code Zone}} now. */", "See the Zone now."),
        ("java", "/** Uses {@link #add(int, int)}.\n * <pre>{@code\n * x\n * }</pre>\n */", "Uses add."),
        ("java", "/** {@return the number of items} */", "Returns the number of items."),
        ("javascript", "/**\n * Does it.\n *\n * More.\n */", "Does it."),
        ("javascript", "/**\n * Does it:\n * - a\n * - b\n */", "Does it:"),
        ("javascript", "/**\n * Does it.\n * ```js\n * it()\n * ```\n */", "Does it."),
        ("javascript", "/** @private */", ""),
        ("javascript", "/** If a < b and b > c it does. */", "If a < b and b > c it does."),
        ("php", "/** Finds {@see A::b()} &mdash; here. */", "Finds A.b — here."),
        ("ruby", "# Does it.\n#\n# More.", "Does it."),
        ("ruby", "# == Heading\n# Does it:\n# * a\n# * b", "Does it:"),
        ("ruby", "# Does it:\n#   code\n# more.", "Does it:"),
        ("ruby", "#--\n# private\n#++\n# Does it.", "Does it."),
        ("ruby", "# See {the site}[https://x.y] for \\Foo.", "See the site for Foo."),
        ("ruby", "# @param a [X] no", ""),
        ("ruby", "# Returns {Foo::Bar} or {#baz that}.", "Returns Foo::Bar or that."),
        ("go", "// F does it.\n// More of it.\n//\n// Rest.", "F does it. More of it."),
        ("go", "//go:generate x\n//nolint:all\n// F does it.", "F does it."),
        ("go", "/*\n * F does it.\n */", "F does it."),
        ("go", "// F does:\n//   - a\n//   - b", "F does:"),
        ("go", "// F reads a[i] and [io.Reader] and [x](y).", "F reads a[i] and io.Reader and [x](y)."),
    ],
)
def test_prose(language: str, doc: str, prose: str) -> None:
    assert LANGUAGES[language].prose(doc) == prose


def test_what_stands_in_an_undocumented_function_is_found_by_itself() -> None:
    source = "function outer() {\n  /** Does it well. */\n  function inner() { go(); }\n}\n"
    assert list(found("javascript", source)) == ["outer.inner"]
    assert list(found("javascript", "/** Has one inside. */\n" + source)) == ["outer"]
    named = "var outer = function outer() {\n  /** Does it well. */\n  function inner() { go(); }\n};\n"
    assert list(found("javascript", named)) == ["outer.inner"]


def test_documentation_on_the_functions_own_line_is_no_indentation() -> None:
    source = "class A {\n    /** Says it here. */ public int f(int a) {\n        if (a > 1) {\n            return 2;\n        }\n        return a;\n    }\n}\n"
    code = found("java", source)["A.f"].code
    assert code == "public int f(int a) {\n    if (a > 1) {\n        return 2;\n    }\n    return a;\n}"


def test_a_string_that_goes_on_keeps_its_blanks() -> None:
    source = (
        "class A {\n  /** Gives a text. */\n  f() {\n    var s = 'a \\\n      b';\n    return g(s);\n  }\n}\n"
    )
    assert "'a \\\n      b'" in found("javascript", source)["A.f"].code


def test_names_that_only_look_like_constructors_and_tests() -> None:
    javascript = (
        "class A {\n  /** Takes it apart. */\n  deconstructor(a) {\n    a.b();\n    return g(a);\n  }\n}\n"
    )
    assert found("javascript", javascript)["A.deconstructor"].fault is None
    go = (
        "package p\n\n// Close ends it all.\nfunc (s *TestServer) Close() int {\n\ts.a()\n\treturn s.b()\n}\n"
    )
    assert found("go", go)["TestServer.Close"].fault is None
    ruby = "class A\n  # Signs it well.\n  sig = 1\n  def run(a)\n    b(a)\n    a + 1\n  end\nend\n"
    assert "A.run" not in found("ruby", ruby)
