"""The data card and the account: counts, reasons, licences, examples, contamination; nothing of the pairs is taken as markup."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.card import write_card
from data_prep.errors import DataError
from data_prep.history import HISTORY, read_history
from data_prep.pairs import Pair
from data_prep.shards import PairShards, open_splits, verify_shards, write_splits


def row(number: int, **more: object) -> str:
    x = f"What does number {number} say of {number * 7919 % 1000} and of the weather?"
    y = f"Number {number} says that {number * 104729 % 10007} ships have left the harbour since <b>noon</b> today."
    return json.dumps({"x": x, "y": y, "license": "MIT" if number % 2 else None, **more})


@pytest.fixture
def prepared(tmp_path: Path, prep: Callable[..., int]) -> Path:
    rows = [row(number) for number in range(300)]
    rows += [row(1000, y="too short"), row(1001, y="What does `number` | say of the ship? " * 3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    prep("pairs", tmp_path / "rows.jsonl", "--out", tmp_path / "pairs")
    return tmp_path / "pairs"


def test_clean_writes_shards_account_and_card(
    prepared: Path, tmp_path: Path, prep: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clean"
    assert prep("clean", prepared, "--out", out, "--text", "--english", "--near-duplicate", 0.9) == 0
    said = capsys.readouterr().out
    assert "dropped: y: text under 5 words" in said
    assert "dropped: y: words repeated" in said
    assert sorted(path.name for path in out.iterdir()) == [
        "card.html",
        "card.md",
        "history.json",
        "test",
        "train",
        "validation",
    ]
    for name in ("train", "validation", "test"):
        assert verify_shards(out / name) == []
    first, second = read_history(out)
    assert (first["command"], second["command"]) == ("cpt prep pairs", "cpt prep clean")
    assert second["options"]["near_duplicate"] == 0.9
    assert second["inputs"] == first["outputs"]
    assert second["outputs"]["train"] == PairShards.open(out / "train").fingerprint
    assert second["dropped"]["y: text under 5 words"] == 1
    assert "overwrite" not in second["options"]


def test_what_the_card_says(prepared: Path, tmp_path: Path, prep: Callable[..., int]) -> None:
    prep("clean", prepared, "--out", tmp_path / "clean", "--text")
    text = (tmp_path / "clean" / "card.md").read_text(encoding="utf-8")
    splits = open_splits(tmp_path / "clean")
    count = sum(len(shards) for shards in splits.values())
    assert f"{count:,} pairs (x, y) in 3 split(s)." in text
    for name, shards in splits.items():
        assert f"| {name} | {len(shards):,} |" in text
        assert shards.fingerprint in text
        assert text.count(f"### {name}: ") == min(3, len(shards))
    assert "| MIT |" in text
    assert "| not stated |" in text
    assert "| cpt prep clean | y: text under 5 words | 1 |" in text
    assert "█" in text
    assert "near_duplicate = 0.8" in text


def test_the_page_is_well_formed_and_needs_no_network(prepared: Path) -> None:
    page = (prepared / "card.html").read_text(encoding="utf-8")
    body = ElementTree.fromstring(page[page.index("<body>") : page.index("</html>")])
    assert len(list(body.iter("svg"))) == 6
    assert len(list(body.iter("rect"))) >= 6
    assert body.findtext("h1") == "Data card: pairs"
    assert "<b>" in "".join(body.itertext())  # as text
    assert "<script" not in page
    assert "http" not in page


def test_a_card_of_any_folder_and_the_same_twice(tmp_path: Path, prep: Callable[..., int]) -> None:
    train = [
        Pair("a", "```\nfenced", "x" * 1000, source="one", meta={"license": ["MIT", "BSD"]}),
        Pair("b", "```\nfenced", "other", source="two"),
    ]
    write_splits(tmp_path / "in", {"train": train, "test": [Pair("c", "q", "other")]}, source="s")
    assert prep("card", tmp_path / "in") == 0
    text = (tmp_path / "in" / "card.md").read_text(encoding="utf-8")
    assert "No account of earlier steps lies beside the shards." in text
    assert "| MIT, BSD | 1 |" in text
    assert "| one | 1 |" in text
    assert "````\n```\nfenced\n````" in text
    assert "[... 1,000 characters]" in text
    assert "Texts that two splits share: 0 x, 1 y, 1 of either side." in text
    prep("card", tmp_path / "in")
    assert (tmp_path / "in" / "card.md").read_text(encoding="utf-8") == text


def test_mistakes(prepared: Path, tmp_path: Path, prep: Callable[..., int]) -> None:
    with pytest.raises(DataError, match="is the folder that is read; name another one"):
        prep("clean", prepared, "--out", prepared)
    with pytest.raises(DataError, match="--english: a rule for text; add --text"):
        prep("clean", prepared, "--out", tmp_path / "out", "--english")
    with pytest.raises(DataError, match="no training pairs left"):
        prep("clean", prepared, "--out", tmp_path / "out", "--text", "--min-words", 500)
    with pytest.raises(DataError, match="near-duplicate threshold"):
        prep("clean", prepared, "--out", tmp_path / "out", "--near-duplicate", 2)
    with pytest.raises(DataError, match="no train, validation, test folder inside"):
        prep("clean", tmp_path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (prepared / HISTORY).write_text("{}")
    with pytest.raises(DataError, match=r"history\.json: damaged; delete it"):
        write_card(prepared)


def test_without_a_held_out_split(tmp_path: Path, prep: Callable[..., int]) -> None:
    write_splits(tmp_path / "in", {"train": [Pair("a", "q", "y")]}, source="s")
    assert prep("clean", tmp_path / "in", "--out", tmp_path / "out") == 0
    assert [pair["id"] for pair in open_splits(tmp_path / "out")["train"]] == ["a"]
