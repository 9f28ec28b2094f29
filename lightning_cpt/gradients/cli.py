"""The arguments of `cpt check-gradients`; torch is imported when they are right."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lightning_cpt.errors import ConfigError

if TYPE_CHECKING:
    from lightning_cpt.gradients.check import Found
    from lightning_cpt.gradients.measure import Step

BROKEN = 1  # exit status where the law is broken
_MOST_RANKS = 16

_TEXT = """\
Build a tiny twin of a recipe's model and loss (plug-ins too), run it on real processes under DDP, and compare each
gradient with that of the full batch in one process. Exit status 1 where they differ by more than rounding, else 0.
Needs no data, no GPU and no network. Any key of the recipe can follow, as in `cpt fit`:
--model.loss.class_path my_module.MyLoss
"""


def run(arguments: Sequence[str]) -> int:
    """Run `cpt check-gradients ...`; returns the exit status.

    Raises:
        ConfigError: a user's mistake, as one line.
    """
    try:
        options, recipe = _parser().parse_known_args(list(arguments)[1:])
        return _check(recipe, options.world_sizes, options.json)
    except SystemExit as stop:  # after --help and --print_config
        return int(stop.code or 0)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cpt check-gradients",
        usage="cpt check-gradients --config RECIPE [--world-sizes 1,2,4] [--json FILE] [--any.recipe.key VALUE ...]",
        description=_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="  --config RECIPE       file or name of a recipe",
    )
    parser.add_argument(
        "--world-sizes",
        type=_world_sizes,
        default=(1, 2, 4),
        metavar="LIST",
        help="numbers of processes to run on (default: 1,2,4)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers there")
    return parser


def _world_sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        sizes = (0,)
    if not 1 <= sizes[0] <= sizes[-1] <= _MOST_RANKS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of numbers from 1 to {_MOST_RANKS}, such as 1,2,4"
        )
    return sizes


def check_writable(path: Path) -> None:
    """Find out before the work that its result can be written.

    Raises:
        ConfigError: it cannot.
    """
    folder = path.expanduser().parent
    if path.is_dir():
        raise ConfigError(f"--json: {path} is a folder; name a file")
    if not folder.is_dir():
        raise ConfigError(f"--json: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"--json: no right to write into {folder}")


def _check_arguments(recipe: Sequence[str], path: Path | None) -> None:
    """Find out what can be known before the long imports."""
    from lightning_cpt.config import value_of, with_recipes

    if not any(value_of(recipe, name) for name in ("--config", "-c", "--ckpt_path")):
        raise ConfigError("--config: missing; give a recipe's file or its name, such as quickstart")
    with_recipes(recipe)
    if path:
        check_writable(path)


def _check(recipe: Sequence[str], world_sizes: Sequence[int], path: Path | None) -> int:
    _check_arguments(recipe, path)
    _say("building a tiny twin of the model")
    from lightning_cpt.gradients.ranks import Ranks, warm_up

    warm_up()
    from tqdm.auto import tqdm

    from lightning_cpt.gradients.check import build_twin, check, finds_unused, pickled, steps

    step, strategy = build_twin(recipe)
    numbers = ", ".join(map(str, world_sizes))
    _say(f"running it on {numbers} {'process' if numbers == '1' else 'processes'}, about half a minute")
    with (
        Ranks(max(world_sizes)) as ranks,
        tqdm(total=steps(world_sizes), unit="run", leave=False, disable=None, file=sys.stderr) as bar,
    ):
        ranks.load(pickled(step))
        found = check(ranks, world_sizes, unused=finds_unused(strategy), tick=bar.update)
    print(_text(step, found, world_sizes, strategy))
    if path:
        _write(path.expanduser(), step, found, world_sizes)
    return 0 if found.holds else BROKEN


def _text(step: Step, found: Found, world_sizes: Sequence[int], strategy: str) -> str:
    """All that goes to stdout."""
    from lightning_cpt.gradients.table import law_table, mixed_table
    from lightning_cpt.gradients.verdict import diagnose

    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    causes = diagnose([*found.law, *found.mixed])
    return "\n".join(
        [
            _heading(step, world_sizes),
            "",
            law_table(found.law, color),
            "",
            mixed_table(found.mixed, color),
            "",
            *_not_run(strategy),
            *([f"The law is broken. {cause}" for cause in causes] or [_summary(found)]),
        ]
    )


def _not_run(strategy: str) -> list[str]:
    """A line where the recipe trains under something else than what was run here."""
    if strategy == "auto" or "ddp" in strategy.lower():
        return []
    return [f"trainer.strategy {strategy} itself was not run: all of this is DDP's gradient."]


def _heading(step: Step, world_sizes: Sequence[int]) -> str:
    twin = describe(step)
    numbers = ", ".join(map(str, world_sizes))
    return (
        f"Tiny twin of the model: {twin['encoder']} ({twin['model_type']}, {twin['weights']:,} weights) and "
        f"{twin['loss']}.\n"
        f"Its gradient g after DDP on {numbers} {'rank' if numbers == '1' else 'ranks'} against g_ref, the full "
        "batch's in one process in float64:\n"
        "error |g - g_ref| / |g_ref|, ratio |g| / |g_ref|, cosine of the angle between them."
    )


def _summary(found: Found) -> str:
    worst = {
        dtype: max(row.distance.relative_error for row in found.law if row.dtype == dtype)
        for dtype in dict.fromkeys(row.dtype for row in found.law)
    }
    numbers = ", ".join(f"{error:.0e} in {dtype}" for dtype, error in worst.items())
    return f"The law holds: largest error {numbers}."


def describe(step: Step) -> dict[str, Any]:
    """What was run."""
    return {
        "encoder": _name(type(step.encoder)),
        "loss": _name(type(step.loss)),
        "model_type": step.encoder.backbone.config.model_type,  # type: ignore[union-attr]
        "weights": sum(parameter.numel() for parameter in step.parameters()),
    }


def _name(cls: type) -> str:
    ours = cls.__module__.startswith("lightning_cpt.")
    return cls.__qualname__ if ours else f"{cls.__module__}.{cls.__qualname__}"


def _write(path: Path, step: Step, found: Found, world_sizes: Sequence[int]) -> None:
    from data_prep.files import write_atomic
    from lightning_cpt.gradients.record import record

    text = json.dumps(record(describe(step), found, world_sizes), indent=1, allow_nan=False)
    try:
        write_atomic(path, (text + "\n").encode())
    except OSError as error:
        raise ConfigError(f"--json: {path} cannot be written: {error.strerror}") from error


def _say(line: str) -> None:
    print(f"cpt: {line}", file=sys.stderr, flush=True)
