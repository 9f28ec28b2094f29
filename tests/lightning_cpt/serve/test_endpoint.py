"""What the HTTP process holds of its clients, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from queue import Queue
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("litserve")
from litserve.utils import LitAPIStatus

from lightning_cpt.serve.endpoint import _BODIES, EmbeddingEndpoint
from lightning_cpt.serve.errors import ApiError
from lightning_cpt.serve.request import Limits
from lightning_cpt.serve.rounds import Part
from lightning_cpt.serve.worker import RoundsLoop

BODY = 100


class Client:
    """A request whose body comes in pieces; it waits before the last."""

    headers = MappingProxyType({})

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces, self.go_on = pieces, asyncio.Event()

    async def stream(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        await self.go_on.wait()

    async def receive(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def endpoint(tmp_path: Path) -> EmbeddingEndpoint:
    found = EmbeddingEndpoint(tmp_path, Limits(body=BODY), most_waiting=10, seconds=0.5)
    found.__dict__["card"] = SimpleNamespace(name="tiny", dim=2)
    return found


def answered(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.body)["error"]["code"]


def test_bodies_that_come_at_once_are_bounded_and_forgotten(endpoint: EmbeddingEndpoint) -> None:
    async def run() -> list[Any]:
        clients = [Client([b"x" * (BODY // 2), b"x" * (BODY // 2)]) for _ in range(_BODIES + 2)]
        tasks = [asyncio.ensure_future(endpoint.embeddings(client)) for client in clients]  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
        assert endpoint._held == _BODIES * BODY
        for client in clients:
            client.go_on.set()
        return await asyncio.gather(*tasks)

    codes = sorted(answered(answer) for answer in asyncio.run(run()))
    assert codes == _BODIES * [(400, "invalid_json")] + 2 * [(429, "rate_limit_exceeded")]
    assert endpoint._held == 0


def test_a_body_that_does_not_come_is_given_up(endpoint: EmbeddingEndpoint) -> None:
    assert answered(asyncio.run(_ask(endpoint, Client([b"{"])))) == (408, "timeout")
    assert endpoint._held == 0


async def _ask(endpoint: EmbeddingEndpoint, client: Client) -> Any:
    return await endpoint.embeddings(client)  # type: ignore[arg-type]


def test_what_the_model_says_of_a_fault_stays_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def encode(rows: Any, side: str) -> np.ndarray:
        raise RuntimeError("/home/me/secret/model.bin")

    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(RoundsLoop, "put_response", lambda self, *given: sent.append(given))
    job = (0, "uid", 0.0, Part("query", [[1, 2]]).pack())
    queue = SimpleNamespace(get=lambda timeout: job, get_nowait=lambda: pytest.fail("enough is waiting"))
    served = SimpleNamespace(card=SimpleNamespace(rounds=1), encode=encode, sided=False)
    RoundsLoop().run(SimpleNamespace(served=served), "cpu", 0, queue, None, {}, None)  # type: ignore[arg-type]
    ((_, _, uid, answer, status, _),) = sent
    assert (uid, answer, status) == ("uid", "RuntimeError", LitAPIStatus.ERROR)
    assert "/home/me/secret" in caplog.text


def test_texts_of_clients_that_went_away_still_count(tmp_path: Path) -> None:
    async def clients() -> None:
        endpoint = EmbeddingEndpoint(tmp_path, Limits(), 8, 600.0)
        endpoint.response_buffer, endpoint.request_queue, endpoint.response_queue_id = {}, Queue(), 0
        refused = 0
        for _ in range(20):
            task = asyncio.ensure_future(endpoint._encode("query", [[1, 2, 3]] * 4))
            await asyncio.sleep(0.001)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            except ApiError as error:
                refused += error.status == 429
        await asyncio.sleep(0.01)
        assert (endpoint._waiting, endpoint.request_queue.qsize(), refused) == (8, 2, 18)
        while not endpoint.request_queue.empty():
            _, uid, *_ = endpoint.request_queue.get()
            item = endpoint.response_buffer[uid]
            answer = (np.zeros((4, 2), np.float32).tobytes(), (4, 2), 0.0, 0.0, (1, 4, 12))
            item.response = (answer, LitAPIStatus.OK)
            item.event.set()
        await asyncio.sleep(0.01)
        assert (endpoint._waiting, endpoint.response_buffer, endpoint._unwanted) == (0, {}, set())

    asyncio.run(clients())
