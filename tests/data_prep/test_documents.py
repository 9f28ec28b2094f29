"""Finding and reading documents: names, encodings, rows, and what cannot be read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.documents import find_documents, read_documents
from data_prep.errors import DataError
from data_prep.readers import ReadRules
from data_prep.report import Report


def read(root: Path, report: Report | None = None, field: str = "text") -> dict[str, str]:
    rules = ReadRules(text_field=field)
    documents = read_documents(find_documents([root]), report or Report(), rules=rules)
    return {document.name: document.text for document in documents}


def test_names_do_not_depend_on_the_place(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    for name in ("b.txt", "a/c.md", "a/d.rst", "no.py", "no.html"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    names = ["corpus/a/c.md", "corpus/a/d.rst", "corpus/b.txt"]
    assert [name for name, _ in find_documents([root])] == names
    assert [name for name, _ in find_documents([root / "a", root, root / "b.txt"])] == names
    assert [name for name, _ in find_documents([root / "b.txt"])] == ["b.txt"]


def test_encodings_and_line_ends(tmp_path: Path) -> None:
    (tmp_path / "bom.txt").write_bytes("\ufeffé\r\nb\rc\n".encode())
    (tmp_path / "old.txt").write_bytes("caf\u00e9 \u2019".encode("cp1252"))
    (tmp_path / "bad.txt").write_bytes(b"\x81\x8d")
    report, root = Report(), tmp_path.name
    assert read(tmp_path, report) == {f"{root}/bom.txt": "é\nb\nc\n", f"{root}/old.txt": "caf\u00e9 \u2019"}
    assert report.kept == {"files read": 2, "files read as cp1252 where they are no UTF-8": 1}
    assert report.named == [("file neither UTF-8 nor cp1252", f"{root}/bad.txt")]


def test_single_bad_bytes_do_not_change_the_rest(tmp_path: Path) -> None:
    (tmp_path / "mixed.txt").write_bytes("é \u201d ".encode() + "café".encode("cp1252") + "\nü\n".encode())
    report = Report()
    assert list(read(tmp_path, report).values()) == ["é \u201d café\nü\n"]
    assert report.kept["files read as cp1252 where they are no UTF-8"] == 1


def test_links_keep_their_names_and_pipes_are_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("text of the blob")
    (tmp_path / "link.txt").symlink_to(tmp_path / "blob")
    assert find_documents([tmp_path / "link.txt"]) == [("link.txt", tmp_path / "link.txt")]
    os.mkfifo(tmp_path / "pipe.txt")
    report = Report()
    assert list(read(tmp_path, report).values()) == ["text of the blob"]
    assert report.named == [("no plain file", f"{tmp_path.name}/pipe.txt")]


def test_two_files_of_one_name_are_refused_before_the_work(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jsonl").write_text("")
    paths = [tmp_path / "a" / "x.jsonl", tmp_path / "b" / "x.jsonl"]
    with pytest.raises(DataError, match=r"a/x\.jsonl and .*b/x\.jsonl: have one name; give a folder"):
        find_documents(paths)
    assert len(find_documents([tmp_path])) == 2


def test_a_folder_that_cannot_be_read_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(root: Path, onerror: Callable[[OSError], None]) -> list[object]:
        onerror(PermissionError(13, "Permission denied", f"{root}/secret"))
        return []

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(DataError, match="secret: cannot be read"):
        find_documents([tmp_path])


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("name")
    report = Report()
    assert list(read(tmp_path, report).values()) == ["good"]
    assert sorted(reason for reason, _ in report.named) == ["file name not UTF-8", "file not readable"]
    report.table().encode()


def test_rows_are_documents(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows = [{"body": "one \u2028 line", "id": "k"}, {"body": "two"}]
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert read(path, field="body") == {"d.jsonl#k": "one \u2028 line", "d.jsonl#3": "two"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "d.jsonl: row 2: not JSON"),
        ("1" * 5000, "d.jsonl: row 2: not JSON"),
        ("[1]", "d.jsonl: row 2: no text under 'text'; name the field with --text-field"),
        ('{"text": 5}', "d.jsonl: row 2: no text under 'text'"),
        ('{"text": "\\ud800"}', "d.jsonl: row 2: holds half a surrogate pair"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "fine"}\n' + line)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(message)


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.txt, \.md, \.rst, \.jsonl, \.parquet, \.warc, \.wet files"):
        find_documents([tmp_path])
    with pytest.raises(DataError, match="absent: no such path"):
        find_documents([tmp_path / "absent"])
