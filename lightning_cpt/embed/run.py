"""`cpt embed`: texts to parts, parts to vectors on all ranks, vectors to one result; again from where it stopped."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.rank_zero import _get_rank
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from eval_suite.encoder import load_encoder
from lightning_cpt.cli import INTERRUPTED
from lightning_cpt.console import say
from lightning_cpt.embed.inputs import STDIN, Fields, read_rows
from lightning_cpt.embed.numbers import RankingLoss, ranking_loss, restore
from lightning_cpt.embed.parts import Work, check_same
from lightning_cpt.embed.predict import PartEmbedder, strategy
from lightning_cpt.embed.result import Result, import_pyarrow, samples
from lightning_cpt.embed.spool import Spool, fill, hash_rows
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError, TrainingError
from lightning_cpt.guards import is_out_of_memory
from lightning_cpt.lightning_cli import _quiet
from lightning_cpt.tokenization import Side


@dataclass(frozen=True)
class Settings:
    """What `cpt embed` is asked for; its command line says what each means."""

    inputs: list[str]
    encoder: str
    side: Side
    out: Path
    format: str | None = None
    kind: str | None = None
    text_field: str | None = None
    id_field: str | None = None
    dtype: str = "float32"
    precision: Any = "32-true"
    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1
    workers: int | None = None
    part_rows: int = 4096
    overwrite: bool = False


def embed(settings: Settings) -> int:
    """Embed all rows of the inputs; returns the exit status.

    Raises:
        ConfigError, DataError, EvalError: inputs, encoder or place are not as they have to be.
        TrainingError: out of memory.
    """
    try:
        return _embed(settings)
    except ConnectionError:  # of a pipe that nobody reads any more, or another rank
        raise
    except OSError as error:  # reading has its own errors: this is the place that is written
        raise ConfigError(
            f"--out {settings.out}: cannot be written ({error.strerror or error}); what is done is kept: make room, and "
            "the same command goes on"
        ) from error


def _embed(settings: Settings) -> int:
    _check(settings)
    _quiet()
    result = Result.at(settings.out, settings.format)
    _check_apart(settings.inputs, result.vectors)
    if result.format == "parquet":
        import_pyarrow()
    trainer = _trainer(settings)
    encoder = _load(settings.encoder)
    described = _describe(settings, encoder)
    work, first = result.work, _is_first()
    if first and not _prepare(settings, result, described):
        return 0
    if not first and not settings.overwrite and result.finished() is not None:
        return 0  # the first process will not come: it found the same
    try:
        _embed_parts(trainer, settings, encoder, work)
    except SystemExit as stop:  # Lightning's way to end after Ctrl-C
        say("stopped; the same command goes on")
        return INTERRUPTED if stop.code == 1 else int(stop.code or 0)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise TrainingError(
                "out of memory; what is done is kept: try again with a shorter max_length or a smaller chunk_tokens"
            ) from error
        raise
    if trainer.is_global_zero:
        _finish(result, work, described)
    return 0


def _check(settings: Settings) -> None:
    for name in ("nodes", "part_rows"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(settings, name)}: must be 1 or more")
    if settings.workers is not None and settings.workers < 0:
        raise ConfigError(f"--workers {settings.workers}: must be 0 or more")


def _check_apart(inputs: list[str], vectors: Path) -> None:
    """Refuse a result inside a folder of inputs: the same command would read it as texts the next time.

    And one in the place of an input, which --overwrite would take away.
    """
    target = vectors.expanduser()
    place = target.resolve().parent
    for name in inputs:
        folder = Path(name).expanduser()
        if name != STDIN and target.exists() and folder.exists() and folder.samefile(target):
            raise ConfigError(f"--out {vectors}: is the input {name} itself; name another place")
        if name != STDIN and folder.is_dir() and place.is_relative_to(folder.resolve()):
            raise ConfigError(
                f"--out {vectors}: lies in the input {name}, and would be read with it; name another place"
            )


def _load(name: str) -> Any:
    path = name.removeprefix("ckpt:")
    if path.endswith(".ckpt"):
        return TextEncoder.load(path)
    return load_encoder(name)


def _describe(settings: Settings, encoder: Any) -> dict[str, Any]:
    """What the numbers depend on: a result of the same description is the same result."""
    return {
        "encoder": encoder.name,
        "fingerprint": encoder.fingerprint,
        "side": settings.side,
        "dtype": settings.dtype,
        "precision": settings.precision,
        "part_rows": settings.part_rows,
    }


def _is_first() -> bool:
    """Whether this process is the first of all ranks, before there is a process group."""
    node = os.environ.get("GROUP_RANK") or os.environ.get("NODE_RANK") or "0"
    return not _get_rank() and (node == "0" or "RANK" in os.environ)


def _prepare(settings: Settings, result: Result, described: dict[str, Any]) -> bool:
    """Read the input into parts, or find those of a run before; False where all is done already.

    Before any other rank is started: a mistake in the input is one line, and standard input is read once.
    """

    def rows() -> Any:
        fields = Fields(settings.side, settings.text_field, settings.id_field)
        return read_rows(settings.inputs, settings.kind, fields)

    finished = None if settings.overwrite else result.finished()
    if finished is not None:
        now = {**described, "input": hash_rows(rows())}
        check_same(finished, now, f"{result.vectors}: is there already, made")
        say("is there already, of the same encoder and input")
        print(f"embeddings: {result.vectors}")
        return False
    work = result.work
    if result.vectors.exists() and not settings.overwrite and not work.folder.exists():
        raise ConfigError(
            f"--out {result.vectors}: is there already; name another, or replace it with --overwrite"
        )
    if settings.overwrite and STDIN in settings.inputs:
        work.remove()  # whether it is the same input would be known only when all of it is read, and gone
    spool = Spool.open(work.folder) if work.claim(described, overwrite=settings.overwrite) else None
    if spool is not None:
        found = hash_rows(rows())
        if found != spool.sha and settings.overwrite:
            work.remove()
            work.claim(described, overwrite=True)
            spool = None
        else:
            check_same(
                {"input": spool.sha}, {"input": found}, f"{work.folder}: holds an unfinished embedding"
            )
    if spool is None:
        fill(work.folder, rows(), settings.part_rows)
    else:
        say(f"going on: {spool.parts - len(work.missing(spool))} of {spool.parts} parts are done")
    return True


def _trainer(settings: Settings) -> Trainer:
    on_cpu = settings.accelerator == "cpu" or (
        settings.accelerator == "auto" and not torch.cuda.is_available()
    )
    devices: Any = 1 if on_cpu and settings.devices == "auto" else settings.devices
    several = (
        settings.nodes > 1
        or str(devices) not in ("1", "auto")
        or (not on_cpu and torch.cuda.device_count() > 1)
    )
    try:
        return Trainer(
            accelerator=settings.accelerator,
            devices=devices,
            num_nodes=settings.nodes,
            strategy=strategy(2 if several else 1),
            precision=settings.precision,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"--accelerator, --devices, --nodes: {error}") from error


def _embed_parts(trainer: Trainer, settings: Settings, encoder: Any, work: Work) -> None:
    """Let all ranks embed what is missing; the input's parts are there before the first rank comes here."""
    on_cpu = trainer.strategy.root_device.type == "cpu"
    workers = (0 if on_cpu else 2) if settings.workers is None else settings.workers
    module = PartEmbedder(encoder, settings.side, settings.dtype, work, workers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on numbers of workers, and on loaders that are empty
        trainer.predict(module, return_predictions=False)
    trainer.strategy.barrier("embedded")


def _finish(result: Result, work: Work, described: dict[str, Any]) -> None:
    spool = Spool.open(work.folder)
    if spool is None or (missing := work.missing(spool)):
        raise TrainingError(
            f"{work.folder}: {len(missing) if spool else 'all'} parts are missing; a rank was lost: the same command goes on"
        )
    loss = _loss(work, spool) if described["dtype"] != "float32" else None
    manifest = {**described, "input": spool.sha, "rows": spool.rows}
    if loss is not None:
        manifest["ranking"] = loss._asdict()
        print(f"{described['dtype']}: {loss}")
    result.join(work, spool, manifest)
    work.remove()
    print(f"embeddings: {result.vectors}, {spool.rows:,} rows")


def _loss(work: Work, spool: Spool) -> RankingLoss | None:
    found = [(exact, restore(stored, scales)) for exact, stored, scales in samples(work, spool)]
    exact, stored = (np.concatenate(side) for side in zip(*found, strict=True))
    return ranking_loss(exact, stored)
