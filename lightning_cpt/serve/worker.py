"""The model's process: loads it, takes what waits, encodes it in one round, answers each request."""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import litserve
from litserve.loops.base import _SENTINEL_VALUE, LitLoop
from litserve.utils import LitAPIStatus, LoopResponseType

from lightning_cpt.serve.lifetime import die_with_parent
from lightning_cpt.serve.rounds import Part, encode_parts

log = logging.getLogger(__name__)
CARD, FAULT = "card.json", "fault.txt"


class EmbeddingAPI(litserve.LitAPI):
    """Loads the model in the process of its own that LitServe starts for it.

    Args:
        encoder: How the model is named.
        name: What requests call it; by default the encoder's own name.
        folder: Where the HTTP process finds the model's card.
        threads: Of torch; 0 leaves it to torch.
    """

    def __init__(
        self, encoder: str, name: str | None, folder: Path, threads: int = 0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.encoder, self.name, self.folder, self.threads = encoder, name, folder, threads
        self.served: Any = None

    def setup(self, device: str) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends this
        die_with_parent()
        import torch

        from lightning_cpt.serve.model import load_served

        if self.threads:
            torch.set_num_threads(self.threads)
        try:
            self.served = load_served(self.encoder, self.name, device)
            self.served.card.write(self.folder / CARD)
        except Exception as error:
            (self.folder / FAULT).write_text(f"{error}", encoding="utf-8")
            logging.getLogger("litserve").setLevel(
                logging.CRITICAL + 1
            )  # the first process says it, in one line
            raise

    def predict(self, x: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("RoundsLoop encodes")

    def decode_request(self, request: Any, **kwargs: Any) -> Any:
        return request

    def encode_response(self, output: Any, **kwargs: Any) -> Any:
        return output


class RoundsLoop(LitLoop):
    """Instead of LitServe's batches, which want one text a request and wait for more: all that waits, at once.

    While the model works, requests gather; the next round takes them together. A single client never waits for
    others, and many share a round.
    """

    def run(
        self,
        lit_api: Any,
        device: str,
        worker_id: int,
        request_queue: Queue[Any],
        transport: Any,
        workers_setup_status: dict[str, str],
        callback_runner: Any,
    ) -> None:
        jobs = _take(request_queue, 2 * lit_api.served.card.rounds)
        if not jobs:
            return
        began = time.monotonic()
        parts = [Part.unpack(packed) for _, _, _, packed in jobs]
        results = encode_parts(lit_api.served.encode, parts, lit_api.served.sided)
        spent = time.monotonic() - began
        shape = (len(parts), sum(len(part.rows) for part in parts), sum(part.tokens for part in parts))
        for (consumer, uid, sent, _), result in zip(jobs, results, strict=True):
            if isinstance(result, Exception):
                log.error("a part of a request failed: %s: %s", type(result).__name__, result)
                answer: Any = type(result).__name__  # what it says may name files, and is the log's
                status = LitAPIStatus.ERROR
            else:
                answer = (result.tobytes(), result.shape, began - sent, spent, shape)
                status = LitAPIStatus.OK
            self.put_response(transport, consumer, uid, answer, status, LoopResponseType.REGULAR)


def _take(queue: Queue[Any], tokens: int) -> list[tuple[Any, ...]]:
    """What waits, up to so many tokens; the first is waited for."""
    try:
        jobs = [_job(queue.get(timeout=1.0))]
    except Empty:
        return []
    held = len(jobs[0][3][1]) // 4
    while held < tokens:
        try:
            jobs.append(_job(queue.get_nowait()))
        except Empty:
            break
        held += len(jobs[-1][3][1]) // 4
    return jobs


def _job(item: Any) -> tuple[Any, ...]:
    if item == _SENTINEL_VALUE:
        raise SystemExit(0)
    job: tuple[Any, ...] = item
    return job
