"""The data of a run: the stream of training batches, the fixed validation and test pools, what to predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from data_prep.shards import SPLITS, PairShards
from lightning_cpt.console import say
from lightning_cpt.data.evaluation import (
    Checked,
    ListSource,
    RankBatches,
    Records,
    fixed_pool,
    predicted,
    read_texts,
)
from lightning_cpt.data.exchange import Exchange
from lightning_cpt.data.loader import PairLoader
from lightning_cpt.data.mixture import Exhausted, Mixing, Mixture
from lightning_cpt.data.negatives import check_negatives
from lightning_cpt.data.order import WINDOW_CHUNKS, local_batch_size
from lightning_cpt.data.plan import Plan, TrainingSet
from lightning_cpt.data.promises import promises
from lightning_cpt.data.reader import ShareReader, TrainingReader
from lightning_cpt.data.source_readers import OnCorrupt
from lightning_cpt.data.sources import Pairs, Source, SourceKeys, checked_sources
from lightning_cpt.data.token_shards import check_tokenizer
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import PairTokenizer


class PairDataModule(LightningDataModule):
    """Pairs of texts out of shards; the tokenizer is the encoder's own.

    Args:
        batch_size: Pairs in one step of all ranks together; the ranks share it evenly.
        folder: Folder with the splits train, validation and test (`cpt prep ... --out` makes it), each a
            folder of shards or of classic WebDataset tars, or the address of one (https://..., s3://...; what is
            read is kept in the folder that CPT_CACHE names). fit needs train; validation is optional.
        sources: Several such folders instead, by name: ``{text: {folder: data/text, weight: 0.7}, ...}``; or
            classes and generators of yours, ``{mine: {class_path: module.Name, init_args: {}, held_out: 500}}``
            (docs/data-sets.md).
        mixing: ``single_source``: each batch has the pairs of one source, so that none can be told from the
            others by where it comes from; or ``mixed``: each has pairs of all.
        exhausted: When a source has been passed through: ``repeat`` it in another order, ``stop`` the epoch, or
            ``drop`` it and go on with the others.
        steps_per_epoch: Batches of an epoch; null is as many as all pairs make. A source without a length needs it.
        workers: Processes per rank that read and tokenise; 0 does it in the training process.
        seed: Seed of the order of the training pairs and of the choice of the pools.
        pool_size: Pairs in the fixed validation and test pools, of each source: those with the lowest
            xxh64(seed, id).
        window_chunks: Chunks (of up to 512 pairs) of a source that are shuffled together; all workers of all ranks
            share them.
        hard_negatives: Most negatives to take from each training pair, the first ones; pairs may have fewer.
        token_dropout: Share of the tokens of training texts that are left out, at random, against learning by
            heart; 0 to below 1.
        on_corrupt: At a damaged chunk ``stop`` after a checkpoint, or ``substitute``: fill its places from the
            chunk before it.
        predict: What `cpt predict` encodes: a split's name (SOURCE/SPLIT where there are several sources), or a
            .jsonl file of objects with "x", "y" or both (and "id").
    """

    def __init__(
        self,
        batch_size: int,
        folder: str | None = None,
        sources: dict[str, SourceKeys] | None = None,
        mixing: Mixing = "single_source",
        exhausted: Exhausted = "repeat",
        steps_per_epoch: int | None = None,
        workers: int = 2,
        seed: int = 0,
        pool_size: int = 1000,
        window_chunks: int = WINDOW_CHUNKS,
        hard_negatives: int = 0,
        token_dropout: float = 0.0,
        on_corrupt: OnCorrupt = "stop",
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
        self.sources = checked_sources(folder, sources)
        self.batch_size = batch_size
        self.mixing, self.exhausted, self.steps_per_epoch = mixing, exhausted, steps_per_epoch
        self.workers = workers
        self.seed = seed
        self.pool_size = pool_size
        self.window_chunks = window_chunks
        if not 0 <= token_dropout < 1:
            raise ConfigError(f"data.token_dropout: {token_dropout} is not a share from 0 to below 1")
        self.hard_negatives = hard_negatives
        self.token_dropout = token_dropout
        self.on_corrupt = on_corrupt
        self.predict = predict
        self.splits: dict[str, dict[str, Pairs]] = {}  # of each source
        self._train: PairLoader | None = None
        self._resume: dict[str, Any] | None = None
        self._pools: dict[str, list[Checked]] = {}
        self._noted: set[str] = set()

    def prepare_data(self) -> None:
        if self._needed(self._trainer.state.fn) in SPLITS:
            for source in self.sources.values():
                source.prepare()

    def setup(self, stage: str) -> None:
        self.check(stage, self._trainer.world_size, self._tokenizer)

    def check(self, stage: str, world_size: int, tokenizer: PairTokenizer | None = None) -> None:
        """Open the splits and check what can be checked before the first step.

        Args:
            stage: fit, validate, test or predict.
            world_size: Ranks that will share the work.
            tokenizer: The encoder's; None where there is none yet, and pre-tokenised shards are taken as they are.

        Raises:
            ConfigError: a split that the stage needs is missing, the ranks cannot share the batch, weights that do
                not fit, the recipe asks for hard negatives and there are none, token ids of another tokenizer, a
                plug-in that there is not or that gives nothing.
            DataError: shards that are not whole, a plug-in that fails.
        """
        local_batch_size(self.batch_size, world_size)
        needed = self._needed(stage)
        if needed not in SPLITS:
            read_texts(Path(self.predict).expanduser())
            return
        self.splits = self._open()
        for name in self._asked(stage):
            if needed not in self.splits[name]:
                raise ConfigError(self._no_split(self.sources[name], needed, stage))
        if tokenizer is not None:
            for name, splits in self.splits.items():
                for split in splits.values():
                    check_tokenizer(name or split.source, split, tokenizer)
        if stage == "fit":
            self._check_training(world_size)

    def _no_split(self, source: Source, split: str, stage: str) -> str:
        cure = f"; name one under {source.key}.splits.{split}" if source.class_path else ""
        return f"{source.key}: {source.place} has no {split} split, which `cpt {stage}` needs{cure}"

    def _check_training(self, world_size: int) -> None:
        plan = self.plan()
        for name, splits in self.splits.items():
            if left_out := splits["train"].left_out:
                key = self.sources[name].key
                self._note(f"{key}: {left_out:,} training pairs are in quarantine and left out")
            for line in promises(self.sources[name], splits, world_size * max(1, self.workers)):
                self._note(line)
        for line in check_negatives({n: s["train"] for n, s in self.splits.items()}, self.hard_negatives):
            self._note(line)
        readers = world_size * max(1, self.workers)
        in_chunks = any(isinstance(shards, PairShards) for shards in plan.data.shards)
        if in_chunks and readers > self.window_chunks:
            self._note(
                f"data.window_chunks: {readers} workers share the {self.window_chunks} chunks of a window, so some wait "
                f"while others work; {readers} or more keeps all busy"
            )

    def _open(self) -> dict[str, dict[str, Pairs]]:
        return {name: source.open() for name, source in self.sources.items()}

    def _asked(self, stage: str) -> list[str]:
        """The sources that a stage reads."""
        name = self.predict.rpartition("/")[0]
        return [name] if stage == "predict" and name in self.sources else list(self.sources)

    def plan(self) -> Plan:
        """The records of every training batch.

        Raises:
            ConfigError: weights, sizes or steps that do not fit together.
        """
        train = {name or splits["train"].source: splits["train"] for name, splits in self.splits.items()}
        data = TrainingSet(train)
        self._check_streams(data)
        mixture = Mixture(
            data.names,
            [shards.count for shards in data.shards],
            [source.weight for source in self.sources.values()],
            self.batch_size,
            mixing=self.mixing,
            exhausted=self.exhausted,
            steps_per_epoch=self.steps_per_epoch,
            name=f"{data.fingerprint}/{self.seed}",
        )
        return Plan(data, mixture, self.seed, self.window_chunks)

    def _check_streams(self, data: TrainingSet) -> None:
        if not data.streams:
            return
        key, why = data.streams[0].folder, "has no length"
        if self.steps_per_epoch is None:
            raise ConfigError(
                f"data.steps_per_epoch: missing; {key} {why}, so say how many batches an epoch has"
            )
        if self.exhausted != "repeat":
            raise ConfigError(f"data.exhausted: {self.exhausted}, but {key} {why}; use repeat")
        if len(data.shards) > 1 and any(source.weight is None for source in self.sources.values()):
            raise ConfigError(f"{key}.weight: missing; the source {why}, so say its share and the others'")

    def _note(self, line: str) -> None:
        """Print a line once a run: Lightning sets up what the command has checked already."""
        if line not in self._noted:
            self._noted.add(line)
            say(line)

    def _needed(self, stage: str) -> str:
        """The split that a stage cannot do without, or the file that predict reads."""
        name, _, split = self.predict.rpartition("/")
        predicted = split if name in self.sources and split in SPLITS else self.predict
        if stage not in ("fit", "validate", "test") and predicted in SPLITS and name not in self.sources:
            raise ConfigError(
                f"data.predict: {self.predict} of which source? write one of "
                + ", ".join(f"{source}/{predicted}" for source in self.sources)
            )
        return {"fit": "train", "validate": "validation", "test": "test"}.get(stage, predicted)

    def train_dataloader(self) -> PairLoader:
        world_size = self._trainer.world_size
        shares = ShareReader(
            self.plan(), self.on_corrupt, self._trainer.global_rank, world_size, self.workers
        )
        reader = TrainingReader(
            shares,
            self._tokenizer,
            hard_negatives=self.hard_negatives,
            token_dropout=self.token_dropout,
        )
        self._train = PairLoader(reader, self.workers, Exchange() if world_size > 1 else None)
        if self._resume is not None:
            self._train.load_state_dict(self._resume)
        return self._train

    def val_dataloader(self) -> list[Checked]:
        return self._pool("validation")

    def test_dataloader(self) -> list[Checked]:
        return self._pool("test")

    def pool_names(self, split: str) -> list[str]:
        """The sources that have a pool of a split, in the order of its loaders; one without a name is the only one."""
        return [name for name, splits in self.splits.items() if split in splits]

    def predict_dataloader(self) -> Checked:
        name, _, split = self.predict.rpartition("/")
        name = name or next(iter(self.sources))
        source = predicted(self.splits[name][split]) if name in self.splits and split in SPLITS else None
        source = source or ListSource(read_texts(Path(self.predict).expanduser()))
        return Checked(
            DataLoader(
                self._share(source), batch_size=None, num_workers=self.workers, generator=torch.Generator()
            )
        )

    def _pool(self, split: str) -> list[Checked]:
        """The split's fixed pool of each source, tokenised once."""
        if split not in self._pools:
            self._pools[split] = []
            for name in self.pool_names(split):
                pool = fixed_pool(self.splits[name][split], self.seed, self.pool_size)
                batches = self._share(ListSource(pool))
                self._pools[split].append(Checked([batches[index] for index in range(len(batches))]))
        return self._pools[split]

    def _share(self, source: Records) -> RankBatches:
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
