"""The command: its exit status, its output, and mistakes in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lightning_cpt.cli import MISTAKE, main
from lightning_cpt.gradients import check
from lightning_cpt.gradients.cases import CASES
from lightning_cpt.gradients.cli import BROKEN

COMMAND = "check-gradients"


@pytest.fixture
def mistake(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command with arguments that cannot work; returns its one line."""

    def run(*arguments: object) -> str:
        assert main([COMMAND, *map(str, arguments)]) == MISTAKE
        out, err = capfd.readouterr()
        assert out == ""
        *notes, error = err.splitlines()
        assert notes in ([], ["cpt: building a tiny twin of the model"])
        assert error.startswith("cpt: error: ")
        return error.removeprefix("cpt: error: ")

    return run


def test_mistakes_before_anything_heavy(mistake: Callable[..., str], tmp_path: Path) -> None:
    assert mistake() == "--config: missing; give a recipe's file or its name, such as quickstart"
    assert mistake("--config", "quikstart").startswith("--config quikstart: no such file")
    for sizes in ("0", "two", "", "1,17", "1,,2", "-1"):
        assert "such as 1,2,4" in mistake("--config", "quickstart", f"--world-sizes={sizes}")
    file = ("--config", "quickstart", "--json")
    assert mistake(*file, tmp_path) == f"--json: {tmp_path} is a folder; name a file"
    assert mistake(*file, tmp_path / "no" / "x.json").startswith("--json: there is no folder")
    assert "expected one argument" in mistake(*file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.loss.class_path", "no_such.Loss"], "no_such"),
        (["--model.loss.temperature", "1"], "model.loss.temperature: no such key; did you mean "),
        (["--model.loss.initial_temperature", "1000"], "model.loss.initial_temperature: 1000.0 is outside"),
        (
            ["--model.encoder.config", "{model_type: lama}"],
            "model.encoder.config.model_type: transformers knows no",
        ),
        (
            ["--model.encoder.config", "null"],
            "model.encoder.config.model_type: missing, and 'runs/quickstart/start'",
        ),
        (["--data.batchsize", "8"], "data.batchsize: no such key; did you mean data.batch_size?"),
    ],
)
def test_mistakes_in_the_recipe(
    mistake: Callable[..., str],
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in mistake("--config", "quickstart", *arguments)


def test_a_broken_plug_in_ends_with_1_and_its_numbers(
    plugins: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(check.check, cases=CASES[:1], sequences=16)
    monkeypatch.setattr(check, "check", small)
    loss = ["--model.loss.class_path", f"{plugins}.TimesWorldSize", "--world-sizes", "2"]
    assert main([COMMAND, "--config", "quickstart", *loss, "--json", str(tmp_path / "x.json")]) == BROKEN
    out, err = capfd.readouterr()
    assert "plugins.TimesWorldSize" in out
    assert out.splitlines()[-1].startswith(
        "The law is broken. encoder, scale: W times the gradient on W ranks"
    )
    assert all(line.startswith("cpt: ") for line in err.splitlines())
    assert json.loads((tmp_path / "x.json").read_text())["holds"] is False


@pytest.mark.parametrize(
    ("strategy", "named"),
    [
        ("fsdp2", "fsdp2"),
        ("{class_path: lightning_cpt.strategy.FSDP2Strategy}", "lightning_cpt.strategy.FSDP2Strategy"),
        ("ddp_find_unused_parameters_true", None),
        ("auto", None),
    ],
)
def test_a_strategy_that_is_not_run_is_named(
    strategy: str, named: str | None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "check", partial(check.check, cases=CASES[:1], sequences=16))
    arguments = ["--config", "quickstart", "--world-sizes", "1", "--trainer.strategy", strategy]
    assert main([COMMAND, *arguments]) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("trainer.strategy")]
    line = f"trainer.strategy {named} itself was not run: all of this is DDP's gradient."
    assert lines == ([line] if named else [])


def test_the_help_and_the_list_of_commands_are_light() -> None:
    code = (
        "import sys\nfrom lightning_cpt.cli import main\n"
        "main(['check-gradients', '--help'])\nprint([m for m in ('torch', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--world-sizes LIST" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["quickstart", "cpt-text-s"])
def test_the_whole_command(recipe: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lightning_cpt.cli", COMMAND, "--config", recipe, "--json", "x.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("The law holds: largest error ")
    assert len(json.loads((tmp_path / "x.json").read_text())["rows"]) == 9 * 3 * 2 * 2 + 4


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lightning_cpt.cli", COMMAND, "--config", "quickstart"]
    with (tmp_path / "err").open("w") as err:
        running = subprocess.Popen(command, cwd=tmp_path, stderr=err, stdout=err, start_new_session=True)
    end = time.monotonic() + 120
    while "running it on" not in (tmp_path / "err").read_text() and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(20) == 130
    assert (tmp_path / "err").read_text().splitlines()[-1] == "cpt: interrupted"
    assert "Traceback" not in (tmp_path / "err").read_text()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.killpg(running.pid, 0)  # any process of the session
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a process is left")
