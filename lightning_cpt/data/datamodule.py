"""The data of a run: the stream of training batches, the fixed validation and test pools, what to predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from data_prep.shards import SPLITS, PairShards, open_splits
from lightning_cpt.console import say
from lightning_cpt.data.evaluation import (
    Checked,
    ListSource,
    RankBatches,
    ShardSource,
    fixed_pool,
    read_texts,
)
from lightning_cpt.data.loader import PairLoader, TrainingBatches
from lightning_cpt.data.negatives import check_negatives
from lightning_cpt.data.order import WINDOW_CHUNKS, batches_per_epoch, local_batch_size
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import PairTokenizer


class PairDataModule(LightningDataModule):
    """Pairs of texts out of shards; the tokenizer is the encoder's own.

    Args:
        folder: Folder with the splits train, validation and test (`cpt prep ... --out` makes it), each a
            folder of shards or of classic WebDataset tars. fit needs train; validation is optional.
        batch_size: Pairs in one step of all ranks together; the ranks share it evenly.
        workers: Processes per rank that read and tokenise; 0 does it in the training process.
        seed: Seed of the order of the training pairs and of the choice of the pools.
        pool_size: Pairs in the fixed validation and test pools: those with the lowest xxh64(seed, id).
        window_chunks: Chunks (of 512 pairs) that are shuffled together; a worker holds twice as many.
        hard_negatives: Most negatives to take from each training pair, the first ones; pairs may have fewer.
        token_dropout: Share of the tokens of training texts that are left out, at random, against learning by
            heart; 0 to below 1.
        predict: What `cpt predict` encodes: a split's name, or a .jsonl file of objects with "x", "y" or both
            (and "id").
    """

    def __init__(
        self,
        folder: str,
        batch_size: int,
        workers: int = 2,
        seed: int = 0,
        pool_size: int = 1000,
        window_chunks: int = WINDOW_CHUNKS,
        hard_negatives: int = 0,
        token_dropout: float = 0.0,
        predict: str = "test",
    ) -> None:
        super().__init__()
        for name, value, least in [
            ("batch_size", batch_size, 1),
            ("workers", workers, 0),
            ("pool_size", pool_size, 1),
            ("window_chunks", window_chunks, 1),
            ("hard_negatives", hard_negatives, 0),
        ]:
            if value < least:
                raise ConfigError(f"data.{name}: {value} is too small; use {least} or more")
        self.folder = Path(folder).expanduser()
        self.batch_size = batch_size
        self.workers = workers
        self.seed = seed
        self.pool_size = pool_size
        self.window_chunks = window_chunks
        if not 0 <= token_dropout < 1:
            raise ConfigError(f"data.token_dropout: {token_dropout} is not a share from 0 to below 1")
        self.hard_negatives = hard_negatives
        self.token_dropout = token_dropout
        self.predict = predict
        self.splits: dict[str, PairShards] = {}
        self._train: PairLoader | None = None
        self._resume: dict[str, Any] | None = None
        self._pools: dict[str, Checked] = {}
        self._noted: set[str] = set()

    def prepare_data(self) -> None:
        if self._needed(self._trainer.state.fn) in SPLITS:
            open_splits(
                self.folder
            )  # one process indexes classic tars at first sight, the others find the index

    def setup(self, stage: str) -> None:
        self.check(stage, self._trainer.world_size)

    def check(self, stage: str, world_size: int) -> None:
        """Open the splits and check what can be checked before the first step.

        Args:
            stage: fit, validate, test or predict.
            world_size: Ranks that will share the work.

        Raises:
            ConfigError: a split that the stage needs is missing, the ranks cannot share the batch, the recipe asks
                for hard negatives and there are none.
            DataError: shards that are not whole.
        """
        local_batch_size(self.batch_size, world_size)
        needed = self._needed(stage)
        if needed not in SPLITS:
            read_texts(Path(self.predict).expanduser())
            return
        if not self.folder.is_dir():
            raise ConfigError(
                f"data.folder: there is no folder {self.folder}; `cpt prep ... --out` makes one"
            )
        self.splits = open_splits(self.folder)
        if needed not in self.splits:
            raise ConfigError(f"data.folder: {self.folder} has no {needed} split, which `cpt {stage}` needs")
        if stage == "fit":
            batches_per_epoch(self.splits["train"].count, self.batch_size)
            self._note(check_negatives(self.splits["train"], self.hard_negatives))

    def _note(self, line: str | None) -> None:
        """Print a line once a run: Lightning sets up what the command has checked already."""
        if line is not None and line not in self._noted:
            self._noted.add(line)
            say(line)

    def _needed(self, stage: str) -> str:
        """The split that a stage cannot do without, or the file that predict reads."""
        return {"fit": "train", "validate": "validation", "test": "test"}.get(stage, self.predict)

    def train_dataloader(self) -> PairLoader:
        batches = TrainingBatches(
            self.splits["train"],
            self._tokenizer,
            batch_size=self.batch_size,
            seed=self.seed,
            window_chunks=self.window_chunks,
            hard_negatives=self.hard_negatives,
            token_dropout=self.token_dropout,
            rank=self._trainer.global_rank,
            world_size=self._trainer.world_size,
        )
        self._train = PairLoader(batches, self.workers)
        if self._resume is not None:
            self._train.load_state_dict(self._resume)
        return self._train

    def val_dataloader(self) -> Checked | list[Any]:
        return self._pool("validation") if "validation" in self.splits else []

    def test_dataloader(self) -> Checked:
        return self._pool("test")

    def predict_dataloader(self) -> Checked:
        split = self.splits.get(self.predict)
        source = ShardSource(split) if split else ListSource(read_texts(Path(self.predict).expanduser()))
        return Checked(
            DataLoader(
                self._share(source), batch_size=None, num_workers=self.workers, generator=torch.Generator()
            )
        )

    def _pool(self, split: str) -> Checked:
        """The split's fixed pool, tokenised once."""
        if split not in self._pools:
            batches = self._share(ListSource(fixed_pool(self.splits[split], self.seed, self.pool_size)))
            self._pools[split] = Checked([batches[index] for index in range(len(batches))])
        return self._pools[split]

    def _share(self, source: ListSource | ShardSource) -> RankBatches:
        trainer = self._trainer
        size = local_batch_size(self.batch_size, trainer.world_size)
        return RankBatches(source, self._tokenizer, size, trainer.global_rank, trainer.world_size)

    def state_dict(self) -> dict[str, Any]:
        """The training loader's position; the one of the checkpoint where nothing was trained on."""
        return self._train.state_dict() if self._train is not None else dict(self._resume or {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the position for the training loader.

        Lightning restores a loader's own state only where an epoch was not finished, and not at all once
        something has asked for ``estimated_stepping_batches``; a data module's state always comes back.
        """
        self._resume = state_dict
        if self._train is not None:
            self._train.load_state_dict(state_dict)

    def teardown(self, stage: str) -> None:
        if self._train is not None:
            self._train.close()

    @property
    def _trainer(self) -> Any:
        if self.trainer is None:
            raise ConfigError("PairDataModule: give it to a Trainer, which knows the ranks and the tokenizer")
        return self.trainer

    @property
    def _tokenizer(self) -> PairTokenizer:
        tokenizer: PairTokenizer = self._trainer.lightning_module.encoder.tokenization
        return tokenizer
