"""The whole quickstart on small made-up packages: from sources to the report, stopped, repeated, refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lightning_cpt import cli
from lightning_cpt.quickstart import corpus, run

STEPS = 12
VERBS = [
    "read",
    "write",
    "sort",
    "merge",
    "split",
    "count",
    "check",
    "parse",
    "build",
    "clean",
    "scale",
    "shift",
]
THINGS = [
    "matrix",
    "graph",
    "table",
    "queue",
    "image",
    "token",
    "vector",
    "path",
    "header",
    "record",
    "signal",
    "cluster",
]
MANNERS = [
    "quickly",
    "safely",
    "in",
    "place",
    "by",
    "name",
    "by",
    "value",
    "twice",
    "backwards",
    "in",
    "order",
    "at",
    "random",
    "lazily",
]


def function(rng: random.Random, name: str) -> str:
    verb, thing, other, manner = (rng.choice(words) for words in (VERBS, THINGS, THINGS, MANNERS))
    return (
        f"def {verb}_{thing}_{name}(value_{thing}, {other}):\n"
        f'    """{verb.title()} the {thing} {manner} with the {other}."""\n'
        f"    result_{name} = {verb}(value_{thing})\n"
        f"    for {other}_item in {other}:\n"
        f"        result_{name} += {other}_item\n"
        f"    return result_{name}\n"
    )


def package(folder: Path, modules: int, functions: int, seed: int) -> None:
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    for module in range(modules):
        body = "\n\n".join(function(rng, f"{seed}{module:02d}{number:03d}") for number in range(functions))
        (folder / f"module{module}.py").write_text(body)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages that are made up, small ones, in the place of those that are installed."""
    packages = {"held": (20, 125, 1), "watched": (1, 30, 2), "train_a": (3, 200, 3), "train_b": (2, 200, 4)}
    for name, (modules, functions, seed) in packages.items():
        package(tmp_path / "src" / name, modules, functions, seed)
    monkeypatch.setattr(corpus, "HELD_OUT", ("held",))
    monkeypatch.setattr(corpus, "VALIDATION", ("watched",))
    monkeypatch.setattr(corpus, "roots", lambda: [tmp_path / "src" / name for name in packages])
    monkeypatch.setattr(corpus, "versions", lambda: dict.fromkeys(packages, "1.0"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that were run, in this process and with few steps."""
    seen: list[tuple[str, ...]] = []
    few = [f"--trainer.max_steps={STEPS}", "--data.batch_size=64", "--data.workers=0"]

    def here(*arguments: str, shown: str | None = None) -> None:
        seen.append(arguments)
        extra = few if arguments[0] == "fit" and "--config" in arguments else []
        if status := cli.main([*arguments, *extra]):
            raise run.StageFailed(status)

    monkeypatch.setattr(run, "_cpt", here)
    monkeypatch.setattr(run.Place, "steps", property(lambda self: STEPS))
    return seen


def test_from_sources_to_the_report(
    sources: Path, commands: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = sources / "out"
    assert run.quickstart(out, None) == 0
    assert [command[:2] for command in commands] == [
        ("prep", "code"),
        ("prep", "tokenizer"),
        ("fit", "--config"),
    ]
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    keys = (
        "pairs train_seconds pairs_per_second mrr_before mrr_after mrr_bm25 probe_before probe_after mrr_bag"
    )
    assert all(report[key] > 0 for key in keys.split())
    low, high = report["mrr_minus_bm25"]
    assert low <= report["mrr_after"] - report["mrr_bm25"] <= high
    assert report["steps"] == report["steps_planned"] == STEPS
    logged = 10 * 64  # every tenth step is in the log
    assert report["train_seconds"] * report["pairs_per_second"] == pytest.approx(logged, rel=0.05)
    assert report["mrr_after"] < 1
    assert len(report["pool"]) == len(set(report["pool"])) == 1000
    assert all(name.startswith("held/") for name in report["pool"])
    page = (out / "report.html").read_text()
    assert "<svg" in page
    assert "<script" not in page
    assert not any(f'{attribute}="http' in page for attribute in ("src", "href"))
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    assert f"{report['mrr_after']:.3f}" in capsys.readouterr().out

    commands.clear()  # all is done: only the report is made again, with the same numbers
    assert run.quickstart(out, None) == 0
    assert commands == []
    assert json.loads((out / "report.json").read_text())["mrr_after"] == report["mrr_after"]


def test_a_stopped_training_goes_on_from_its_checkpoint(
    sources: Path, commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = sources / "out"
    with monkeypatch.context() as patch:
        patch.setattr("lightning_cpt.quickstart.report.write_report", lambda *args, **kwargs: None)
        assert run.quickstart(out, None) == 0
        commands.clear()
        patch.setattr(run.Place, "steps", property(lambda self: STEPS + 1))
        run.quickstart(out, None)
    assert commands == [("fit", "--ckpt_path", str(out / "run" / "last.ckpt"))]


def test_other_versions_are_refused(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = sources / "out"
    out.mkdir()
    (out / "versions.json").write_text(json.dumps({"held": "0.9"}))
    assert cli.main(["quickstart", "--out", str(out)]) == 2


def test_a_missing_data_folder_stops_before_the_work(
    sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["quickstart", "--out", str(sources / "out"), "--data", "nowhere"]) == 2
    assert capsys.readouterr().err == "cpt: error: --data: there is no folder nowhere\n"


def test_a_failing_stage_ends_the_run_with_its_status(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: str, shown: str | None = None) -> None:
        raise run.StageFailed(7)

    monkeypatch.setattr(run, "_cpt", fails)
    assert run.quickstart(sources / "out", None) == 7


def test_the_frozen_lists_do_not_overlap_and_are_installed() -> None:
    names = (*corpus.HELD_OUT, *corpus.VALIDATION, *corpus.TRAIN)
    assert len(names) == len(set(names))
    assert all(root.exists() for root in corpus.roots())
    assert "unknown" not in corpus.versions().values()
