"""Data files: lines, gzip, hashes, and what is said of a corrupt one."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from eval_suite.errors import EvalError
from eval_suite.files import content_sha256, json_lines, lines, one_of
from eval_suite.tasks.files import downstream
from eval_suite.tasks.own import _rows


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\u2028still one\r\ntwo".encode())
    assert list(lines(path)) == ["one\u2028still one", "two"]


def test_gzipped_is_the_same_data(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "c.jsonl", tmp_path / "z" / "c.jsonl.gz"
    plain.write_text('{"a": 1}\n\n{"a": 2}\n')
    zipped.parent.mkdir()
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(json_lines(zipped, ["a"])) == [{"a": 1}, {"a": 2}]
    assert content_sha256([plain]) == content_sha256([zipped])
    assert one_of(zipped.parent, "x", "c.jsonl") == zipped


def test_a_cut_gzip_names_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 1000)[:-20])
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    for read in (lambda: list(lines(path)), lambda: content_sha256([path])):
        with pytest.raises(EvalError, match=rf"c.jsonl.gz: corrupt, .*sha256 is {found}"):
            read()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": ', "line 2 is no JSON"),
        ('{"b": 1}\n', "line 1 is no object with 'a'"),
        ("[1]\n", "line 1 is no object"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(text)
    with pytest.raises(EvalError, match=message):
        list(json_lines(path, ["a"]))


def test_other_faults_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(b"\xe9\n")
    with pytest.raises(EvalError, match=r"l.txt: corrupt, after line"):
        list(lines(tmp_path / "l.txt"))
    with pytest.raises(EvalError, match="cannot be read"):
        list(lines(tmp_path / "no.txt"))
    with pytest.raises(EvalError, match=r"no.txt: is not there"):
        one_of(tmp_path, "no.txt")


def test_a_linked_folder_of_tasks(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "downstream").symlink_to(tmp_path / "real")
    assert downstream(tmp_path / "data") == tmp_path / "data" / "downstream"


def test_half_a_surrogate_pair_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "\\ud83d\\ude00", "label": "a"}\n')
    assert len(_rows(path, ("text",))) == len(list(json_lines(path, ("text",)))) == 1
    path.write_text('{"text": "hi \\uD83D", "label": "a"}\n')
    for read in (lambda: _rows(path, ("text", "label")), lambda: list(json_lines(path, ("text",)))):
        with pytest.raises(EvalError, match="line 1 holds half of a surrogate pair"):
            read()
