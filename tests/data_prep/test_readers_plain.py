"""Plain text: packed files, WikiText by articles, long files in parts, and what a cut file says."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from data_prep.documents import Document, find_documents, read_documents
from data_prep.readers import kind_of, plain
from data_prep.report import Report


def read(path: Path, report: Report | None = None) -> list[Document]:
    return list(read_documents(find_documents([path]), report or Report()))


def pack(raw: bytes, suffix: str) -> bytes:
    return gzip.compress(raw) if suffix == ".gz" else zstandard.compress(raw)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", ".txt"),
        ("a.md.gz", ".md"),
        ("a.b.rst.zst", ".rst"),
        ("a.jsonl.gz", ".jsonl"),
        ("a.warc.gz", ".warc"),
        ("a.warc.wet.gz", ".wet"),
        ("a.parquet", ".parquet"),
        ("a.parquet.gz", None),
        ("a.gz", None),
        ("a.tar.gz", None),
        ("a.py", None),
    ],
)
def test_the_suffix_names_the_reader(name: str, kind: str | None) -> None:
    assert kind_of(Path("folder.txt", name)) == kind


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_packed_files_are_one_stream(tmp_path: Path, suffix: str) -> None:
    """Members and frames after one another are one file, as `cat a.gz b.gz` means them."""
    path = tmp_path / f"a.md{suffix}"
    path.write_bytes(b"".join(pack(part.encode(), suffix) for part in ("# Héad\r\n", "\r\n", "Text ä.\n")))
    assert read(path) == [Document(path.name, ".md", "# Héad\n\nText ä.\n")]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_cut_file_is_a_loss(tmp_path: Path, suffix: str, encoding: str) -> None:
    """What came before the cut is kept up to its last whole line; the loss is counted and named."""
    text = "".join(f"Line {i} é of the text.\n" for i in range(50_000))
    path, report = tmp_path / f"a.txt{suffix}", Report()
    packed = pack(text.encode(encoding), suffix)
    path.write_bytes(packed[: len(packed) // 2])
    (document,) = read(path, report)
    assert text.startswith(document.text)
    assert len(text) > len(document.text) > len(text) // 10
    assert report.named == [("file cut short, its rest", path.name)]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_every_cut_is_noticed(tmp_path: Path, suffix: str) -> None:
    packed = pack(b"first line\n", suffix) + pack(b"second line\n", suffix)
    path, whole = tmp_path / f"a.txt{suffix}", len(pack(b"first line\n", suffix))
    for size in range(1, len(packed)):
        path.write_bytes(packed[:size])
        report = Report()
        read(path, report)
        assert bool(report.named) == (size != whole), size


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_damaged_file_is_a_loss(tmp_path: Path, suffix: str) -> None:
    path, report = tmp_path / f"a.txt{suffix}", Report()
    path.write_bytes(b"no packed file at all, but some text")
    read(path, report)
    assert report.named == [("file damaged, its rest", path.name)]


WIKI = """
 = First article =

 Prose of the first well @-@ known one , 1 @,@ 000 words @.@

 = = A section = =

 More , with a line
 = no heading =
 inside .

 = Second =\x20
\x20
 Its prose .

 = First article =

 Another one .
"""


def test_wikitext_is_cut_into_articles(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text(WIKI)
    documents = read(tmp_path / "w.txt")
    assert [document.name for document in documents] == [
        "w.txt#First article",
        "w.txt#Second",
        "w.txt#First article@16",
    ]
    assert documents[0].text.splitlines() == [
        "First article",
        "",
        " Prose of the first well-known one , 1,000 words @.@",
        "",
        "A section",
        "",
        " More , with a line",
        "no heading",
        " inside .",
        "",
    ]
    assert documents[1].text.splitlines()[0] == "Second"
    assert {document.kind for document in documents} == {".wiki"}
    assert documents[2].meta == {"title": "First article@16"}


def test_a_heading_alone_makes_no_wikitext(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Prose first.\n\n = Title = \n\nMore.\n")
    (tmp_path / "b.md").write_text(" = Title = \n\nMore.\n")
    assert [document.kind for document in read(tmp_path)] == [".txt", ".md"]


def test_a_long_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "PART_CHARS", 100)
    text = "".join(f"Paragraph {i} of the corpus.\nIts end.\n\n" for i in range(20))
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.txt").write_text("word " * 1000)
    report = Report()
    documents = read(tmp_path, report)
    parts = [document for document in documents if "a.txt" in document.name]
    assert "".join(part.text for part in parts) == text
    assert [part.name for part in parts[:2]] == [f"{tmp_path.name}/a.txt#part-{k}" for k in (1, 2)]
    assert all(part.text.endswith("\n\n") for part in parts if part.text)
    assert len(parts) > 5
    assert report.kept["files over 100 characters, read in parts"] == 2
