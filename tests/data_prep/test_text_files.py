"""Mining files: the same pairs and the same account out of one process and of several."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from data_prep import text_files
from data_prep.documents import find_documents
from data_prep.errors import DataError
from data_prep.readers import ReadRules
from data_prep.report import Report
from data_prep.text import TextRules
from data_prep.text_files import mine_files


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for i in range(7):
        text = " ".join(f"Sentence {j} of document {i} is about something." for j in range(40))
        (tmp_path / f"d{i}.txt").write_text(text)
    rows = [{"text": text, "url": f"https://e.org/{i}", "id": i} for i in range(3)]
    rows.insert(1, {"text": None})
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode())[:-4])
    (tmp_path / "f.txt").write_bytes(b"\x81")
    return tmp_path


def mine(corpus: Path, processes: int) -> tuple[list[dict[str, object]], Report, int]:
    report, seen = Report(), []
    pairs = mine_files(
        find_documents([corpus]),
        report,
        reading=ReadRules(on_bad_row="skip"),
        rules=TextRules(piece_chars=200),
        processes=processes,
        on_file=lambda: seen.append(1),
    )
    return [pair.to_dict() for pair in pairs], report, len(seen)


def test_processes_change_nothing(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "_GROUP_FILES", 2)
    alone, report, files = mine(corpus, 1)
    several, other, _ = mine(corpus, 3)
    assert several == alone
    assert len(alone) > 20
    assert files == 9
    assert other.table() == report.table()
    assert [reason for reason, _ in report.named] == [
        "row without text",
        "file cut short, its rest",
        "file neither UTF-8 nor cp1252",
    ]


def test_what_the_source_says_is_kept(corpus: Path) -> None:
    pairs, _, _ = mine(corpus, 1)
    (first, *_) = [pair for pair in pairs if "e.jsonl" in str(pair["id"])]
    name = f"{corpus.name}/e.jsonl.gz#0"
    assert first["id"] == f"{name}:0"
    assert first["meta"] == {"document": name, "span": [0, 1], "url": "https://e.org/0"}


def test_a_bad_row_stops_from_a_process_too(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "_GROUP_FILES", 2)
    with pytest.raises(DataError, match=r"e.jsonl.gz: row 2: no text under 'text'"):
        list(mine_files(find_documents([corpus]), Report(), processes=2))
