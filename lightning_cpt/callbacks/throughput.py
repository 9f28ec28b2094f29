"""Logs how fast a run trains: pairs, tokens and FLOP utilisation, and what goes to padding, recomputation and waiting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from data_prep.files import write_atomic
from lightning_cpt.console import say
from lightning_cpt.data.batch import PairBatch
from lightning_cpt.errors import ConfigError
from lightning_cpt.flops import Totals, count_costs, hardware_flops, model_flops, over_ranks, rates
from lightning_cpt.gather import exchange_counts
from lightning_cpt.peak import Peak, compute_dtype, find_peak
from lightning_cpt.stopwatch import Stopwatch

_WORK = (
    "padded_tokens",
    "recomputed_tokens",
    "squares",
    "padded_squares",
    "recomputed_squares",
    "skipped_tokens",
    "padded_skipped_tokens",
    "recomputed_skipped_tokens",
)


class Throughput(Callback):
    """Logs at every `trainer.log_every_n_steps`-th step, over the steps since the last log and all ranks:

    - `train/pairs_per_second`, `train/tokens_per_second`: without padding.
    - `train/mfu`: model FLOP utilisation, FLOPs of the real tokens, forward and backward, of the devices' peak.
    - `train/hfu`: hardware FLOP utilisation, the same with padding and recomputation.
    - `train/padding`: share of the encoder's tokens that are padding.
    - `train/recomputed`: share of all FLOPs that compute a forward pass again.
    - `train/waiting`: share of the time in which a rank had nothing to do but wait for its next batch.

    At the end the same of all steps is printed and goes to FOLDER/throughput.json, where null is unknown. A
    continued run's file is about its own steps. Training time runs from asking for a batch to the end of its
    step; what lies between steps does not count: validation, probes, checkpoints, logs. Conventions of counting
    FLOPs: :class:`lightning_cpt.flops.Costs`. It should stand before other callbacks; the CLI sees to that.

    Args:
        folder: Where throughput.json goes: the run's folder. Null, outside the CLI, writes none.
        peak_tflops: Peak of one device in TFLOP/s; null takes it from a table of GPUs or measures it.
    """

    def __init__(self, folder: str | None = None, peak_tflops: float | None = None) -> None:
        if peak_tflops is not None and not peak_tflops > 0:
            raise ConfigError(
                f"Throughput.peak_tflops: {peak_tflops} is not above 0; leave it out to measure it"
            )
        self.folder = folder
        self.peak_tflops = peak_tflops

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":  # here, and not later: some strategies leave other modules in the layers' places
            self._costs = count_costs(getattr(_encoder(pl_module), "backbone", None))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        device = trainer.strategy.root_device
        self._peak = self._find_peak(device, str(trainer.precision))
        self._peaks = 0.0  # FLOP/s of all ranks together
        self._window, self._total = Totals(), Totals()
        self._step = trainer.global_step
        self._stopwatch = Stopwatch(device)

    def _find_peak(self, device: torch.device, precision: str) -> Peak | None:
        if self.peak_tflops is not None:
            return Peak(self.peak_tflops * 1e12, "given")
        return find_peak(device, compute_dtype(precision))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: PairBatch, batch_idx: int
    ) -> None:
        now = self._stopwatch.now()
        # Of our own loader; another one's waiting is not known.
        wait: tuple[float, float] | None = getattr(trainer.train_dataloader, "wait", None)
        self._window.unwatched += wait is None
        self._asked, self._got = wait or (now, now)

    def on_train_batch_end(
        self, trainer: Any, pl_module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:  # Any: log_every_n_steps is set where no type checker sees it
        self._stopwatch.lap(self._asked, self._got)
        add_work(self._window, batch, getattr(_encoder(pl_module), "work", None))
        if trainer.global_step == self._step:  # a batch that only adds to the gradient
            return
        self._step = trainer.global_step
        self._window.steps += 1
        if self._step % trainer.log_every_n_steps == 0:
            numbers = rates(self._close_window(), self._costs, self._peaks)
            known = {f"train/{name}": value for name, value in numbers.items() if value is not None}
            pl_module.log_dict(known, batch_size=len(batch))  # equal on all ranks

    def _close_window(self) -> Totals:
        """What all ranks have done since the last time; they come here together, at the same steps."""
        seconds, waited = self._stopwatch.read()
        window, self._window = self._window, Totals()
        window.nanoseconds = window.rank_nanoseconds = round(seconds * 1e9)
        window.waited = round(waited * 1e9)
        done, self._peaks = sum_over_ranks(window, self._peak, self._stopwatch.device)
        self._total += done
        return done

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close_window()  # now: later the ranks cannot talk to each other

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep what was measured up to the last log; the ranks may not meet again."""
        if hasattr(self, "_total"):
            self.on_fit_end(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the summary and write it, below the progress bar's last line."""
        if not trainer.is_global_zero or not self._total.steps:
            return
        summary = self._summary(trainer)
        for line in summary_lines(summary):
            say(line)
        if self.folder is not None:
            path = Path(self.folder) / "throughput.json"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, json_text(summary).encode())
            except OSError as error:
                say(f"{path}: cannot be written ({error.strerror})")

    def _summary(self, trainer: Trainer) -> dict[str, Any]:
        done, costs = self._total, self._costs
        known = costs if costs and done.padded_tokens and not done.unreported else None
        return {
            "steps": done.steps,
            "pairs": done.pairs,
            "tokens": done.tokens,
            "seconds": done.nanoseconds / 1e9,
            **rates(done, costs, self._peaks),
            "model_flops": model_flops(done, known) if known else None,
            "hardware_flops": hardware_flops(done, known) if known else None,
            "peak_tflops": self._peaks / 1e12 or None,
            "peak_source": self._peak.source if self._peak else None,
            "ranks": trainer.world_size,
            "device": device_name(self._stopwatch.device),
            "precision": str(trainer.precision),
        }


def _encoder(module: LightningModule) -> Any:
    return getattr(module, "encoder", None)


def add_work(window: Totals, batch: PairBatch, work: Any) -> None:
    """Count one batch; ``work`` is the encoder's report of it (:class:`lightning_cpt.chunks.Work`), if it makes one."""
    window.pairs += len(batch)
    window.tokens += sum(part.ids.numel() for part in batch.parts())
    if work is None:
        window.unreported += 1
        return
    for name in _WORK:
        setattr(window, name, getattr(window, name) + getattr(work, name))


def sum_over_ranks(window: Totals, peak: Peak | None, device: torch.device) -> tuple[Totals, float]:
    """The ranks' windows as one, and their devices' FLOP/s together, 0 where one is unknown: one collective."""
    mine = [round(peak.flops) if peak else 0, *window.values()]
    ranks = exchange_counts(mine, device)
    peaks = [flops for flops, *_ in ranks]
    return over_ranks([Totals(*values) for _, *values in ranks]), float(sum(peaks)) if all(peaks) else 0.0


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The summary as a small table; what is unknown is left out."""
    rows: list[tuple[str, str, str]] = [
        ("trained", "steps", "{} steps"),
        ("trained", "seconds", "{:.1f} s"),
        ("speed", "pairs_per_second", "{:.0f} pairs/s"),
        ("speed", "tokens_per_second", "{:.0f} tokens/s"),
        ("FLOP/s", "mfu", "{:.1%} of the peak on real tokens (MFU)"),
        ("FLOP/s", "hfu", "{:.1%} in all (HFU)"),
        ("FLOP/s", "peak_tflops", "peak {:.4g} TFLOP/s"),
        ("shares", "padding", "{:.1%} padding"),
        ("shares", "recomputed", "{:.1%} recomputed"),
        ("shares", "waiting", "{:.1%} waiting for data"),
    ]
    lines: dict[str, list[str]] = {}
    for title, key, form in rows:
        if summary[key] is not None:
            lines.setdefault(title, []).append(form.format(summary[key]))
    if "FLOP/s" in lines and summary["peak_source"]:
        lines["FLOP/s"][-1] += f" ({summary['peak_source']})"
    return [f"{title:8} {', '.join(parts)}" for title, parts in lines.items()]


def json_text(summary: dict[str, Any]) -> str:
    """Strict JSON, numbers to six figures."""
    short = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in summary.items()}
    return json.dumps(short, indent=2, allow_nan=False) + "\n"


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"cpu, threads: {torch.get_num_threads()}" if device.type == "cpu" else device.type
