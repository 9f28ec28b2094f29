"""Nothing that stands in a result file becomes markup of the page or of the markdown table."""

from __future__ import annotations

from html.parser import HTMLParser

from eval_suite.leaderboard.markdown import markdown
from eval_suite.leaderboard.page import page
from eval_suite.leaderboard.published import boards, published_sets
from eval_suite.leaderboard.view import View, views

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>|$x ${y}"


class Strict(HTMLParser):
    """Counts scripts, and what must not be there."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.bad = 0, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.bad += tag == "img" or any(name.startswith("on") for name, _ in attrs)


def hostile(make_result) -> list[View]:
    points = [
        make_result(
            "CR", f"{EVIL}/step-{step}", 0.8, model={"parameters": 5 * step, "step": step, "run": EVIL}
        )
        for step in (1, 2)
    ]
    others = [
        make_result("CR", EVIL, 0.7, protocol=EVIL, warnings=[EVIL], settings={EVIL: EVIL}),
        make_result(EVIL, "plain", 0.6, family=EVIL),
    ]
    return views([*points, *others], boards(), published_sets())


def test_the_page_has_its_own_script_alone(make_result) -> None:
    parser = Strict()
    parser.feed(page(EVIL, EVIL, hostile(make_result)))
    assert (parser.scripts, parser.bad) == (1, 0)


def test_the_markdown_has_no_markup(make_result) -> None:
    text = markdown(EVIL, hostile(make_result))
    assert "<script" not in text
    assert "<img" not in text
    table = [line for line in text.splitlines() if line.startswith("|") and "step-1" in line]
    assert len(table) == 2  # the probes' table and the one of averages
