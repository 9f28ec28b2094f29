"""Quality rules: each says no to a text of its kind, and all say yes to prose in several scripts."""

from __future__ import annotations

import pytest

from data_prep.errors import DataError
from data_prep.quality import QualityRules, quality_reason

PROSE = (
    "The expedition left the harbour at dawn, and by noon the coast had sunk below the horizon. "
    "Nobody spoke of turning back, though the barometer kept falling and the crew was uneasy."
)
ITEMS = "\n".join(f"- {word}" for word in ("Home page", "About us", "Our prices", "Contact us", "Imprint"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Read on.", "text under 5 words"),
        ("word and " * 3000, "text over 20,000 characters"),
        ("1998 23 4501 88 1203 77 total 12 9 1500 sum 44", "mostly digits"),
        ("a := {[<$%&>]} / b ;; (( c )) ++ == d -- ## e || f", "mostly signs"),
        ("t h i s i s s p e l l e d o u t f o r y o u", "words too short"),
        (
            "aGVsbG8gd29ybGQgdGhpcyBpcyBhIHRlc3Q= bW9yZW9mdGhlc2FtZXRoaW5n cXdlcnR5dWlvcGFzZGZnaGprbA eHl6eHl6eHl6eHl6eHl6 YWJjZGVmZ2hpamts",
            "words too long",
        ),
        (ITEMS, "mostly list items"),
        ("\n".join(f"{PROSE[:40]} part {i} ..." for i in range(4)), "mostly cut-off lines"),
        ("This site uses cookies to make it better.\nThe weather of the week to come.", "boilerplate"),
        ("\n".join(["A line that is said again and again here."] * 3 + ["And one more."]), "lines repeated"),
        ("buy now or miss the chance " * 8, "words repeated"),
    ],
)
def test_each_rule_has_its_reason(text: str, reason: str) -> None:
    assert quality_reason(text, QualityRules()) == reason


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
        "Всё смешалось в доме Облонских. Жена узнала, что муж был в связи с бывшею гувернанткою.",
        "1. Turn the knob until the lamp lights up, and wait for about two minutes before you go on with it.\n"
        "2. Lift the cover with both hands; never by its edge, which is sharp and breaks at once.\n"
        "3. Clean what lies under it with a dry cloth, and put the cover back in its place.",
        PROSE
        + " The museum, it says in its privacy policy, keeps no list of those who visit the ship. "
        + PROSE[:40],
        "He could not go on...\nAnd yet he went, since nobody else would have done it for him.\nThe rest is known.",
    ],
)
def test_prose_passes(text: str) -> None:
    assert quality_reason(text, QualityRules()) is None


def test_english_is_an_option() -> None:
    rules = QualityRules(min_stop_words=2)
    assert quality_reason(PROSE, rules) is None
    german = "Stattlich und feist erschien Buck Mulligan am Treppenaustritt, ein Seifenbecken in Händen."
    assert quality_reason(german, QualityRules()) is None
    assert quality_reason(german, rules) == "too few English function words"


def test_limits_are_checked() -> None:
    with pytest.raises(DataError, match="min_words -1"):
        QualityRules(min_words=-1)
