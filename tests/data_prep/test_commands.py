"""`cpt prep ...` in-process on tiny data: what it writes and prints; each mistake is one line and status 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.shards import PairShards, open_splits
from lightning_cpt.cli import main

FUNCTION = '''def {name}(value):
    """Give the {name} of the value back."""
    {name} = value + {number}
    return {name}


'''


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Four packages of two functions each."""
    for i, package in enumerate(("alpha", "beta", "gamma", "delta")):
        folder = tmp_path / "lib" / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        code = [FUNCTION.format(name=f"{package}{word}", number=i) for word in ("sum", "product")]
        (folder / "m.py").write_text("".join(code))
    return tmp_path / "lib"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"x": f"query {i}", "y": f"answer {i}"}) for i in range(100)))
    return path


@pytest.fixture
def prepared(tmp_path: Path, rows: Path) -> Path:
    assert cpt("pairs", rows, "--out", tmp_path / "data") == 0
    return tmp_path / "data"


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run, expect status 2 and exactly one ``cpt: error:`` line at the end of stderr; returns the message."""

    def run(*words: object) -> str:
        capsys.readouterr()
        assert cpt(*words) == 2
        err = capsys.readouterr().err
        lines = err.rstrip("\n").split("\n")
        assert err.count("cpt: error: ") == 1
        assert lines[-1].startswith("cpt: error: ")
        assert "Traceback" not in err
        return lines[-1].removeprefix("cpt: error: ")

    return run


def cpt(*words: object) -> int:
    return main(["prep", *map(str, words)])


def test_code(sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    names = ("--holdout", "beta", "--validation", "gamma", "delta", "--processes", 1)
    assert cpt("code", sources, "--out", out, *names) == 0
    printed = capsys.readouterr().out
    assert "kept: train pairs" in printed
    splits = open_splits(out)
    packages = {name: {record["meta"]["package"] for record in split} for name, split in splits.items()}
    assert packages == {"train": {"alpha"}, "validation": {"gamma", "delta"}, "test": {"beta"}}
    record = next(iter(splits["test"]))
    assert record["x"].startswith("Give the beta")
    assert '"""' not in record["y"]
    assert splits["train"].fingerprint in printed


def test_code_drops_near_duplicates_of_held_out_functions(sources: Path, tmp_path: Path) -> None:
    body = "".join(f"    value = value * {i} + {i}\n" for i in range(20))
    for package in ("alpha", "beta"):
        doc = f'def copied(value):\n    """Do a long thing in {package}."""\n{body}    return "{package}"\n'
        (sources / package / "copy.py").write_text(doc)
    out = tmp_path / "data"
    assert cpt("code", sources, "--out", out, "--holdout", "beta", "--processes", 1) == 0
    assert not [record for record in open_splits(out)["train"] if "copied" in record["id"]]
    assert [record for record in open_splits(out)["test"] if "copied" in record["id"]]


def test_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(4):
        text = " ".join(f"Sentence {j} of document {i} is about something." for j in range(40))
        (tmp_path / f"d{i}.txt").write_text(text)
    out = tmp_path / "data"
    words = ("--piece-chars", 200, "--gap", 1, "--holdout", f"{tmp_path.name}/d1.txt")
    assert cpt("text", tmp_path, "--out", out, *words) == 0
    splits = open_splits(out)
    assert {record["meta"]["document"] for record in splits["test"]} == {f"{tmp_path.name}/d1.txt"}
    spans = [record["meta"]["span"] for split in splits.values() for record in split]
    assert all(stop - start == 2 for start, stop in spans)
    assert all(len(record["x"]) <= 200 for record in splits["train"])
    assert "kept: files read" in capsys.readouterr().out


def test_text_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: Callable[..., str]) -> None:
    text = " ".join(f"Sentence {j} of the document is about something." for j in range(60))
    rows = [{"body": text.replace("about", f"about {i}")} for i in range(4)] + [{"other": 1}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = (
        "text",
        tmp_path / "rows.jsonl",
        "--text-field",
        "body",
        "--piece-chars",
        150,
        "--test-fraction",
        0,
    )
    assert "row 5: no text under 'body'" in fails(*words, "--out", tmp_path / "no")
    more = ("--min-piece-chars", 120, "--gap", 1, "--max-gap", 2, "--overlapping", "--pairs-per-document", 5)
    skip = ("--on-bad-row", "skip", "--processes", 2, "--validation-fraction", 0)
    assert cpt(*words, *more, *skip, "--out", tmp_path / "data") == 0
    assert "row without text: rows.jsonl: row 5" in capsys.readouterr().out
    records = list(open_splits(tmp_path / "data")["train"])
    assert len(records) == 20
    assert {stop - start for start, stop in (record["meta"]["span"] for record in records)} == {2, 3}
    assert fails(*words, *skip, "--max-gap", -1, "--out", tmp_path / "no").startswith("--max-gap -1")


def test_pairs_stats_head_verify(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = open_splits(prepared)
    assert sum(split.count for split in splits.values()) == 100
    capsys.readouterr()
    assert cpt("stats", prepared) == 0
    printed = capsys.readouterr().out
    for name, split in splits.items():
        assert f"{name}: {split.count} pairs" in printed
    assert cpt("head", "-n", 2, prepared) == 0
    assert capsys.readouterr().out.count("--- train: rows.jsonl:") == 2
    assert cpt("stats", prepared / "train") == 0
    assert f"train: {splits['train'].count} pairs" in capsys.readouterr().out
    assert cpt("verify", prepared) == 0
    assert capsys.readouterr().out.count(": sound") == len(splits)


def test_index_gives_the_same_fingerprint(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = PairShards.open(prepared / "train").fingerprint
    (prepared / "train" / "manifest.json").unlink()
    (prepared / "train" / "pairs-00000.idx").unlink()
    assert cpt("index", prepared / "train") == 0
    assert before in capsys.readouterr().out
    assert PairShards.open(prepared / "train").fingerprint == before


def test_tokenizer(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tokenizers import Tokenizer

    assert cpt("tokenizer", prepared, "--vocab-size", 270, "--identifiers") == 0
    assert "270 tokens" in capsys.readouterr().out
    tokenizer = Tokenizer.from_file(str(prepared / "tokenizer" / "tokenizer.json"))
    assert tokenizer.encode("QUERY").ids == tokenizer.encode("query").ids
    assert cpt("tokenizer", prepared / "train", "--vocab-size", 270, "--out", prepared / "other") == 0
    other = Tokenizer.from_file(str(prepared / "other" / "tokenizer.json"))
    assert other.encode("QUERY").ids != other.encode("query").ids


def test_overwriting(prepared: Path, rows: Path, fails: Callable[..., str]) -> None:
    before = PairShards.open(prepared / "train").fingerprint
    message = fails("pairs", rows, "--out", prepared)
    assert message.endswith("train: holds finished shards; name another folder or add --overwrite")
    assert PairShards.open(prepared / "train").fingerprint == before
    rows.write_text('{"x": "only", "y": "one"}')
    assert cpt("pairs", rows, "--out", prepared, "--overwrite", "--test-fraction", 0) == 0
    assert PairShards.open(prepared / "train").count == 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("code", "no .py, .java, .js, .mjs, .cjs, .jsx, .php, .inc, .rb, .rake, .go files"),
        ("text", "no .txt, .md, .rst, .jsonl, .parquet, .warc, .wet files"),
        ("pairs", "unknown kind; give .jsonl, .csv, .parquet files"),
    ],
)
def test_an_empty_folder(tmp_path: Path, fails: Callable[..., str], command: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    assert fails(command, tmp_path / "empty", "--out", tmp_path / "out") == f"{tmp_path}/empty: {message}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["stats", "head", "verify", "index"])
def test_no_shards(tmp_path: Path, fails: Callable[..., str], command: str) -> None:
    assert (
        fails(command, tmp_path / "absent")
        .split("absent: ")[1]
        .startswith("no such folder" if command != "verify" else "1 problem(s)")
    )
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in fails(command, tmp_path / "empty")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"x": "a"}', "row 2: no column 'y' (there: x); name it with --y-column"),
        ('{"x": "a", "y": ""}', "row 2: y is empty"),
        ('{"x": "a", "y": null}', "row 2: no y: a record needs both x and y"),
        ('{"x": "a", ', "row 2: not JSON"),
        ("\udcff", "not UTF-8 text; convert it first"),
    ],
)
def test_a_bad_record(tmp_path: Path, fails: Callable[..., str], line: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"x": "a", "y": "b"}\n' + line.encode("utf-8", "surrogateescape"))
    assert fails("pairs", path, "--out", tmp_path / "out").startswith(f"{path}: {message}")
    assert not (tmp_path / "out").exists()


def test_a_missing_column(rows: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    message = fails("pairs", rows, "--out", tmp_path / "out", "--x-column", "query")
    assert message == f"{rows}: row 1: no column 'query' (there: x, y); name it with --x-column"


def test_an_unknown_name_to_hold_out(sources: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    message = fails("code", sources, "--out", tmp_path / "out", "--holdout", "gama", "--processes", 1)
    assert message.startswith("gama: nothing by this name to hold out; there are, for example: gamma")
    assert not (tmp_path / "out").exists()


def test_equal_ids_name_both_places(tmp_path: Path, fails: Callable[..., str]) -> None:
    for name, word in (("a", "one"), ("b", "other")):
        row = {"id": "k7", "x": f"{word} query", "y": f"{word} answer"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    message = fails("pairs", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--out", tmp_path / "out")
    assert f"{tmp_path}/a.jsonl: row 1 and {tmp_path}/b.jsonl: row 1: id 'k7': two different pairs" in message
    assert not (tmp_path / "out").exists()


def test_leftovers_are_named(
    prepared: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cpt("verify", prepared) == 0
    for name in (".spill", ".pipeline"):
        (prepared / name).mkdir()
        assert "1 problem(s)" in fails("verify", prepared)
        (prepared / name).rmdir()
    (prepared / "card.md").unlink()
    cpt("verify", prepared)
    assert f"has no data card; write it with `cpt prep card {prepared}`" in capsys.readouterr().out


def test_nothing_left_to_train_on(sources: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    words = ("--holdout", "alpha", "beta", "gamma", "delta", "--processes", 1)
    assert "no training pairs" in fails("code", sources, "--out", tmp_path / "out", *words)


def test_a_shard_cut_in_half(prepared: Path, fails: Callable[..., str]) -> None:
    path = prepared / "train" / "pairs-00000.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for command in ("stats", "head"):
        assert "pairs-00000.tar" in (message := fails(command, prepared))
        assert "the shard was cut or replaced; copy or prepare it again" in message
    assert "problem(s); prepare or copy the named shards again" in fails("verify", prepared)
    assert "ends early" in fails("index", prepared / "train")
    assert "cut" in fails("tokenizer", prepared, "--vocab-size", 270)


def test_missing_extras(
    sources: Path, tmp_path: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from data_prep.code import grammar

    grammar.load.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    message = fails("code", sources, "--out", tmp_path / "out", "--processes", 1)
    assert message == "mining code needs tree-sitter: pip install 'lightning-cpt[prep]'"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"")
    message = fails("pairs", tmp_path / "t.parquet", "--out", tmp_path / "out")
    assert message == "reading .parquet needs pyarrow: pip install 'lightning-cpt[prep]'"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("text", "{rows}", "--out", "{out}", "--piece-chars", 5), "--piece-chars 5: must be 100 to 4000"),
        (("pairs", "{rows}", "--out", "{out}", "--test-fraction", 1), "split fractions 1.0 and 0.05"),
        (("pairs", "{rows}", "--out", "{rows}"), "is a file"),
        (("pairs", "{rows}"), "the following arguments are required: --out"),
        (("pears",), "invalid choice: 'pears'"),
    ],
)
def test_bad_options(
    rows: Path, tmp_path: Path, fails: Callable[..., str], words: tuple[object, ...], message: str
) -> None:
    assert message in fails(*(str(word).format(rows=rows, out=tmp_path / "out") for word in words))
