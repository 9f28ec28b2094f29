"""`cpt fit|validate|test|predict`: LightningCLI with a run folder, whole-config resume and one-line errors."""

from __future__ import annotations

import logging
import os
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from data_prep.errors import DataError
from eval_suite.errors import EvalError
from lightning_cpt.callbacks.checkpoint import AtomicCheckpointIO, KeepConfig, RunCheckpoint
from lightning_cpt.callbacks.predictions import PredictionWriter
from lightning_cpt.callbacks.progress import RunProgress
from lightning_cpt.callbacks.throughput import Throughput
from lightning_cpt.checkpoint import read_checkpoint
from lightning_cpt.cli import INTERRUPTED, TERMINATED
from lightning_cpt.config import differences, explain, nested_classes, value_of, with_recipes
from lightning_cpt.console import say
from lightning_cpt.data.datamodule import PairDataModule
from lightning_cpt.data.loader import is_worker_lost, worker_lost
from lightning_cpt.encoder import HOW, TextEncoder
from lightning_cpt.errors import ConfigError, TrainingError
from lightning_cpt.guards import is_out_of_memory, is_rank_lost, smaller
from lightning_cpt.losses import InfoNCE
from lightning_cpt.module import ContrastiveModule, check_precision
from lightning_cpt.nested_keys import keep_neighbours
from lightning_cpt.strategy import check_strategy, register

VERBS = ("fit", "validate", "test", "predict")
# Keys that belong to one command, not to the run that a checkpoint describes.
OF_THE_COMMAND = ("config", "ckpt_path", "weights_only", "verbose", "return_predictions")

_Part = TypeVar("_Part")


@dataclass
class RunSettings:
    """Where a run leaves its files, and how often.

    Args:
        folder: The run's folder, for last.ckpt, config.yaml and logs. Null takes runs/NAME after the recipe's
            file; a new run whose folder is taken already gets runs/NAME-2.
        checkpoint_every: Optimizer steps between two writes of last.ckpt.
        logger: Kind of log in FOLDER/logs; trainer.logger can say more.
        predictions: Folder for the embeddings of `cpt predict`; null takes FOLDER/embeddings.
    """

    folder: str | None = None
    checkpoint_every: int = 500
    logger: Literal["csv", "tensorboard", "none"] = "csv"
    predictions: str | None = None


def run(arguments: Sequence[str]) -> int:
    """Run one of the four verbs with its whole command line; returns the exit status.

    Raises:
        ConfigError: a mistake in the recipe or on the command line, as one line.
    """
    _quiet()
    register()
    try:
        CptCLI(arguments)
    except SIGTERMException:
        return TERMINATED
    except SystemExit as stop:  # after --help and --print_config, and Lightning's way to end after Ctrl-C
        return INTERRUPTED if stop.code == 1 else int(stop.code or 0)
    except (MisconfigurationException, ValueError, TypeError) as error:
        if mistake := _mistake_behind(error):
            raise mistake from None
        if _raised_by_lightning(error):
            raise ConfigError(f"trainer: {error}") from error
        raise
    return 0


class CptParser(LightningArgumentParser):
    """Shows the keys of the default encoder and loss in the help, where jsonargparse only names the class."""

    def format_help(self, *args: Any) -> str:
        texts = [super().format_help(*args)]
        for dest, cls in nested_classes(self):
            part = LightningArgumentParser(add_help=False, description="")
            part.add_class_arguments(cls, dest)
            texts.append(part.format_help().partition("\n\n")[2])
        return "\n".join(texts)


class CptCLI(LightningCLI):
    """LightningCLI whose checkpoint brings the whole configuration, under what the command line says.

    Args:
        arguments: The verb and its arguments.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.verb, *given = arguments
        self.recipe = value_of(given, "--config") or value_of(given, "-c")
        path = value_of(given, "--ckpt_path")
        self.saved = _read(path) if path else {}
        self.saved_config: dict[str, Any] = yaml.safe_load(self.saved.get("config", "{}"))
        under = ["--config", self.saved["config"]] if self.saved_config else []
        super().__init__(
            ContrastiveModule,
            PairDataModule,
            save_config_callback=None,
            # Our loader deals the records to the ranks itself.
            trainer_defaults={
                "use_distributed_sampler": False,
                "log_every_n_steps": 10,
                "enable_model_summary": False,
            },
            seed_everything_default=0,
            parser_class=CptParser,
            parser_kwargs={"exit_on_error": False, **{verb: {"exit_on_error": False} for verb in VERBS}},
            args=[self.verb, *under, *with_recipes(given)],
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run", type=RunSettings, default=RunSettings())

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        for verb in self._subcommand_parsers.values():
            keep_neighbours(verb, "data.sources")
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise ConfigError(explain(str(error), self._subcommand_parsers[self.verb])) from error

    def _parse_ckpt_path(self) -> None:
        """Say what differs from the checkpoint; LightningCLI would restore the model's keys over the command line's."""
        if self.saved_config:
            for line in differences(self.saved_config, yaml.safe_load(self._config_text())):
                say(f"other than in the checkpoint: {line}")

    def _config_text(self) -> str:
        """The configuration of the run as YAML, every key written out."""
        config = self.config[self.verb].clone()
        for key in OF_THE_COMMAND:
            config.pop(key, None)
        text: str = self._subcommand_parsers[self.verb].dump(config, skip_none=False, skip_validation=True)
        return text

    def before_instantiate_classes(self) -> None:
        config = self.config[self.verb]
        if config.weights_only is None:
            config.weights_only = True
        if self.verb == "predict":
            config.return_predictions = False  # they go to files
        if self.verb == "fit" and not (config.trainer.max_epochs or config.trainer.max_steps > 0):
            raise ConfigError(
                "trainer.max_steps: missing; say for how many steps to train (or trainer.max_epochs)"
            )
        _check_counts(config)
        config.run.folder = str(self._run_folder())
        self.parser.add_instantiator(self._make_encoder, TextEncoder, subclasses=True)
        self.parser.add_instantiator(_make_loss, InfoNCE, subclasses=True)

    def _run_folder(self) -> Path:
        config = self.config[self.verb]
        saved = (self.saved_config.get("run") or {}).get("folder")
        if config.ckpt_path and config.run.folder == saved and Path(config.ckpt_path).name == "last.ckpt":
            folder = Path(config.ckpt_path).parent  # the run's own folder, from wherever the command is given
        else:
            folder = Path(config.run.folder or f"runs/{Path(self.recipe).stem if self.recipe else 'run'}")
        if self.verb == "fit":
            _check_writable(folder)
        if self.verb != "fit" or config.ckpt_path or not (folder / "last.ckpt").exists():
            return folder
        number = 2
        while (other := folder.with_name(f"{folder.name}-{number}")).exists():
            number += 1
        say(f"{folder} holds another run; this one goes to {other}")
        return other

    def _make_encoder(self, cls: type[TextEncoder], *args: Any, **kwargs: Any) -> TextEncoder:
        """The checkpoint's own encoder where it computes the same: it needs neither hub nor tokenizer folder."""
        kwargs.pop("applied_instantiation_links", None)  # the parser's own, for each instantiator
        now = yaml.safe_load(self._config_text())["model"]["encoder"]
        then = (self.saved_config.get("model") or {}).get("encoder")
        if then is not None and then.get("class_path") == now.get("class_path"):
            before, after = (part.get("init_args", part) for part in (then, now))
            changed = {key: value for key, value in after.items() if value != before.get(key)}
            if changed.keys() <= set(HOW):
                return _under("model.encoder", cls.from_dict, {**self.saved["encoder"], **changed})
        return _under("model.encoder", cls, *args, **kwargs)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config_init[self.verb]
        plugins = _as_list(config.trainer.plugins)
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicCheckpointIO())
        return super().instantiate_trainer(
            callbacks=self._callbacks(),
            plugins=plugins,
            logger=self._logger() if config.trainer.logger in (None, True) else config.trainer.logger,
            default_root_dir=config.trainer.default_root_dir or config.run.folder,
            **kwargs,
        )

    def _callbacks(self) -> list[Callback]:
        """The recipe's callbacks and ours; a progress bar or a Throughput of the recipe's replaces ours."""
        config = self.config_init[self.verb]
        folder, options = config.run.folder, config.trainer
        callbacks: list[Callback] = _as_list(options.callbacks)
        if options.enable_progress_bar is not False and not any(
            isinstance(c, ProgressBar) for c in callbacks
        ):
            callbacks.append(RunProgress())
        if self.verb == "predict":
            callbacks.append(PredictionWriter(config.run.predictions or f"{folder}/embeddings"))
        if self.verb == "fit":
            callbacks = _with_throughput(callbacks, None if options.fast_dev_run else folder)
        if self.verb == "fit" and not options.fast_dev_run:
            callbacks.append(KeepConfig(folder, self._config_text()))
            if options.enable_checkpointing is not False:
                callbacks.append(RunCheckpoint(folder, config.run.checkpoint_every))
        return callbacks

    def _logger(self) -> Logger | bool:
        config = self.config_init[self.verb].run
        if self.verb != "fit" or config.logger == "none":
            return False
        if config.logger == "tensorboard":
            try:
                return TensorBoardLogger(config.folder, name="logs")
            except ModuleNotFoundError as error:
                raise ConfigError(
                    "run.logger: tensorboard is not installed; `pip install tensorboard`, or use csv"
                ) from error
        return CSVLogger(config.folder, name="logs", flush_logs_every_n_steps=1)

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except (RuntimeError, MemoryError) as error:
            if is_worker_lost(error):
                raise TrainingError(str(worker_lost(error))) from error
            if self.trainer.world_size > 1 and is_rank_lost(error):
                raise TrainingError(
                    "another rank has ended, and this one cannot go on alone; that one's own message says why"
                ) from error
            if not is_out_of_memory(error):
                raise
            config = self.config[self.verb]
            encoder = self.model.encoder
            batch_size, training = config.data.batch_size, self.verb == "fit"
            cure = smaller(encoder.chunk_tokens, encoder.memory, batch_size, training)
            raise TrainingError(f"out of memory; try --{cure}") from error

    def _check_end(self) -> None:
        done, steps = self.saved.get("global_step", 0), self.trainer.max_steps
        if 0 < steps <= done and self.config[self.verb].ckpt_path:
            raise ConfigError(
                f"trainer.max_steps: {steps}, and the checkpoint is at step {done} already; give a higher number to go on"
            )

    def after_instantiate_classes(self) -> None:
        """Find what is wrong while there is one process: each further one would report it again."""
        self.datamodule.check(self.verb, self.trainer.world_size, self.model.encoder.tokenization)
        if self.verb == "fit":
            self._check_end()
            check_strategy(self.trainer.strategy)
            check_precision(self.trainer.precision)
            weights = sum(p.numel() for p in self.model.parameters())
            plan = self.datamodule.plan()
            count = "an unknown number of" if plan.data.streams else plan.data.count
            say(
                f"{weights / 1e6:.1f} M weights, {count} training pairs, run folder {self.config[self.verb].run.folder}"
            )


def _check_writable(folder: Path) -> None:
    """Refuse, before anything is built, a folder that cannot be made or written.

    Raises:
        ConfigError: naming the key.
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:
        raise ConfigError(
            f"run.folder: {folder} cannot be reached ({error.strerror}); name another folder"
        ) from None
    if not there.is_dir():
        raise ConfigError(f"run.folder: {there} is a file; name a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"run.folder: {there} cannot be written; name another folder")


def _with_throughput(callbacks: list[Callback], folder: str | None) -> list[Callback]:
    """The recipe's Throughput or ours before the others: it stops its watch before they start to work."""
    ours = next((c for c in callbacks if isinstance(c, Throughput)), None) or Throughput()
    ours.folder = ours.folder or folder
    return [ours, *(c for c in callbacks if c is not ours)]


def _check_counts(config: Any) -> None:
    """Refuse what Lightning would divide by, or what would take the order of the data from our loader.

    Raises:
        ConfigError: naming the key.
    """
    options = config.trainer
    for key in ("log_every_n_steps", "accumulate_grad_batches", "val_check_interval"):
        if options.get(key) is not None and not options[key] > 0:
            raise ConfigError(f"trainer.{key}: {options[key]} is not above 0")
    if config.run.checkpoint_every < 1:
        raise ConfigError(f"run.checkpoint_every: {config.run.checkpoint_every} is not 1 or more")
    for key in ("overfit_batches", "reload_dataloaders_every_n_epochs"):
        if options.get(key):
            raise ConfigError(f"trainer.{key}: does not go with a resumable stream of batches; leave it out")


def _read(path: str) -> dict[str, Any]:
    try:
        return read_checkpoint(path)
    except ConfigError as error:
        raise ConfigError(f"ckpt_path: {error}") from error


def _make_loss(cls: type[InfoNCE], *args: Any, **kwargs: Any) -> InfoNCE:
    kwargs.pop("applied_instantiation_links", None)
    return _under("model.loss", cls, *args, **kwargs)


def _under(key: str, cls: Callable[..., _Part], *args: Any, **kwargs: Any) -> _Part:
    """A part of the model; its errors name its own keys, and here get the recipe's key before them."""
    try:
        return cls(*args, **kwargs)
    except ConfigError as error:
        raise ConfigError(f"{key}.{error}") from error


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _quiet() -> None:
    """Leave out Lightning's notes on hardware and defaults that our recipes choose on purpose."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (".*smaller than the logging interval.*", ".*treespec, LeafSpec.*"):
        warnings.filterwarnings("ignore", message=message)


def _mistake_behind(error: BaseException | None) -> ValueError | None:
    """The one-line error of ours in a chain of causes: the parser wraps it where a key may also be null or a list."""
    while error is not None and not isinstance(error, ConfigError | DataError | EvalError | TrainingError):
        error = error.__cause__
    return error


def _raised_by_lightning(error: BaseException) -> bool:
    """Whether Lightning itself complains, about its settings, and no code of ours or of a plug-in has failed."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("lightning.")
