"""A training step on real code pairs: ours against sentence-transformers' losses, same backbone, batch and gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import corpus
from benchmarks.common import Record, alternate, parser, run, say
from benchmarks.processes import Worker, WorkerLost, closing_all
from benchmarks.training_summary import report, summarise
from lightning_cpt.errors import ConfigError
from lightning_cpt.memory import free_memory

PRELOAD = ("benchmarks.sides",)
_DECODER = {"model_type": "qwen3", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
_DECODER |= {
    "num_key_value_heads": 4,
    "head_dim": 64,
    "intermediate_size": 768,
    "max_position_embeddings": 256,
}
# As recipes/cpt-text-s.yaml, with fresh weights and our own tokenizer.
_TEXT_S = {"model_type": "gpt_neox", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
_TEXT_S |= {"intermediate_size": 4096, "max_position_embeddings": 2048}
# Equal in function to the last bit of what is compared; dropout would be drawn differently.
_NO_DROPOUT = {"attention_dropout": 0.0}


@dataclass(frozen=True)
class Plan:
    """Sizes of one run.

    Args:
        shape: The backbone's configuration.
        pairs: The global batch.
        sweep_pairs: Pairs of the steps that choose each side's setting.
        check_pairs: Pairs of the gradients that are compared, in float32.
        max_length: Most tokens of a sequence.
        mean_length: Tokens of a sequence on average, lengths stretched by one factor; None leaves them.
        chunk_tokens: Ours, to choose from.
        mini_batch_size, mini_batch_num_tokens: The peer's, to choose from.
    """

    shape: dict[str, Any]
    pairs: int
    sweep_pairs: int
    check_pairs: int
    max_length: int
    mean_length: float | None
    chunk_tokens: tuple[int, ...]
    mini_batch_size: tuple[int, ...]
    mini_batch_num_tokens: tuple[int, ...]


_PLANS = {
    "cpu": Plan(
        _DECODER,
        512,
        128,
        64,
        256,
        None,
        (512, 1024, 2048, 4096, 8192),
        (4, 8, 16, 32, 64),
        (1024, 2048, 4096, 8192),
    ),
    "cuda": Plan(
        _TEXT_S, 12288, 1024, 64, 512, 128, (16384, 65536, 131072), (32, 64, 128, 256), (16384, 65536)
    ),
    "quick": Plan(_DECODER, 24, 12, 12, 64, None, (512, 1024), (4, 8), (512,)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("training", __doc__, repetitions=5)
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    options.add_argument(
        "--minutes", type=float, metavar="M", help="begin no round of repetitions after so long"
    )
    args = options.parse_args(arguments)
    if args.device == "cuda":
        _need_gpu()
    plan = _PLANS["quick" if args.quick else args.device]
    settings = {"device": args.device, "threads": args.threads, "quick": args.quick, **vars(plan)}
    record = Record(args.json, "training", settings, fresh=args.fresh)
    setup = prepare(plan, args.work, args.device, args.threads, quick=args.quick)
    bench = Bench(record, plan, setup, args.work)
    record.finish(bench.run(args.repetitions, args.minutes))
    print(report(record.data))


def _need_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise ConfigError("--device: cuda, but torch finds no GPU here; use --device cpu")


def prepare(plan: Plan, work: Path, device: str, threads: int, *, quick: bool) -> Any:
    """Token ids of the pairs and the weights that all sides start from."""
    from benchmarks.sides import Setup
    from lightning_cpt.tokenization import PairTokenizer

    pairs = corpus.code_pairs(work, quick=quick)
    tokenizer = corpus.tokenizer(pairs)
    name = f"training-{device}{'-quick' if quick else ''}"
    tokenization = PairTokenizer(tokenizer, max_length_x=plan.max_length, max_length_y=plan.max_length)
    x, y = corpus.tokens(tokenization, corpus.chosen(pairs, "train", plan.pairs))
    if plan.mean_length:
        x, y = (corpus.stretched(side, plan.mean_length, plan.max_length) for side in (x, y))
    tokens = work / name / "tokens.npz"
    corpus.save_tokens(tokens, x, y)
    start = corpus.start_weights(work / name / "start", plan.shape | _NO_DROPOUT, tokenizer)
    return Setup(str(start), str(tokens), device, threads, plan.max_length)


class Bench:
    """The measurements, one after the other; each is in the record before the next begins."""

    def __init__(self, record: Record, plan: Plan, setup: Any, work: Path) -> None:
        self.record, self.plan, self.setup, self.work = record, plan, setup, work

    def run(self, repetitions: int, minutes: float | None) -> dict[str, Any]:
        difference = self.record.once("check", self._check)
        chosen = {**self._sweep_ours(), **self._sweep_peers()}
        say(f"chosen: {chosen}")
        sides = self._final_sides(chosen)
        results = self._repeat(sides, repetitions, minutes)
        return summarise(results, chosen, difference, self._device_facts(results), self.plan.pairs)

    def _worker(self, kind: str, pairs: int, **options: Any) -> Worker:
        from benchmarks import sides

        return Worker(getattr(sides, kind), self.setup, pairs, preload=PRELOAD, **options)

    def _check(self) -> dict[str, Any]:
        """Embeddings and gradients of the same pairs, by ours, the peer and the plain step."""
        say("comparing embeddings and gradients")
        pairs, plan = self.plan.check_pairs, self.plan
        kinds: dict[str, tuple[str, dict[str, Any]]] = {
            "ours": ("Ours", {"chunk_tokens": plan.chunk_tokens[0], "activation_memory": 0}),
            "peer": ("Peer", {"loss": {"mini_batch_size": plan.mini_batch_size[0]}}),
            "plain": ("Plain", {"chunk_tokens": plan.chunk_tokens[0]}),
        }
        vectors, gradients, losses, mixed = {}, {}, {}, {}
        for name, (kind, options) in kinds.items():
            path = Path(self.setup.tokens).with_name(f"gradient-{name}.npy")
            with self._worker(kind, pairs, **options) as worker:
                vectors[name] = worker.ask("embeddings", pairs)
                losses[name] = worker.ask("gradient", str(path), pairs)["loss"]
                gradients[name] = np.load(path).astype(np.float64)
                if self.setup.device == "cuda":  # the kernels that are timed
                    worker.ask("gradient", str(path), pairs, mixed=True)
                    mixed[name] = np.load(path).astype(np.float64)
            path.unlink()
        return {
            "pairs": pairs,
            "embedding_difference": float(np.abs(vectors["ours"] - vectors["peer"]).max()),
            "gradient_difference": _apart(gradients["ours"], gradients["peer"]),
            "gradient_difference_to_plain": _apart(gradients["ours"], gradients["plain"]),
            "losses": losses,
            **({"gradient_difference_mixed": _apart(mixed["ours"], mixed["peer"])} if mixed else {}),
        }

    def _try(self, name: str, kind: str, pairs: int, steps: int = 2, **options: Any) -> dict[str, Any]:
        """A few steps of one setting in a fresh process: the quickest one's seconds, the highest peak."""

        def measure() -> dict[str, Any]:
            try:
                with self._worker(kind, pairs, **options) as worker:
                    worker.ask("warm")
                    done = [worker.ask("step") for _ in range(steps)]
            except WorkerLost as lost:
                say(f"{name}: {str(lost)[:120]}")
                return {"failed": str(lost)[:200], "options": options}
            best = min(step["seconds"] for step in done)
            return {
                "pairs_per_second": pairs / best,
                "peak_mib": max(step["peak_mib"] for step in done),
                "pairs": pairs,
                "options": options,
            }

        new = not self.record.runs(name)
        found: dict[str, Any] = self.record.once(name, measure)
        if new and "failed" not in found:
            say(f"{name}: {found['pairs_per_second']:.1f} pairs/s, {found['peak_mib']:,.0f} MiB")
        return found

    def _sweep_ours(self) -> dict[str, Any]:
        """Chunk sizes, everything kept; then the same with all recomputed, for its best."""
        rows = {}
        for tokens in self.plan.chunk_tokens:
            for memory in self._memories():
                options: dict[str, Any] = {"chunk_tokens": tokens, "activation_memory": memory}
                name = f"sweep ours chunk_tokens={tokens} activation_memory={memory}"
                rows[tokens, memory] = self._try(name, "Ours", self.plan.sweep_pairs, **options)
        again = _quickest([row for (_, memory), row in rows.items() if memory == 0])
        kept = [row for (_, memory), row in rows.items() if memory == "all"]
        return {"ours": _quickest(kept) if kept else again, "ours recomputed": again}

    def _memories(self) -> tuple[str | int, ...]:
        """On CUDA the sweep's tokens would keep some 240 GB, and no final side keeps all."""
        return (0,) if self.setup.device == "cuda" else ("all", 0)

    def _sweep_peers(self) -> dict[str, Any]:
        """Mini-batches by pairs and by tokens, in the pairs' own order and sorted by length. The best three of a
        few pairs go on with the whole batch, where sorting helps more."""
        settings: list[dict[str, int]] = [{"mini_batch_size": size} for size in self.plan.mini_batch_size]
        settings += [{"mini_batch_num_tokens": number} for number in self.plan.mini_batch_num_tokens]
        chosen = {}
        for name, by_length in (("cached", False), ("cached sorted", True)):
            rows = []
            for loss in settings:
                label = f"sweep {name} " + " ".join(f"{key}={value}" for key, value in loss.items())
                rows.append(self._try(label, "Peer", self.plan.sweep_pairs, loss=loss, by_length=by_length))
            best = sorted((row for row in rows if "failed" not in row), key=lambda r: -r["pairs_per_second"])
            count = 1 if self.setup.device == "cuda" else 3  # minutes are few there
            finals = [self._on_whole(name, row["options"]) for row in best[:count]]
            chosen[name] = _quickest([row for row in finals if "failed" not in row] or rows)
        return chosen

    def _on_whole(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        label = " ".join(f"{key}={value}" for key, value in options["loss"].items())
        return self._try(f"whole batch peer {name} {label}", "Peer", self.plan.pairs, steps=1, **options)

    def _final_sides(self, chosen: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
        tokens = chosen["ours"]["chunk_tokens"]
        sides: dict[str, tuple[str, dict[str, Any]]]
        ours: dict[str, Any] = {"chunk_tokens": tokens}
        sides = {
            "ours, keeping all": ("Ours", {**ours, "activation_memory": "all"}),
            "ours, recomputing all": ("Ours", {**ours, "activation_memory": 0}),
            "plain step": ("Plain", ours),
            "peer, cached": ("Peer", chosen["cached"]),
            "peer, cached, sorted": ("Peer", chosen["cached sorted"]),
            "peer, plain loss": ("Peer", {}),
        }
        if (
            self.setup.device == "cuda"
        ):  # none of the others fits there, or its step takes too much of the minutes
            sides = {name: sides[name] for name in ("peer, cached", "peer, cached, sorted")}
            sides["ours, memory filled"] = ("Ours", self.record.once("filled", partial(self._filled, tokens)))
        for name in [name for name in sides if not self._fits(name, *sides[name])]:
            del sides[name]
        if equal := self.record.once("equal memory", partial(self._equal_memory, sides, chosen)):
            sides["ours, at the peer's memory"] = ("Ours", equal)
        return sides

    def _filled(self, tokens: int) -> dict[str, Any]:
        """Ours with as much kept as the device has room for beside what the other sides hold between steps."""
        import torch

        whole = self.plan.pairs
        free = torch.cuda.get_device_properties(0).total_memory
        for share in (0.6, 0.45, 0.3, 0.15):
            setting = {"chunk_tokens": tokens, "activation_memory": int(share * free)}
            if "failed" not in self._try(
                f"whole batch ours {share:.0%} kept", "Ours", whole, steps=1, **setting
            ):
                return setting
        return {"chunk_tokens": tokens, "activation_memory": 0}

    def _fits(self, name: str, kind: str, options: dict[str, Any]) -> bool:
        """Whether the whole batch fits, by a smaller one's peak; on CUDA it is tried."""
        if self.setup.device == "cuda":
            order = name.removeprefix("peer, ").replace(",", "")
            return name.startswith("ours") or "failed" not in self._on_whole(order, options)
        few = max(8, self.plan.pairs // 16)
        probe = self._try(f"probe {name}", kind, few, steps=1, **options)
        need = probe.get("peak_mib", math.inf) * self.plan.pairs / few * 2**20
        if name.startswith("peer, cached") or "recomputing" in name or need < 0.85 * free_memory():
            return True
        say(f"{name}: about {need / 2**30:.0f} GiB for {self.plan.pairs} pairs, more than is free: left out")
        self.record.data.setdefault("left_out", {})[name] = f"needs about {need / 2**30:.0f} GiB"
        return False

    def _equal_memory(self, sides: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any] | None:
        """The setting of ours that takes no more memory than the cached peer, with as much kept as that allows."""
        whole = self.plan.pairs
        _, options = sides["peer, cached"]
        limit = self._on_whole("cached", options)["peak_mib"]
        tokens = min(chosen["ours"]["chunk_tokens"], chosen["ours recomputed"]["chunk_tokens"])
        for chunk in [size for size in sorted(self.plan.chunk_tokens, reverse=True) if size <= tokens] or [
            tokens
        ]:
            name = f"whole batch ours chunk_tokens={chunk} activation_memory="
            least = self._try(name + "0", "Ours", whole, steps=1, chunk_tokens=chunk, activation_memory=0)
            budget = int((limit - least.get("peak_mib", math.inf)) * 2**20) if "peak_mib" in least else -1
            while budget > 2**20:
                setting = {"chunk_tokens": chunk, "activation_memory": budget}
                tried = self._try(f"{name}{budget >> 20}MiB", "Ours", whole, steps=1, **setting)
                if tried.get("peak_mib", math.inf) <= limit:
                    return setting
                budget = int(budget * 0.75)
            if least.get("peak_mib", math.inf) <= limit:
                return {"chunk_tokens": chunk, "activation_memory": 0}
        say("no setting of ours takes as little memory as the cached peer")
        return None

    def _repeat(
        self, sides: Mapping[str, Any], repetitions: int, minutes: float | None
    ) -> dict[str, list[dict[str, Any]]]:
        todo = [name for name in sides if len(self.record.runs(name)) < repetitions]
        with closing_all({}) as workers:
            for name in todo:
                kind, options = sides[name]
                workers[name] = self._worker(kind, self.plan.pairs, **options)
                workers[name].ask("warm")
            alternate(
                self.record,
                {name: partial(self._one, workers, name) for name in sides},
                repetitions,
                lambda name, done: say(f"{name}: {done['seconds']:.2f} s, {done['peak_mib']:,.0f} MiB"),
                minutes=minutes,
            )
        done = min(len(self.record.runs(name)) for name in sides)
        return {name: self.record.runs(name)[: min(done, repetitions)] for name in sides}

    def _one(self, workers: Mapping[str, Worker], name: str) -> dict[str, Any]:
        step: dict[str, Any] = workers[name].ask("step")
        if name.startswith("ours"):
            step["work"] = workers[name].ask("work")
        return step

    def _device_facts(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Model FLOP utilisation of ours, on real tokens, where the device's peak is in Lightning's table."""
        if self.setup.device != "cuda":
            return {}
        flops = results["ours, memory filled"][0]["work"]["model_flops"]
        peaks = _gpu_peaks()
        return {"model_flops_per_step": flops, "peaks": peaks} if flops else {}


def _gpu_peaks() -> dict[str, float | None]:
    """bf16 FLOP/s by Lightning's table, and by the maker's sheet as the Throughput callback has it."""
    import torch
    from lightning.fabric.utilities.throughput import get_available_flops

    from lightning_cpt.peak import find_peak

    device = torch.device("cuda")
    try:
        listed = get_available_flops(device, torch.bfloat16)
    except Exception:  # a chip that it does not know
        listed = None
    sheet = find_peak(device, torch.bfloat16)
    return {"lightning": listed, "sheet": sheet.flops if sheet else None}


def _apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """The norm of the difference of two gradients over that of the second."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def _quickest(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Options of the fastest row that ran."""
    good = [row for row in rows if "failed" not in row]
    if not good:
        raise ConfigError(f"no setting ran: {rows[0]['failed']}")
    best = max(good, key=lambda row: row["pairs_per_second"])
    options: dict[str, Any] = {**best["options"]}
    options.pop("by_length", None)
    return {**options, **({"by_length": True} if best["options"].get("by_length") else {})}


if __name__ == "__main__":
    run(main)
