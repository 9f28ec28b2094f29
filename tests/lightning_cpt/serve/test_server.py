"""A real server, asked by the real `openai` client, by garbage, and by clients that go away."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from lightning_cpt.cli import main
from lightning_cpt.encoder import TextEncoder

pytest.importorskip("litserve")
openai = pytest.importorskip("openai")

ROOT = Path(__file__).parents[3]
TEXTS = ["alpha", "be", "a longer text of words", "d", "the fifth"]
KEY = "a-secret"


@pytest.fixture(scope="module")
def server(tiny_checkpoint: Path, start_server: Callable[..., Any]) -> Any:
    """With a key, short limits, and a width of 8 that it may be asked for."""
    return start_server(
        *("--encoder", f"ckpt:{tiny_checkpoint}", "--name", "tiny", "--threads", "1", "--accelerator", "cpu"),
        *("--dimensions", "8", "--max-items", "6", "--max-tokens", "100", "--max-bytes", "2000"),
        CPT_API_KEY=KEY,
    )


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def encoder(tiny_checkpoint: Path) -> TextEncoder:
    return TextEncoder.load(tiny_checkpoint)


def vectors(answer: Any) -> np.ndarray:
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return np.array([item.embedding for item in answer.data], np.float32)


@pytest.mark.parametrize("form", ["base64", "float", None])
def test_strings_in_every_format(client: Any, encoder: TextEncoder, form: str | None) -> None:
    options = {} if form is None else {"encoding_format": form}
    one = client.embeddings.create(model="tiny", input=TEXTS[0], **options)
    many = client.embeddings.create(model="tiny", input=TEXTS, **options)
    right = encoder.encode(TEXTS, "x", progress=False)
    if form == "base64":  # asked for by name, the client does not decode it
        import base64

        found = np.array([struct.unpack("<16f", base64.b64decode(item.embedding)) for item in many.data])
    else:
        found = vectors(many)
        np.testing.assert_allclose(vectors(one)[0], right[0], atol=1e-6)
    np.testing.assert_allclose(found, right, atol=1e-6)
    tokens = sum(len(text) + 2 for text in TEXTS)  # one token a byte, and the delimiters
    assert (many.usage.prompt_tokens, many.usage.total_tokens, many.model) == (tokens, tokens, "tiny")


@pytest.mark.parametrize(("input_type", "side"), [("query", "x"), ("document", "y"), (None, "x")])
def test_the_side_is_the_request_s(
    client: Any, encoder: TextEncoder, input_type: str | None, side: Any
) -> None:
    extra = {} if input_type is None else {"input_type": input_type}
    found = vectors(client.embeddings.create(model="tiny", input=TEXTS, extra_body=extra))
    np.testing.assert_allclose(found, encoder.encode(TEXTS, side, progress=False), atol=1e-6)


def test_token_ids_are_the_texts(client: Any, encoder: TextEncoder) -> None:
    ids = encoder.tokenization.text_ids(TEXTS)
    right = encoder.encode(TEXTS, "x", progress=False)
    found = vectors(client.embeddings.create(model="tiny", input=ids))
    np.testing.assert_allclose(found, right, atol=1e-6)
    alone = vectors(client.embeddings.create(model="tiny", input=ids[2]))
    np.testing.assert_allclose(alone, right[2:3], atol=1e-6)


def test_fewer_dimensions_have_length_one(client: Any, encoder: TextEncoder) -> None:
    found = vectors(client.embeddings.create(model="tiny", input=TEXTS, dimensions=8))
    right = encoder.encode(TEXTS, "x", progress=False)[:, :8]
    np.testing.assert_allclose(found, right / np.linalg.norm(right, axis=1, keepdims=True), atol=1e-6)
    with pytest.raises(openai.BadRequestError, match="must be 8, 16"):
        client.embeddings.create(model="tiny", input="a", dimensions=4)


def test_a_long_text_is_an_error_unless_it_may_be_cut(client: Any, encoder: TextEncoder) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="tiny", input=["a", "b" * 23])
    assert caught.value.code == "context_length_exceeded"
    assert "input[1]: 23 tokens" in str(caught.value)
    found = client.embeddings.create(model="tiny", input="b" * 23, extra_body={"truncate": True})
    np.testing.assert_allclose(vectors(found), encoder.encode(["b" * 23], "x", progress=False), atol=1e-6)
    assert found.usage.total_tokens == 24


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"input": ["a"] * 7}, 400, "too_many_items"),
        ({"input": ["a" * 22] * 5}, 400, "too_many_tokens"),
        ({"input": "a" * 3000}, 413, "request_too_large"),
        ({"input": [9999999]}, 400, "invalid_token_id"),
        ({"input": [-1]}, 400, "invalid_token_id"),
        ({"input": []}, 400, None),
        ({"model": "other"}, 404, "model_not_found"),
    ],
)
def test_limits_and_faults(client: Any, given: dict[str, Any], status: int, code: str | None) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(**{"model": "tiny", "input": "a", **given})
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert len(client.embeddings.create(model="tiny", input="a").data) == 1  # the connection lives on


def post(server: Any, body: bytes, path: str = "/v1/embeddings", key: str = KEY) -> tuple[int, Any]:
    request = Request(server.url + path, body or None, {"Authorization": f"Bearer {key}"})
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    "body", [b"garbage", b"\xff\xff\xff", b'{"model": "tiny"}', b"[" * 1500, b"\0" * 1000]
)
def test_garbage_is_answered_in_openai_s_shape(server: Any, body: bytes) -> None:
    status, answer = post(server, body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"


def test_other_paths_and_other_keys(server: Any) -> None:
    assert post(server, b"", "/nowhere")[1]["error"]["code"] == "unknown_url"
    assert post(server, b"{}", key="wrong")[0] == 401
    assert post(server, b"{}", key="wrong")[1]["error"]["code"] == "invalid_api_key"
    with urlopen(f"{server.url}/health", timeout=60) as answer:  # needs no key
        assert answer.status == 200


def test_models_and_metrics(server: Any, client: Any) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.dimensions) == ("tiny", [8, 16])
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")
    before = _metric(server, "cpt_texts_total")
    client.embeddings.create(model="tiny", input=["a", "b"])
    assert _metric(server, "cpt_texts_total") == before + 2
    assert _metric(server, "cpt_waiting_texts") == 0


def _metric(server: Any, name: str) -> float:
    lines = post(server, b"", "/metrics")[1].decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def test_a_client_that_goes_away_is_forgotten(server: Any, client: Any) -> None:
    body = json.dumps({"model": "tiny", "input": ["a"] * 6}).encode()
    for cut in (10, len(body)):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:cut])
    assert len(client.embeddings.create(model="tiny", input="a").data) == 1
    until = time.monotonic() + 30
    while _metric(server, "cpt_waiting_texts") and time.monotonic() < until:
        time.sleep(0.05)
    assert _metric(server, "cpt_waiting_texts") == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_leaves_no_process(
    tiny_checkpoint: Path, start_server: Callable[..., Any], number: int
) -> None:
    one = start_server("--encoder", f"ckpt:{tiny_checkpoint}", "--accelerator", "cpu")
    assert len(one.members()) >= 4  # the first, LitServe's manager, HTTP, the model
    os.kill(one.process.pid, number)
    status = one.process.wait(timeout=60)
    until = time.monotonic() + 30
    while one.members() and time.monotonic() < until:
        time.sleep(0.1)
    assert not one.members()
    if number != signal.SIGKILL:
        assert status == 0
        assert "Traceback" not in one.log.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder", "ckpt:nowhere.ckpt", "--port", "80"], "--port 80"),
        (["--encoder", "ckpt:nowhere.ckpt", "--host", "example.org"], "--host example.org"),
        (["--encoder", "ckpt:nowhere.ckpt", "--max-items", "0"], "--max-items 0"),
        (["--encoder", "ckpt:nowhere.ckpt", "--dimensions", "a"], "--dimensions a"),
        (["--encoder", "ckpt:nowhere.ckpt", "--devices", "x"], "--devices x"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_model_that_dies_ends_the_server(tiny_checkpoint: Path, start_server: Callable[..., Any]) -> None:
    """As the kernel ends it where memory runs out."""
    one = start_server("--encoder", f"ckpt:{tiny_checkpoint}", "--accelerator", "cpu")
    until = time.monotonic() + 30
    while "columns, at" not in one.log.read_text() and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1.5)  # it is watched from now on
    os.kill(max(one.members() - {one.process.pid}, key=_resident), signal.SIGKILL)  # the only one with torch
    assert one.process.wait(timeout=60) == 2
    assert "\ncpt: error: a model's process was ended" in one.log.read_text()
    while one.members() and time.monotonic() < until + 30:
        time.sleep(0.1)
    assert not one.members()


def _resident(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1])


@pytest.mark.parametrize("key", ["", "two words", "line\n", "schl\u00fcssel"])
def test_a_key_that_nobody_could_send_serves_nothing(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty one above all: it must not open the server to everybody."""
    monkeypatch.setenv("CPT_API_KEY", key)
    assert main(["serve", "--encoder", "ckpt:nowhere.ckpt"]) == 2
    assert "CPT_API_KEY" in capsys.readouterr().err


def test_the_key_is_not_shown() -> None:
    from lightning_cpt.serve.server import Settings

    assert KEY not in repr(Settings("ckpt:a", key=KEY))


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lightning_cpt.cli", "serve", "--encoder", "ckpt:nowhere.ckpt"]
    done = subprocess.run(
        [*command, "--port", str(_free_port())], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "cpt: error: nowhere.ckpt: no such checkpoint"
    assert "Traceback" not in done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_port_that_is_taken_is_one_line(server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--encoder", "ckpt:x.ckpt", "--port", str(server.port)]) == 2
    assert f"--port {server.port}" in capsys.readouterr().err
