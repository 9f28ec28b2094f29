"""The HTTP process: reads a request, sends its texts to the model, answers as OpenAI does."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Callable, Coroutine
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Request, Response
from litserve.specs.base import LitSpec
from litserve.utils import LitAPIStatus, ResponseBufferItem
from starlette.requests import ClientDisconnect

from lightning_cpt.serve.errors import ApiError, server_error
from lightning_cpt.serve.metrics import CONTENT_TYPE, Metrics
from lightning_cpt.serve.request import Asked, Limits, parse
from lightning_cpt.serve.rounds import Part, split
from lightning_cpt.serve.tokens import Card
from lightning_cpt.serve.worker import CARD

_IN_FLIGHT = 2  # parts of one request that wait for the model at a time
_BODIES = 32  # of the longest kind that are held at a time; beyond them requests are told to come back
_QUICK_CHARS = 4096  # a body that is tokenised at once; a longer one in a thread, so that others are heard


class EmbeddingEndpoint(LitSpec):
    """``POST /v1/embeddings``, ``GET /v1/models`` and ``GET /metrics``.

    Args:
        folder: Where the model's process puts its card.
        limits: What a request may hold.
        most_waiting: Texts that may wait; beyond them requests are told to come back (429).
        seconds: After which a request is given up (504).
    """

    def __init__(self, folder: Path, limits: Limits, most_waiting: int, seconds: float) -> None:
        super().__init__()
        self.api_path = "/v1/embeddings"
        self.folder, self.limits = folder, limits
        self.most_waiting, self.seconds = most_waiting, seconds
        self._waiting = self._held = 0
        self._unwanted: set[asyncio.Future[np.ndarray]] = set()  # in the queue, of clients that went away

    def pre_setup(self, lit_api: Any) -> None:
        self.add_endpoint(self.api_path, self.embeddings, ["POST"])
        self.add_endpoint("/v1/models", self.models, ["GET"])
        self.add_endpoint("/v1/models/{name:path}", self.model, ["GET"])
        self.add_endpoint("/metrics", self.metrics, ["GET"])

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        for name in ("counts", "card", "_endpoints", "response_buffer", "request_queue", "_unwanted"):
            state.pop(name, None)  # the model's process needs none of them
        return state

    @cached_property
    def counts(self) -> Metrics:
        return Metrics()

    @cached_property
    def card(self) -> Card:
        return Card.read(self.folder / CARD)

    def decode_request(self, request: Any, context_kwargs: dict[str, Any] | None = None) -> Any:
        return request

    def encode_response(self, output: Any, context_kwargs: dict[str, Any] | None = None) -> Any:
        return output

    async def embeddings(self, request: Request) -> Response:
        began = time.monotonic()
        holding = _Holding(self)
        try:
            async with asyncio.timeout(self.seconds):
                body = await _read(request, self.limits.body, holding.add)
            answer = await _unless_gone(request, self._answer(body))
        except ApiError as error:
            answer = refusal(error)
        except TimeoutError:
            answer = refusal(
                ApiError(408, f"the body did not come within {self.seconds:g} s", code="timeout")
            )
        except ClientDisconnect:
            answer = None
        finally:
            holding.release()
        if answer is None:
            self.counts.gone.inc()
            return Response(status_code=499)
        self.counts.requests.labels(answer.status_code).inc()
        self.counts.seconds.observe(time.monotonic() - began)
        return answer

    def hold(self, size: int) -> None:
        """Count the bytes of bodies that are not answered yet.

        Raises:
            ApiError: there are too many.
        """
        self._held += size
        if size > 0 and self._held > _BODIES * self.limits.body:
            message = "too many long requests are waiting already; try again in a moment"
            raise ApiError(429, message, code="rate_limit_exceeded", kind="rate_limit_error")

    async def models(self) -> Response:
        return _json({"object": "list", "data": [self._model()]})

    async def model(self, name: str) -> Response:
        if name != self.card.name:
            message = f"model {name[:100]!r} is not served here; there is {self.card.name}"
            return refusal(ApiError(404, message, param="model", code="model_not_found"))
        return _json(self._model())

    async def metrics(self) -> Response:
        return Response(self.counts.text(), media_type=CONTENT_TYPE)

    def _model(self) -> dict[str, Any]:
        card = self.card
        return {
            "id": card.name,
            "object": "model",
            "created": 0,
            "owned_by": "lightning-cpt",
            "fingerprint": card.fingerprint,
            "dimensions": self.limits.widths(card.dim),
            "max_tokens": {side: form.room for side, form in card.forms.items()},
        }

    async def _answer(self, body: bytes) -> Response:
        try:
            asked = parse(body, [self.card.name], self.card.dim, self.limits)
            rows = await self._rows(asked, len(body))
            tokens = sum(map(len, rows))
            if tokens > self.limits.tokens:
                message = f"input: {tokens} tokens, at most {self.limits.tokens} in one request"
                raise ApiError(400, message, param="input", code="too_many_tokens")
            vectors = await self._encode(asked.side, rows)
        except ApiError as error:
            return refusal(error)
        self.counts.texts.inc(len(rows))
        self.counts.tokens.inc(tokens)
        return _json(_body(vectors, asked, self.card.name, tokens))

    async def _rows(self, asked: Asked, size: int) -> list[list[int]]:
        def make() -> list[list[int]]:
            if asked.texts is not None:
                return self.card.ids(asked.texts, asked.side, truncate=asked.truncate)
            return self.card.framed(asked.rows or [], asked.side, truncate=asked.truncate)

        return make() if size <= _QUICK_CHARS else await asyncio.to_thread(make)

    async def _encode(self, side: str, rows: list[list[int]]) -> np.ndarray:
        """Vectors of all rows, float32 ``(n, d)``."""
        if self._waiting + len(rows) > self.most_waiting and self._waiting:
            message = f"{self._waiting} texts are waiting already; try again in a moment"
            raise ApiError(429, message, code="rate_limit_exceeded", kind="rate_limit_error")
        self._waiting += len(rows)
        self.counts.waiting.set(self._waiting)
        gate = asyncio.Semaphore(_IN_FLIGHT)
        tasks = [asyncio.ensure_future(self._part(part, gate)) for part in split(side, rows)]
        try:
            await asyncio.wait(tasks, timeout=self.seconds, return_when=asyncio.FIRST_EXCEPTION)
            failed = [error for task in tasks if task.done() and (error := task.exception())]
            if failed:
                raise failed[0]
            if not all(task.done() for task in tasks):
                message = f"no answer within {self.seconds:g} s"
                raise ApiError(504, message, kind="server_error", code="timeout")
            return np.concatenate([task.result() for task in tasks])
        finally:
            for task in tasks:
                task.cancel()
            self._waiting -= len(rows)
            self.counts.waiting.set(self._waiting)

    async def _part(self, part: Part, gate: asyncio.Semaphore) -> np.ndarray:
        async with gate:
            work = asyncio.ensure_future(self._ask(part))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                if not work.done():  # the model will encode it all the same: it still waits
                    self._keep_counting(work, len(part.rows))
                raise

    def _keep_counting(self, work: asyncio.Future[np.ndarray], texts: int) -> None:
        def answered(done: asyncio.Future[np.ndarray]) -> None:
            self._unwanted.discard(done)
            self._waiting -= texts
            self.counts.waiting.set(self._waiting)
            if not done.cancelled():
                done.exception()  # nobody else looks at it

        self._waiting += texts
        self._unwanted.add(work)
        work.add_done_callback(answered)

    async def _ask(self, part: Part) -> np.ndarray:
        uid, event = str(uuid.uuid4()), asyncio.Event()
        buffer: dict[str, ResponseBufferItem] = self.response_buffer
        buffer[uid] = ResponseBufferItem(event=event)
        try:
            self.request_queue.put((self.response_queue_id, uid, time.monotonic(), part.pack()))
            await event.wait()
            answer, status = buffer[uid].response
        finally:
            buffer.pop(uid, None)
        if status == LitAPIStatus.ERROR:
            raise server_error(f"the model failed ({answer}); the server's log says more")
        data, shape, waited, _, (_, texts, _) = answer
        self.counts.queue_seconds.observe(waited)
        self.counts.round_texts.observe(texts)
        return np.frombuffer(data, np.float32).reshape(shape)


class _Holding:
    """The bytes that one request holds."""

    def __init__(self, endpoint: EmbeddingEndpoint) -> None:
        self._endpoint, self._size = endpoint, 0

    def add(self, size: int) -> None:
        self._size += size
        self._endpoint.hold(size)

    def release(self) -> None:
        self._endpoint.hold(-self._size)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response | None:
    """The answer; None where the client goes away first, and the work is given up."""
    answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())  # the body is read: what comes now is the end
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:  # the server may stop here too
        answer.cancel()
        gone.cancel()


async def _read(request: Request, most: int, hold: Callable[[int], None]) -> bytes:
    """The whole body; ``hold`` is told of its bytes as they come.

    Raises:
        ApiError: it is longer than ``most`` bytes.
    """
    too_long = ApiError(413, f"the body is over {most} bytes", code="request_too_large")
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > most:
        raise too_long
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise too_long
        hold(len(piece))
    return bytes(body)


def _body(vectors: np.ndarray, asked: Asked, name: str, tokens: int) -> dict[str, Any]:
    if asked.dim < vectors.shape[1]:
        vectors = vectors[:, : asked.dim]
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    vectors = np.ascontiguousarray(vectors, np.dtype("<f4"))
    write = _base64 if asked.base64 else _numbers
    data = [{"object": "embedding", "index": at, "embedding": write(row)} for at, row in enumerate(vectors)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": name, "usage": usage}


def _numbers(row: np.ndarray) -> Any:
    return row.tolist()


def _base64(row: np.ndarray) -> Any:
    return base64.b64encode(row.tobytes()).decode("ascii")


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(content, separators=(",", ":"))
    return Response(text, status_code=status, media_type="application/json", headers=headers)


def refusal(error: ApiError) -> Response:
    """The answer that says what is wrong."""
    headers = {"retry-after": "1"} if error.status == 429 else None
    return _json(error.body(), error.status, headers)
