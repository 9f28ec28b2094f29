"""`cpt data simulate` and `cpt data ids`: what a recipe will do with its data, before any GPU is hired."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lightning_cpt.errors import ConfigError

_TEXTS = {
    "simulate": "Print the passes over each source, what is left over, and how evenly tokens and reads fall on ranks "
    "and workers. Reads indexes only, no GPU and no model.",
    "ids": "Print the record ids of global batches, one JSON line a step, put together from what every worker of every "
    "rank reads: the same for any number of them.",
}
_SAMPLED = 64  # batches that the balance is taken from


def run(arguments: Sequence[str]) -> int:
    """Run `cpt data ...`; returns the exit status.

    Raises:
        ConfigError: a user's mistake, as one line.
        DataError: shards that are not whole.
    """
    try:
        options, recipe = _parser().parse_known_args(list(arguments)[1:])
    except SystemExit as stop:  # after --help
        return int(stop.code or 0)
    verb: Callable[[Any, Sequence[str]], None] = {"simulate": _simulate, "ids": _ids}[options.verb]
    verb(options, recipe)
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cpt data", allow_abbrev=False, description="What a recipe does with its data.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    for name, text in _TEXTS.items():
        verb = verbs.add_parser(
            name,
            help=text,
            description=text,
            allow_abbrev=False,
            epilog="--config RECIPE, and any key of the recipe, as in `cpt fit`: --data.folder DIR ...",
        )
        verb.add_argument("--world", type=_positive, default=1, metavar="N", help="ranks (default: 1)")
        verb.add_argument(
            "--workers", type=_not_negative, metavar="W", help="of each rank (default: the recipe's)"
        )
        if name == "ids":
            verb.add_argument("--steps", type=_steps, default=(0, 10), metavar="A:B", help="default: 0:10")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def _not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return int(text)


def _steps(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is no range of steps such as 0:10")
    return int(first), int(last)


def _ids(options: Any, recipe: Sequence[str]) -> None:
    from lightning_cpt.data.reader import ShareReader, global_batch

    data, _ = _build(recipe, options.world, options.workers)
    plan = data.plan()
    shares = [
        ShareReader(plan, data.on_corrupt, rank, options.world, data.workers) for rank in range(options.world)
    ]
    for number in range(*options.steps):
        names = [plan.data.names[draw.source] for draw in plan.mixture.draws(number)]
        ids = [record["id"] for record in global_batch(shares, number)]
        line = {"step": number, "sources": list(dict.fromkeys(names)), "ids": ids}
        print(json.dumps(line, ensure_ascii=False))


def _simulate(options: Any, recipe: Sequence[str]) -> None:
    from lightning_cpt.simulation.report import report

    data, config = _build(recipe, options.world, options.workers)
    encoder = config.model.encoder.get("init_args") or config.model.encoder
    most = [encoder.get("max_length_x") or 512, encoder.get("max_length_y") or 512]
    plan = data.plan()
    for line in report(plan, options.world, data.workers, most, _batches(config.trainer, plan), _SAMPLED):
        print(line)


def _batches(trainer: Any, plan: Any) -> int | None:
    """Batches of the whole run, by the trainer's keys; None where they set no end."""
    ends = []
    if trainer.max_steps and trainer.max_steps > 0:
        ends.append(trainer.max_steps * (trainer.accumulate_grad_batches or 1))
    if trainer.max_epochs and trainer.max_epochs > 0:
        ends.append(trainer.max_epochs * plan.mixture.per_epoch)
    return min(ends, default=None)


def _build(recipe: Sequence[str], world_size: int, workers: int | None) -> tuple[Any, Any]:
    """The recipe's data module, checked for so many ranks and workers, and the whole configuration."""
    from lightning_cpt.config import value_of

    if not any(value_of(recipe, name) for name in ("--config", "-c", "--ckpt_path")):
        raise ConfigError("--config: missing; give a recipe's file or its name, such as cpt-code-s")
    if (path := value_of(recipe, "--ckpt_path")) and not Path(path).is_file():
        raise ConfigError(f"--ckpt_path: there is no file {path}")
    from lightning_cpt.simulation.recipe import build_data

    data, config = build_data(recipe)
    data.workers = data.workers if workers is None else workers
    data.check("fit", world_size)
    return data, config
