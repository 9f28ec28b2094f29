"""The audit's three forms: strict JSON, aligned lines, and a page in which texts cannot become markup."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest

from lightning_cpt.audit.report import COLUMNS, MEANING, json_text, page, table


def line(**changes: Any) -> dict[str, Any]:
    return {**dict.fromkeys(MEANING), "pairs": 1200, "share_had": 0.75, "audited_pairs": 64, **changes}


@pytest.fixture
def audit() -> dict[str, Any]:
    pair = {
        "source": "code",
        "step": 12,
        "id": "a<b",
        "x": "<x> 1 < 2 </x>",
        "y": "<y> <script>alert(1)</script> & </y>",
        "tokens_x": 5,
        "tokens_y": 7,
        "cut_x": False,
        "cut_y": True,
    }
    return {
        "first_step": 1,
        "last_step": 12,
        "audited_steps": [1, 10, 12],
        "batch_size": 64,
        "ranks": 2,
        "sources": {"code": line(padding=0.123456789), "text": line(cut_x=0.5)},
        "all": line(pairs=2400),
        "pairs": [pair],
    }


def test_every_number_has_a_column_and_a_meaning() -> None:
    assert [key for _, key, _ in COLUMNS] == list(MEANING)


def test_the_table_has_a_row_per_source_and_one_of_all(audit: dict[str, Any]) -> None:
    lines = table(audit)
    assert [text.split()[0] for text in lines] == ["batches", "code", "text", "all"]
    assert len({len(text) for text in lines}) == 1
    assert "12.3%" in lines[1]
    assert "2,400" in lines[3]
    del audit["sources"]["text"]
    assert len(table(audit)) == 2


def test_json_is_strict_and_short(audit: dict[str, Any]) -> None:
    assert json.loads(json_text(audit))["sources"]["code"]["padding"] == 0.123457
    audit["sources"]["code"]["padding"] = float("nan")
    with pytest.raises(ValueError, match="JSON compliant"):
        json_text(audit)


class Texts(HTMLParser):
    """The tags of a page, and the text inside each <pre>."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.shown: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["pre"] and data.strip():
            self.shown.append(data)


def test_the_page_shows_texts_as_they_are(audit: dict[str, Any]) -> None:
    found = Texts()
    found.feed(page(audit))
    assert found.shown == [audit["pairs"][0]["x"], audit["pairs"][0]["y"]]
    assert "script" not in found.tags
    assert found.tags.count("td") == 3 * (len(COLUMNS) + 1)
