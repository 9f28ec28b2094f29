"""`cpt leaderboard`: the files it writes, and the page as a real browser runs it."""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from eval_suite.errors import EvalError
from eval_suite.leaderboard import cli

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """
<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
</script>
"""
ACTIONS = """
<pre id="found"></pre>
<script>
const names = (i) => [...document.querySelectorAll("#probe tbody")[i].querySelectorAll("tr[data-name]")]
  .filter((row) => row.offsetParent).map((row) => row.dataset.name);
const click = (label) => [...document.querySelectorAll("#probe thead button")].find((b) => b.textContent === label).click();
const state = () => [...document.querySelectorAll("#probe thead th")].map((th) => th.getAttribute("aria-sort"));
const set = (id, value) => { byId(id).checked = value; byId(id).dispatchEvent(new Event("change")); };
const type = (text) => { byId("find").value = text; byId("find").dispatchEvent(new Event("input")); };
const found = {start: names(0), wide: document.documentElement.scrollWidth <= innerWidth};
click("CR"); found.down = names(0); found.published = names(2).slice(0, 2); found.state = state()[3];
click("CR"); found.up = names(0); found.apart = names(1);
click("model"); found.byName = names(0);
type("low"); found.filtered = names(0); found.bodies = [...document.querySelectorAll("#probe tbody")].filter((b) => !b.hidden).length;
found.count = byId("count").value; found.marks = [...document.querySelectorAll("#probe figure g:not([hidden])")].length;
type(""); set("published", false); found.ours = document.querySelectorAll("#probe tr.published:not([hidden])").length;
set("published", true); set("intervals", false); found.interval = getComputedStyle(document.querySelector("#probe .ci")).display;
const before = getComputedStyle(document.body).backgroundColor; byId("theme").click();
found.theme = before !== getComputedStyle(document.body).backgroundColor;
found.errors = errors;
byId("found").textContent = JSON.stringify(found);
</script>
"""


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser(prog="cpt")
    cli.add_commands(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["leaderboard", *map(str, arguments)])
    status: int = parsed.func(parsed)
    return status


@pytest.fixture
def page(make_result, tmp_path: Path) -> Path:
    """A page of three encoders, two checkpoints of a run, one other setting, and a hostile name."""
    shares = {"<b>high|</b>": 0.9, "low": 0.6, "middle": 0.75}
    for name, share in shares.items():
        for task in ("CR", "TREC"):
            make_result(task, name, share, warnings=["a tie in 9 %"] if name == "low" else []).write(
                tmp_path / "r"
            )
    for step in (100, 200):
        model = {"step": step, "parameters": 29_000_000}
        make_result(
            "CR", f"ckpt:run/step={step}", 0.7 + step / 5000, fingerprint=f"{step}" * 4, model=model
        ).write(tmp_path / "r")
    make_result("CR", "other", 0.95, settings={"grid": [9.0]}).write(tmp_path / "r")
    assert run(tmp_path / "r", "--out", tmp_path / "new" / "page.html") == 0
    return tmp_path / "new" / "page.html"


def test_the_page_asks_nothing_of_a_network(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"""(src|href)=["']?(https?:)?//|url\(|@import|fetch\(|XMLHttp""", text)
    assert sorted(p.name for p in page.parent.iterdir()) == ["page.html", "page.md"]


def test_names_are_text_in_both_files(page: Path) -> None:
    assert "<b>high" not in page.read_text()
    assert "&lt;b&gt;high|&lt;/b&gt;" in page.read_text()
    table = page.with_suffix(".md").read_text()
    row = next(line for line in table.splitlines() if line.startswith("| ") and "high" in line)
    assert row.startswith("| &lt;b&gt;high\\|&lt;/b&gt;")
    assert len(re.findall(r"(?<!\\)\|", row)) == 10  # model, average and seven tasks


def test_the_markdown_has_intervals_letters_marks_and_notes(page: Path) -> None:
    text = page.with_suffix(".md").read_text()
    assert "**90.00** [88.0, 92.0] a |" in text
    assert "– (2 of 7)" in text
    assert "settings.grid: \\[9.0\\] (\\[0.5, 1.0\\] in the first ranking)" in text
    assert re.search(r"92\.2<sup>‡\d+</sup>", text)
    assert "- ! low, CR: a tie in 9 %" in text


def test_the_same_results_give_the_same_bytes(page: Path, tmp_path: Path) -> None:
    run(tmp_path / "r", "--out", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_the_plots_are_there(page: Path) -> None:
    text = page.read_text()
    for caption in (
        "Score by task, with 95 % intervals",
        "CR over training steps",
        "CR by number of parameters",
    ):
        assert f"<figcaption>{caption}" in text


def test_mistakes_are_one_line_and_write_nothing(make_result, tmp_path: Path) -> None:
    make_result("CR", "a", 0.8).write(tmp_path / "r")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("in the way")
    for arguments, words in [
        ([tmp_path / "empty", "--out", tmp_path / "o.html"], "no results"),
        ([tmp_path / "r", "--out", tmp_path / "o.pdf"], "must end in .html"),
        ([tmp_path / "r", "--out", tmp_path / "file" / "o.html"], "cannot be written"),
    ]:
        with pytest.raises(EvalError, match=words):
            run(*arguments)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "r"]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
def test_a_real_browser_sorts_filters_and_has_no_error(page: Path, tmp_path: Path) -> None:
    trial = tmp_path / "trial.html"
    text = page.read_text().replace("<head>", f"<head>{PROBE}", 1).replace("</body>", f"{ACTIONS}</body>", 1)
    trial.write_text(text)
    done = _browser("--window-size=390,900", "--dump-dom", "--enable-logging=stderr", trial.as_uri())
    assert not re.findall(r"CONSOLE.*", done.stderr)
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
    assert match, done.stdout[-500:]
    found: dict[str, Any] = json.loads(html.unescape(match[1]))
    ours = ["<b>high|</b>", "middle", "low", "ckpt:run/step=200", "ckpt:run/step=100"]
    by_score = ["<b>high|</b>", "middle", "ckpt:run/step=200", "ckpt:run/step=100", "low"]
    assert found["start"] == ours  # with both tasks first, though none has an average
    assert found["down"] == by_score
    assert found["up"] == by_score[::-1]
    assert found["state"] == "descending"
    assert found["apart"] == ["other"]  # the best score of all, and still not in their ranking
    assert found["published"] == ["cpt-text xl", "cpt-text l"]
    assert found["byName"] == sorted(ours)
    assert found["filtered"] == ["low"]
    assert (found["bodies"], found["ours"], found["interval"]) == (1, 0, "none")
    assert found["count"].startswith("2 of ")  # "low" is on two boards
    assert found["marks"] > 0
    assert found["theme"]
    assert found["wide"]
    assert found["errors"] == []


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
def test_a_screenshot_shows_more_than_paper(page: Path, tmp_path: Path) -> None:
    shot = tmp_path / "page.png"
    _browser("--window-size=1280,900", f"--screenshot={shot}", page.as_uri())
    assert shot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert shot.stat().st_size > 40_000  # an empty page is about 5 kB


def _browser(*arguments: str) -> subprocess.CompletedProcess[str]:
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--virtual-time-budget=2000",
    ]
    assert BROWSER is not None
    return subprocess.run(
        [BROWSER, *flags, *arguments], capture_output=True, text=True, timeout=120, check=True
    )
