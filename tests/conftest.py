"""Fixtures for all tests: real gloo processes, started once per run."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import pickle
import re
import sys
import tempfile
import threading
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_MOST_RANKS = 4
_PATIENCE = 120.0  # seconds for one call; a collective that hangs must not hang the tests


@cache
def _module_at(path: str) -> ModuleType:
    """The test module of a file: under importlib mode it has no name that another process could import."""
    spec = importlib.util.spec_from_file_location("_gloo_" + Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _serve(pipe: Connection, rank: int) -> None:
    """One rank's process: run what is sent in a process group of its own, send back the result."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    while True:
        try:
            path, name, args, world_size, store = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
            try:
                answer = (True, getattr(_module_at(path), name)(*args))
            finally:
                dist.destroy_process_group()
        except Exception:
            answer = (False, traceback.format_exc())
        pipe.send_bytes(pickle.dumps(answer))


class GlooPool:
    """Processes that wait for work; each call joins the first ``world_size`` of them into a fresh gloo group."""

    def __init__(self) -> None:
        self._ranks: list[tuple[Any, Connection]] = []

    def run(self, world_size: int, function: Callable[..., Any], *args: Any) -> list[Any]:
        """``function(*args)`` on every rank; the results in the order of the ranks.

        ``function`` must stand at the top level of its file; it, and what it needs, is imported there anew.
        """
        if not self._ranks:
            self._start()
        with tempfile.TemporaryDirectory() as folder:
            job = (function.__code__.co_filename, function.__name__, args, world_size, f"{folder}/store")
            ranks = self._ranks[:world_size]
            for _, pipe in ranks:
                pipe.send_bytes(pickle.dumps(job))
            answers = [self._answer(pipe) for _, pipe in ranks]
        for rank, (good, value) in enumerate(answers):
            if not good:
                self.stop()  # the others may still wait for the failed one
                pytest.fail(f"rank {rank} of {world_size}:\n{value}")
        return [value for _, value in answers]

    def _start(self) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"
        # Forked from a server that has imported torch, but never run it: quick, and no threads are lost.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch", "torch.distributed", "transformers"])
        for rank in range(_MOST_RANKS):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, rank), daemon=True)
            process.start()
            theirs.close()
            self._ranks.append((process, ours))

    def _answer(self, pipe: Connection) -> tuple[bool, Any]:
        if not pipe.poll(_PATIENCE):
            return False, f"no answer within {_PATIENCE:.0f} s: a hang"
        try:
            return pickle.loads(pipe.recv_bytes())  # type: ignore[no-any-return]
        except EOFError:
            return False, "the process died"

    def stop(self) -> None:
        for process, pipe in self._ranks:
            pipe.close()
            process.kill()
            process.join()
        self._ranks = []


@pytest.fixture(scope="session")
def gloo_pool() -> Iterator[GlooPool]:
    """``gloo_pool.run(world_size, function, *args)`` on real processes, started at the first call."""
    pool = GlooPool()
    yield pool
    pool.stop()


def _save_tokenizer(folder: Path, special: list[str]) -> str:
    """A byte-level tokenizer of one token per byte beside the ``special`` ones."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {token: at for at, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(special)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny tokenizer with this project's own delimiters."""
    special = ["<pad>", "<x>", "</x>", "<y>", "</y>"]
    return _save_tokenizer(tmp_path_factory.mktemp("own"), special)


@pytest.fixture(scope="session")
def bracket_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny tokenizer such as pretrained models have: no delimiters but the brackets."""
    return _save_tokenizer(tmp_path_factory.mktemp("plain"), ["<pad>"])


class Server:
    """Serves a folder by ranges; ``faults[name]`` is the script of what goes wrong, one word a request."""

    def __init__(self, folder: Path) -> None:
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.asked: Counter[str] = Counter()
        self.ports: dict[str, list[int]] = defaultdict(
            list
        )  # the client's, per file: another one, another connection
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # headers and body in one packet

            def do_GET(self) -> None:
                outer.answer(self, folder)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, folder: Path) -> None:
        path = folder / request.path.partition("?")[0].lstrip("/")
        self.asked[path.name] += 1
        self.ports[path.name].append(request.client_address[1])
        self.headers.append({**request.headers, "path": request.path})
        script = self.faults[path.name]
        fault = script[0] if script[-1:] == ["..."] else script.pop(0) if script else ""
        if not path.is_file() or fault.isdigit():
            self._send(request, int(fault or 404), b"")
            return
        data, status = path.read_bytes(), 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if wanted and fault != "whole":
            data, status = data[int(wanted[1]) : int(wanted[2]) + 1], 206
            if not data:
                self._send(request, 416, b"")
                return
        if fault == "hang":
            self.over.wait(30)
        elif fault == "drop":
            self._send(request, status, data[: len(data) // 2], claimed=len(data))
            request.close_connection = True
        elif fault == "short":
            self._send(request, status, data[: len(data) // 2])
        elif fault == "flip":
            self._send(request, status, bytes([data[0] ^ 1]) + data[1:])
        else:
            self._send(request, status, data)

    def _send(self, request: Any, status: int, body: bytes, claimed: int | None = None) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    """``serve(folder)``: a server of the folder, until the test's end."""
    made: list[Server] = []

    def start(folder: Path) -> Server:
        made.append(Server(folder))
        return made[-1]

    yield start
    for server in made:
        server.close()


def _data(needed: str) -> Path:
    """The folder of the real data; skips where it, or what is needed of it, is absent."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CPT_TEST_DATA", default))
    if not (folder / needed).is_dir():
        pytest.skip(f"no {needed} here; name the folder it lies in by CPT_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """SentEval's real files."""
    return _data("raw/senteval/downstream") / "raw" / "senteval"


@pytest.fixture(scope="session")
def search_data() -> Path:
    """The folder of all real sets, those of search and code search among them."""
    return _data("raw/cranfield")


@pytest.fixture(scope="session")
def snli_data() -> Path:
    """SentEval's copy of SNLI's validation and test files."""
    return _data("raw/snli_senteval") / "raw" / "snli_senteval"


@pytest.fixture(autouse=True)
def _same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command adds its working folder, which is another one in each test."""
    monkeypatch.setattr(sys, "path", list(sys.path))


_WORDS = ["a", "cat", "dog", "runs", "sits", "in", "the", "sun", "find", ":"]


@pytest.fixture(scope="session")
def tiny_transformer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A two-layer BERT with random weights behind sentence-transformers, at most 10 tokens, with a query prompt."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    modules = sentence_transformers.sentence_transformer.modules
    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder)
    transformer = modules.Transformer(str(folder), max_seq_length=10)
    return sentence_transformers.SentenceTransformer(
        modules=[transformer, modules.Pooling(32), modules.Normalize()],
        prompts={"query": "find : "},
        device="cpu",
    )
