"""docs/use.md: its Python runs as it stands there, against what the commands write."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

PAGE = (Path(__file__).parents[3] / "docs" / "use.md").read_text(encoding="utf-8")


def code(heading: str) -> str:
    """The only block of Python under a heading of the second level."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (found,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(found)


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_encoder: dict[str, Any]) -> Path:
    from lightning_cpt.encoder import TextEncoder

    encoder = TextEncoder(**tiny_encoder)
    path = tmp_path / "run" / "last.ckpt"
    path.parent.mkdir()
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    torch.save({"encoder": encoder.to_dict(), "state_dict": state, "global_step": 0, "config": "{}"}, path)
    return path


def test_int8_vectors_are_read_as_the_page_says(here: Callable[..., Any], checkpoint: Path) -> None:
    from lightning_cpt.encoder import TextEncoder

    Path("texts.txt").write_text("a text\nanother one\n")
    command = ("embed", "texts.txt", "--encoder", checkpoint, "--side", "y", "--accelerator", "cpu")
    here(*command, "--dtype", "int8", "--out", "vectors.npy")
    names: dict[str, Any] = {}
    exec(code("Embed"), names)
    own = TextEncoder.load(checkpoint).encode(["a text", "another one"], "y", progress=False)
    np.testing.assert_allclose(names["vectors"], own, atol=0.01)


def test_an_index_is_asked_as_the_page_says(here: Callable[..., Any], checkpoint: Path) -> None:
    pytest.importorskip("faiss")
    Path("texts.jsonl").write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n')
    here("search", "index", "texts.jsonl", "--encoder", f"ckpt:{checkpoint}", "--out", "index")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code("Search"), {})
    found = sorted(line.split()[2:] for line in printed.getvalue().splitlines())
    assert found == [["a", "one"], ["b", "two"]]


def test_the_request_is_one_that_the_server_takes() -> None:
    """What the real client sends is read by the server's own parser."""
    pytest.importorskip("openai")
    from lightning_cpt.serve.request import Asked, Limits, parse

    asked: list[tuple[str, Asked]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            asked.append((self.path, parse(body, ["mine"], 2, Limits())))
            data = [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}]
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            made = json.dumps({"object": "list", "data": data, "model": "mine", "usage": usage}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(made)))
            self.end_headers()
            self.wfile.write(made)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert "127.0.0.1:8000" in code("Serve")
        names: dict[str, Any] = {}
        exec(code("Serve").replace("127.0.0.1:8000", f"127.0.0.1:{server.server_port}"), names)
        names["client"].close()
        server.shutdown()
    ((path, one),) = asked
    assert (path, one.texts, one.side) == ("/v1/embeddings", ["how to undo a commit"], "query")


def test_the_tables_have_every_field_and_limit() -> None:
    from lightning_cpt.serve.cli import add_commands
    from lightning_cpt.serve.request import FIELDS

    serve = PAGE.split("\n## Serve\n")[1]
    assert all(f"`{field}`" in serve for field in FIELDS if field != "user")
    parsers = argparse.ArgumentParser().add_subparsers()
    add_commands(parsers)
    found = parsers.choices["serve"].parse_args(["--encoder", "x"])
    for name in ("max_items", "max_tokens", "max_waiting", "timeout"):
        assert f"| `--{name.replace('_', '-')}` | {getattr(found, name):,.0f} |" in serve
    assert found.max_bytes == 8 * 2**20


@pytest.mark.slow
def test_the_exported_folder_is_used_as_the_page_says(here: Callable[..., Any], checkpoint: Path) -> None:
    pytest.importorskip("sentence_transformers")
    here("export", checkpoint, "--to", "sentence-transformers", "--out", "exported")
    names: dict[str, Any] = {}
    exec(code("Export"), names)
    assert names["queries"].shape == (1, 16)
    assert names["documents"].shape == (1, 16)
