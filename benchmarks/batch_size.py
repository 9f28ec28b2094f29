"""Batch size and quality, after the paper's Table 9: the same number of pairs seen, held-out MRR by batch size."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.common import Record, alternate, parser, run, say, summary, table

BATCHES = (32, 64, 128, 256, 512, 1024, 2048)
SHAPE = {"width": 192, "heads": 4, "positions": 48}
LENGTHS: dict[str, Any] = {"max_length_x": 24, "max_length_y": 48, "drop_repeats": True}
RATES = (1e-3, 2e-3, 4e-3)
TUNED_AT = 256  # pairs a batch
_RULES = {"sqrt": lambda batch: (batch / TUNED_AT) ** 0.5, "fixed": lambda batch: 1.0}
_POOL = 1000


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("batch_size", __doc__)
    options.add_argument("--pairs", type=int, metavar="N", help="seen in each run; default: 65536")
    options.add_argument("--batches", type=int, nargs="+", metavar="N", help="default: 32 to 2,048, doubled")
    options.add_argument("--seeds", type=int, metavar="N", help="default: 3")
    options.add_argument(
        "--rule",
        choices=[*_RULES, "each"],
        default="sqrt",
        help="learning rate by batch size: sqrt(batch / 256) or fixed, its rate tuned once at 256 on the validation "
        "packages; each: tuned at every batch size (default: %(default)s)",
    )
    args = options.parse_args(arguments)
    batches = args.batches or ((16, 32) if args.quick else BATCHES)
    pairs = args.pairs or (128 if args.quick else 65536)
    settings = {
        "pairs": pairs,
        "rule": args.rule,
        "threads": args.threads,
        "quick": args.quick,
        "rates": RATES,
    }
    record = Record(
        args.json, "batch_size", {**settings, "shape": SHAPE, "lengths": LENGTHS}, fresh=args.fresh
    )
    trial = Trial(args.work, pairs, args.threads, quick=args.quick)
    measure(record, trial, batches, args.seeds or (1 if args.quick else 3), args.rule)
    record.finish(summarise(record, batches))
    if args.json:
        draw(record.data, args.json.with_suffix(".png"))
    print(report(record.data))


class Trial:
    """The data and the start of all runs.

    Args:
        work: Where pairs, tokenizer and weights lie.
        pairs: Seen in a run.
        threads: Of torch.
        quick: Tiny data.
    """

    def __init__(self, work: Path, pairs: int, threads: int, *, quick: bool) -> None:
        import torch

        from benchmarks.learners import Pairs
        from data_prep.shards import open_splits

        torch.set_num_threads(threads)
        corpus.quiet_transformers()
        folder = corpus.code_pairs(work, quick=quick)
        tokenizer = corpus.tokenizer(folder, identifiers=True)
        self.start = corpus.averaging_start(
            folder / f"start-{SHAPE['width']}-{SHAPE['positions']}", tokenizer, **SHAPE
        )
        self.pairs = pairs
        splits = open_splits(folder)
        sizes = {name: min(_POOL, splits[name].count) for name in ("validation", "test")}
        self.pools = {name: corpus.chosen(folder, name, size) for name, size in sizes.items()}
        self.data = Pairs.of(self.encoder().tokenization, list(splits["train"]))
        say(f"{len(self.data):,} training pairs")

    def encoder(self) -> Any:
        from lightning_cpt.encoder import TextEncoder

        return TextEncoder(str(self.start), chunk_tokens=4096, activation_memory="all", **LENGTHS)

    def run(self, batch: int, rate: float, seed: int, pool: str = "test") -> dict[str, float]:
        """Train once; the pool's MRR and what it took."""
        from benchmarks.learners import Course, train_ours
        from lightning_cpt.quickstart.measure import search
        from lightning_cpt.scored import quiet

        encoder = self.encoder()
        course = Course(steps=max(1, self.pairs // batch))
        done = train_ours(encoder, self.data, course, batch_size=batch, learning_rate=rate, seed=seed)
        return {"mrr": search(quiet(encoder), self.pools[pool]).mrr, "learning_rate": rate, **done}


def measure(record: Record, trial: Trial, batches: Sequence[int], seeds: int, rule: str) -> None:
    """Tune the rate on the validation packages, then run every batch size with every seed."""
    rates = rates_of(record, trial, batches, rule)
    runs = {f"batch {batch}": (batch, rates[batch]) for batch in batches}
    counts: dict[str, int] = {name: len(record.runs(name)) for name in runs}

    def once(name: str) -> dict[str, float]:
        counts[name] += 1  # the seed is the repetition's number
        return trial.run(*runs[name], counts[name])

    alternate(record, {name: partial(once, name) for name in runs}, seeds, _log)


def rates_of(record: Record, trial: Trial, batches: Sequence[int], rule: str) -> dict[int, float]:
    """The learning rate of each batch size."""
    if rule != "each":
        best = tune(record, trial, TUNED_AT, RATES)
        return {batch: best * _RULES[rule](batch) for batch in batches}
    root = _RULES["sqrt"]
    return {batch: tune(record, trial, batch, [rate * root(batch) for rate in RATES]) for batch in batches}


def tune(record: Record, trial: Trial, batch: int, rates: Sequence[float]) -> float:
    """The rate with the best MRR on the validation packages, seed 0."""
    scores = {}
    for rate in rates:
        name = f"tune {batch} {rate:.2e}"
        new = not record.runs(name)
        scores[rate] = record.once(name, partial(trial.run, batch, rate, 0, "validation"))["mrr"]
        if new:
            _log(name, record.runs(name)[0])
    return max(scores, key=lambda rate: scores[rate])


def _log(name: str, done: Mapping[str, float]) -> None:
    rate = done["learning_rate"]
    say(
        f"{name}: MRR {done['mrr']:.4f}, {done['steps']} steps in {done['seconds']:.0f} s, learning rate {rate:.2e}"
    )


def summarise(record: Record, batches: Sequence[int]) -> dict[str, Any]:
    """MRR by batch size, and whether the medians rise at every doubling."""
    rows = {}
    for batch in batches:
        runs = record.runs(f"batch {batch}")
        seconds = statistics.median(found["seconds"] for found in runs)
        rows[str(batch)] = {
            "mrr": summary([found["mrr"] for found in runs]),
            "steps": runs[0]["steps"],
            "learning_rate": runs[0]["learning_rate"],
            "seconds": seconds,
        }
    medians = [row["mrr"]["median"] for row in rows.values()]
    rises = all(later > earlier for earlier, later in pairwise(medians))
    return {"rows": rows, "rises_everywhere": rises, "largest_over_smallest": medians[-1] / medians[0]}


def report(data: Mapping[str, Any]) -> str:
    """The table of a run."""
    rows = [
        [
            f"{int(batch):,}",
            *(row["mrr"][key] for key in ("median", "low", "high")),
            row["steps"],
            row["seconds"],
        ]
        for batch, row in data["rows"].items()
    ]
    header = ["batch", "MRR, median", "low", "high", "steps", "seconds"]
    return f"{table(header, rows)}\nrises at every doubling: {data['rises_everywhere']}"


def draw(data: Mapping[str, Any], path: Path) -> None:
    """The picture: MRR over the batch size, every seed a dot, a line through the medians."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    batches = [int(batch) for batch in data["rows"]]
    scores = [row["mrr"] for row in data["rows"].values()]
    axes.plot(batches, [score["median"] for score in scores], color="#2563a8")
    for batch, score in zip(batches, scores, strict=True):
        axes.plot(
            [batch] * len(score["values"]), score["values"], "o", color="#2563a8", markersize=4, alpha=0.6
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [f"{batch:,}" for batch in batches])
    axes.set_xlabel("pairs in a batch")
    axes.set_ylabel("held-out MRR, 1,000 candidates")
    axes.set_title(f"{data['settings']['pairs']:,} pairs seen at every batch size", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    run(main)
