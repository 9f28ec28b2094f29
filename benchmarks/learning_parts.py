"""One part of the learning benchmark in a process of its own: trains one side for so many seconds and scores it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import corpus
from benchmarks.learners import Course, Pairs, orders, train_ours, train_peer
from benchmarks.sides import features, peer_model, symmetric_loss
from benchmarks.text_scores import text_scores
from data_prep.shards import open_splits
from eval_suite.adapters import SentenceTransformerEncoder
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.quickstart.measure import search
from lightning_cpt.scored import quiet

POOL = 1000
_CHUNK_TOKENS = 2048
# The peer's to choose from: its cached loss, and the plain one, which keeps everything: these backbones fit.
_LOSSES = (
    {"mini_batch_size": 16},
    {"mini_batch_size": 32},
    {"mini_batch_size": 64},
    {"mini_batch_size": 128},
    None,
)
_SCORED_TOKENS = 256  # texts are scored at this length, longer than they are trained at where time is short


@dataclass(frozen=True)
class Part:
    """What is learned, and from where.

    Args:
        name: code, text-small or text-minilm.
        pairs: Folder of the splits.
        start: Folder of the weights and the tokenizer that both sides start from.
        options: TextEncoder's: lengths, delimiters.
        batch_size: Pairs.
        data: Folder of the evaluation data; empty scores by the held-out pairs alone.
        tasks: SentEval's, to average.
        quick: A smoke test.
    """

    name: str
    pairs: str
    start: str
    options: dict[str, Any]
    batch_size: int
    data: str
    tasks: tuple[str, ...]
    quick: bool


class Learner:
    """Pairs and pools of a part, and the runs on them.

    Args:
        part: What is learned.
        threads: Of torch.
        native: The peer has the model as it was published (mean pooling, [CLS] and [SEP]), not our function.
    """

    def __init__(self, part: Part, threads: int, native: bool = False) -> None:
        torch.set_num_threads(threads)
        corpus.quiet_transformers()
        self.part, self.native = part, native
        own = {"delimiters": {"x": ["[CLS]", "[SEP]"], "y": ["[CLS]", "[SEP]"]}}
        self.encoder = TextEncoder(
            part.start,
            **part.options | (own if native else {}),
            chunk_tokens=_CHUNK_TOKENS,
            activation_memory="all",
        )
        splits = open_splits(part.pairs)
        sizes = {name: min(POOL, splits[name].count) for name in ("validation", "test")}
        self.pools = {name: corpus.chosen(Path(part.pairs), name, size) for name, size in sizes.items()}
        self._splits = splits
        self._pairs: Pairs | None = None

    @property
    def pairs(self) -> Pairs:
        if self._pairs is None:
            self._pairs = Pairs.of(self.encoder.tokenization, list(self._splits["train"]))
        return self._pairs

    def _peer(self) -> Any:
        longest = max(self.encoder.tokenization.max_length.values())
        return peer_model(self.part.start, longest, "mean" if self.native else "lasttoken")

    def peer_settings(self) -> list[dict[str, Any]]:
        """Seconds of one peer step in each of its settings, the fastest first."""
        rows = [self._time_peer(loss, by_length) for loss in _LOSSES for by_length in (False, True)]
        return sorted(rows, key=lambda row: row["seconds"])

    def _time_peer(self, loss: dict[str, int] | None, by_length: bool) -> dict[str, Any]:
        model = self._peer().train()
        step = symmetric_loss(model, loss)
        rows = next(orders(len(self.pairs), self.part.batch_size, 0))
        x, y = self.pairs.x.select(rows), self.pairs.y.select(rows)
        if by_length:
            order = (x.lengths + y.lengths).argsort(stable=True)  # (n,)
            x, y = x.select(order), y.select(order)
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            step([features(side, "cpu") for side in (x, y)], None).backward()
            seconds.append(time.perf_counter() - began)
        return {"loss": loss, "by_length": by_length, "seconds": min(seconds)}

    def run(
        self, side: str, setting: dict[str, Any], rate: float, seed: int, seconds: float, tuning: bool = False
    ) -> dict[str, Any]:
        """Train one side, then its scores: the validation pairs' MRR while tuning, all held-out ones otherwise."""
        torch.manual_seed(seed)
        _ = self.pairs  # not in the training's seconds
        course = Course(seconds=seconds)
        how: dict[str, Any] = {"batch_size": self.part.batch_size, "learning_rate": rate, "seed": seed}
        if side == "ours":
            done = train_ours(self.encoder, self.pairs, course, **how)
            return {**done, "learning_rate": rate, **self.scores(tuning=tuning)}
        model = self._peer()
        loss = symmetric_loss(model, setting["loss"])
        done = train_peer(model, loss, self.pairs, course, by_length=setting["by_length"], **how)
        return {**done, "learning_rate": rate, **self.scores(model, tuning=tuning)}

    def scores(self, peer: Any = None, *, tuning: bool = False) -> dict[str, Any]:
        """Of our encoder, with the peer's weights where there is one; a native peer is scored as it is."""
        encoder: Any = self._as_encoder(peer)
        if tuning:
            return {"mrr": search(encoder, self.pools["validation"]).mrr}
        found: dict[str, Any] = {"mrr": search(encoder, self.pools["test"]).mrr}
        if self.part.data:
            found |= text_scores(encoder, Path(self.part.data), self.part.tasks, quick=self.part.quick)
        return found

    def _as_encoder(self, peer: Any) -> Any:
        if self.native:
            model = (peer or self._peer()).eval()
            model.max_seq_length = _SCORED_TOKENS
            return SentenceTransformerEncoder(model, "sentence-transformers")
        lengths = self.encoder.tokenization.max_length
        lengths.update({side: max(_SCORED_TOKENS, length) for side, length in lengths.items()})
        if peer is not None:
            self.encoder.backbone.load_state_dict(peer[0].model.state_dict())
        return quiet(self.encoder.eval())
