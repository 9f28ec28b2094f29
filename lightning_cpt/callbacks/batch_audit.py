"""Looks into the batches of a training every N steps: what they hold, source by source, and a few decoded pairs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from data_prep.files import write_atomic
from lightning_cpt.audit.report import json_text, page, table
from lightning_cpt.audit.tally import Share, Tally, names_of, padding, row, tally
from lightning_cpt.console import say
from lightning_cpt.data.batch import PairBatch
from lightning_cpt.errors import ConfigError


class BatchAudit(Callback):
    """Counts, over the global batches of all ranks and one row per source:

    - pairs that repeat another one's x, y or document in the same batch, and the false negatives that the loss
      left out for it; wrong answers that each query was left with.
    - the source's share of the pairs of all steps, wanted and had.
    - how many x and y were truncated, how long they are, and what share of the encoder's tokens is padding.

    The first step of a run is audited, every ``every_n_steps``-th, and the last. Each audit writes
    FOLDER/batch_audit.json and .html, with a few pairs of each source decoded from the very ids that the encoder
    got; the table is printed at the end. Of accumulated batches a step's last one is audited. A continued run's
    files are about its own steps. Nothing is drawn at random and no tensor of the training is touched: losses are
    the same bits with and without it.

    Args:
        every_n_steps: Optimizer steps between two audits; null is `trainer.log_every_n_steps`.
        pairs: Decoded pairs of each source to show.
        folder: Where the files go; null is the run's folder (outside the CLI the trainer's default_root_dir).
    """

    def __init__(self, every_n_steps: int | None = None, pairs: int = 3, folder: str | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ConfigError(f"BatchAudit.every_n_steps: {every_n_steps} is too small; use 1 or more")
        if pairs < 0:
            raise ConfigError(f"BatchAudit.pairs: {pairs} is too small; use 0 or more")
        self.every_n_steps = every_n_steps
        self.pairs = pairs
        self.folder = folder
        self._group: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Counts lie in the host's memory, which nccl does not reach.
        if stage == "fit" and trainer.world_size > 1 and dist.get_backend() != "gloo":
            self._group = dist.new_group(backend="gloo")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first = self._step = trainer.global_step
        self._audited: list[int] = []
        self._seen: Counter[str] = Counter()  # of this rank, since the ranks' were added up
        self._all_seen: Counter[str] = Counter()
        self._tallies: dict[str, Tally] = {}
        self._shown: dict[str, list[dict[str, Any]]] = {}
        self._whole = [0, 0]  # tokens of audited batches without and with padding
        self._last: tuple[PairBatch, int] | None = None
        self._batch_size = self._padded = 0

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        # Here, as another callback may encode something before this one's turn at the batch's end.
        work = getattr(getattr(pl_module, "encoder", None), "work", None)
        self._padded = getattr(work, "padded_tokens", 0)

    def on_train_batch_end(
        self, trainer: Any, pl_module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:  # Any: log_every_n_steps is set where no type checker sees it
        self._seen.update(names_of(batch))
        self._last = batch, self._padded
        if trainer.global_step == self._step:  # a batch that only adds to the gradient
            return
        self._step = trainer.global_step
        every = self.every_n_steps or trainer.log_every_n_steps
        if self._step == self._first + 1 or self._step % every == 0:
            self._audit(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._last is not None and self._step > self._first:  # what was not counted at the last audit
            self._audit(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table, below the progress bar's last line."""
        if trainer.is_global_zero and self._audited:
            for line in table(self._found(trainer)):
                say(line)

    def _audit(self, trainer: Trainer, module: LightningModule) -> None:
        """Add the last batch to the counts; all ranks come here together, at the same steps."""
        assert self._last is not None
        (batch, padded), self._last = self._last, None
        ranks = self._gather(trainer, (Share.of(batch, padded), self._seen))
        self._seen = Counter()
        if ranks is None:
            return
        for _, seen in ranks:
            self._all_seen.update(seen)
        shares = [share for share, _ in ranks]
        self._audited.append(self._step)
        self._batch_size = sum(len(share.sources) for share in shares)
        for name, counts in tally(shares, getattr(getattr(module, "loss", None), "mask", None)).items():
            self._tallies[name] = self._tallies.get(name, Tally()) + counts
        self._whole = [a + b for a, b in zip(self._whole, padding(shares), strict=True)]
        self._show(batch, getattr(getattr(module, "encoder", None), "tokenization", None))
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._write(trainer)

    def _gather(self, trainer: Trainer, mine: tuple[Share, Counter[str]]) -> list[Any] | None:
        """Every rank's, on rank 0."""
        if trainer.world_size == 1:
            return [mine]
        found: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
        dist.gather_object(mine, found, dst=0, group=self._group)
        return found

    def _show(self, batch: PairBatch, tokenizer: Any) -> None:
        """Keep some of rank 0's pairs of each source, evenly spaced over the batch, as the encoder's ids say them."""
        if tokenizer is None or not self.pairs:
            return
        sources = np.array(names_of(batch))
        for name in dict.fromkeys(sources.tolist()):
            own = np.flatnonzero(sources == name)
            chosen = np.linspace(0, len(own) - 1, min(self.pairs, len(own))).round().astype(int)
            self._shown[name] = [self._pair(batch, at, name, tokenizer) for at in own[chosen].tolist()]

    def _pair(self, batch: PairBatch, at: int, source: str, tokenizer: Any) -> dict[str, Any]:
        cut = batch.cut[at].tolist() if len(batch.cut) else [None, None]
        sides = {"x": batch.x[at], "y": batch.y[at]}
        return {
            "source": source,
            "step": self._step,
            "id": batch.ids[at],
            **{side: tokenizer.decode(ids.tolist()) for side, ids in sides.items()},
            **{f"tokens_{side}": len(ids) for side, ids in sides.items()},
            **{f"cut_{side}": lost for side, lost in zip("xy", cut, strict=True)},
        }

    def _found(self, trainer: Trainer) -> dict[str, Any]:
        wanted = wanted_shares(trainer)
        names = list(dict.fromkeys([*wanted, *self._all_seen]))
        seen = {name: self._all_seen[name] for name in names}
        every = sum(self._tallies.values(), Tally())
        every.tokens, every.padded = self._whole
        return {
            "first_step": self._first + 1,
            "last_step": self._step,
            "audited_steps": self._audited,
            "batch_size": self._batch_size,
            "ranks": trainer.world_size,
            "sources": {name: row(name, self._tallies.get(name, Tally()), seen, wanted) for name in names},
            "all": row("", every, seen, wanted),
            "pairs": [pair for name in names for pair in self._shown.get(name, [])],
        }

    def _write(self, trainer: Trainer) -> None:
        folder, found = Path(self.folder or trainer.default_root_dir), self._found(trainer)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / "batch_audit.json", json_text(found).encode())
            write_atomic(folder / "batch_audit.html", page(found).encode())
        except OSError as error:  # no reason to end a training, and the other ranks would wait for this one
            say(f"BatchAudit.folder: {folder}: cannot be written ({error.strerror}); the run goes on")
            return
        if len(self._audited) == 1:
            say(f"the first batch is audited: {folder / 'batch_audit.html'}")


def wanted_shares(trainer: Any) -> dict[str, float]:
    """Share of the pairs that each source is to have, where the loader has a plan that says so."""
    plan = getattr(getattr(trainer.train_dataloader, "reader", None), "plan", None)
    if plan is None:
        return {}
    return dict(zip(plan.data.names, plan.mixture.weights.tolist(), strict=True))
