"""Every command of the README is one that the program takes, and every file that it names is there."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lightning_cpt import cli, lightning_cli
from lightning_cpt.errors import ConfigError
from lightning_cpt.gradients import cli as gradients_cli
from lightning_cpt.simulation import cli as simulation_cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    """Of the README and of every page of docs, those for many machines too."""
    joined = "\n".join(re.sub(r" \\\n\s*", " ", page.read_text(encoding="utf-8")) for page in PAGES)
    found = [line.strip().partition(" #")[0] for line in joined.splitlines() if line.startswith("    cpt ")]
    return [
        *found,
        *(f"cpt {rest}" for rest in re.findall(r" -m lightning_cpt\.cli (.*)", joined)),
        *of_script(joined),
    ]


def of_script(text: str) -> list[str]:
    """What the script for SLURM may run: for a new run, and for one that was ended."""
    (folder,) = re.findall(r"^run=(.*)$", text, re.MULTILINE)
    return [
        f"cpt fit {' '.join(one.split())}".replace("$run", folder)
        for one in re.findall(r"what=\((.*?)\)", text, re.DOTALL)
    ]


@pytest.mark.parametrize("command", commands())
def test_a_command_is_taken(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real parsers read it; what it would do is left out."""
    taken: list[Any] = []
    monkeypatch.setattr(cli, "_run_argparse", lambda add, arguments: _parse(add, arguments, taken))
    monkeypatch.setattr(lightning_cli, "_read", lambda path: {})
    for name in (
        "before_instantiate_classes",
        "instantiate_classes",
        "after_instantiate_classes",
        "_run_subcommand",
    ):
        monkeypatch.setattr(lightning_cli.CptCLI, name, lambda self, *args: taken.append(1))
    monkeypatch.setattr(lightning_cli.CptCLI, "_parse_ckpt_path", lambda self: None)
    monkeypatch.setattr(gradients_cli, "_check", partial(_check_gradients, taken))
    monkeypatch.setattr(simulation_cli, "_build", partial(_build_data, taken))
    words = shlex.split(command.replace("PATH...", "PATH").replace("FILE...", "FILE"))
    status = cli.main(words[1:] + _needed(words))
    assert status == (cli.MISTAKE if words[1] == "data" else 0)  # there are no data
    assert taken


def _parse(add_commands: Any, arguments: list[str], taken: list[Any]) -> int:
    parser = cli._Parser(prog="cpt")
    add_commands(parser.add_subparsers(required=True))
    taken.append(parser.parse_args(arguments).func)
    return 0


def _check_gradients(taken: list[Any], recipe: list[str], sizes: tuple[int, ...], path: Path | None) -> int:
    gradients_cli._check_arguments(recipe, path)
    taken.append(sizes)
    return 0


def _build_data(taken: list[Any], recipe: list[str], *_: Any) -> Any:
    from lightning_cpt.simulation.recipe import build_data

    taken.append(build_data(recipe))
    raise ConfigError("no data")


def _needed(words: list[str]) -> list[str]:
    """A checkpoint would bring the whole configuration; here it is a recipe that does."""
    return ["--config", "cpt-code-s"] if "--ckpt_path" in words else []


def test_there_are_commands_to_test() -> None:
    assert len(commands()) >= 14
    assert sum("--trainer.num_nodes 2" in command for command in commands()) == 2


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_a_linked_file_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= targets


def test_the_named_tests_exist() -> None:
    assert all((ROOT / path).exists() for path in re.findall(r"tests/[\w/]+\.py", README))
