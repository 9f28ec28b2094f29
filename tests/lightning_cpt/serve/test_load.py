"""A thousand requests at once: nothing lost, nothing mixed up, whatever the others send."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_cpt.encoder import TextEncoder

pytest.importorskip("litserve")
openai = pytest.importorskip("openai")

REQUESTS = 1000


@pytest.mark.slow
def test_a_thousand_at_once(tiny_checkpoint: Path, start_server: Callable[..., Any]) -> None:
    server = start_server("--encoder", f"ckpt:{tiny_checkpoint}", "--name", "tiny", "--threads", "1")
    rng = random.Random(0)
    asked = [[_text(rng) for _ in range(rng.choice([1, 1, 1, 2, 5, 150]))] for _ in range(REQUESTS)]
    sides = [rng.choice(["query", "document"]) for _ in asked]
    answers = asyncio.run(_all_at_once(server, asked, sides))
    encoder = TextEncoder.load(tiny_checkpoint)
    for side, own in (("query", "x"), ("document", "y")):
        at = [i for i, one in enumerate(sides) if one == side]
        right = encoder.encode([text for i in at for text in asked[i]], own, progress=False)  # type: ignore[arg-type]
        found = np.concatenate([answers[i] for i in at])
        np.testing.assert_allclose(found, right, atol=1e-5)
    assert not server.log.read_text().count("Traceback")


def _text(rng: random.Random) -> str:
    return "".join(rng.choices("abcdefghij", k=rng.randint(1, 20)))


async def _all_at_once(server: Any, asked: list[list[str]], sides: list[str]) -> list[np.ndarray]:
    """The answers, while other clients go away half-way and send garbage."""
    gate = asyncio.Event()
    options: dict[str, Any] = {"api_key": "none", "max_retries": 0, "timeout": 600}
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", **options) as client:

        async def ask(texts: list[str], side: str) -> np.ndarray:
            await gate.wait()
            extra = {"input_type": side}
            answer = await client.embeddings.create(model="tiny", input=texts, extra_body=extra)
            assert [item.index for item in answer.data] == list(range(len(texts)))
            return np.array([item.embedding for item in answer.data], np.float32)

        tasks = [asyncio.ensure_future(ask(*one)) for one in zip(asked, sides, strict=True)]
        pests = [asyncio.ensure_future(_pest(server.port, gate, number)) for number in range(60)]
        gate.set()
        answers = await asyncio.gather(*tasks)
        await asyncio.gather(*pests)
    return list(answers)


async def _pest(port: int, gate: asyncio.Event, number: int) -> None:
    """A client that goes away while its body, or its answer, is under way; or one that sends no request."""
    await gate.wait()
    await asyncio.sleep(number * 0.02)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"model": "tiny", "input": ["gone"] * 300}).encode()
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    writer.write([head + body[:50], head + body, b"\x00\xff garbage\r\n\r\n"][number % 3])
    await writer.drain()
    await asyncio.sleep(0.01)
    writer.close()
