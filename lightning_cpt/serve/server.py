"""Puts the parts together on LitServe, runs them until a signal, and leaves no process behind."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import litserve
from starlette.middleware.gzip import GZipMiddleware

from lightning_cpt.errors import ConfigError
from lightning_cpt.serve.endpoint import EmbeddingEndpoint
from lightning_cpt.serve.guard import KeyGuard, shape_errors
from lightning_cpt.serve.lifetime import no_child_left
from lightning_cpt.serve.request import Limits
from lightning_cpt.serve.tokens import Card
from lightning_cpt.serve.worker import CARD, FAULT, EmbeddingAPI, RoundsLoop

_MODEL_PROCESS = "inference-worker"  # as LitServe names it
_WATCH_SECONDS = 1.0
_DIED = "a model's process was ended; is there memory enough?"


@dataclass(frozen=True)
class Settings:
    """What `cpt serve` is told.

    Args:
        encoder: How the model is named: ``ckpt:FILE`` or ``st:NAME``.
        name: What requests call it; by default the encoder's own name.
        host: ``127.0.0.1``, ``0.0.0.0`` or ``::``.
        port: From 1024.
        key: What clients must send, if anything.
        limits: Of a request.
        most_waiting: Texts that may wait at a time.
        seconds: After which a request is given up.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        devices: Of the accelerator; each has a process with the model.
        threads: Of torch in such a process; 0 leaves it to torch.
    """

    encoder: str
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    key: str | None = field(default=None, repr=False)  # not into logs and tracebacks
    limits: Limits = field(default_factory=Limits)
    most_waiting: int = 65536
    seconds: float = 600.0
    accelerator: str = "auto"
    devices: int | str = "auto"
    threads: int = 0


def build(settings: Settings, folder: Path) -> litserve.LitServer:
    """The server, not yet started; its processes meet in ``folder``."""
    api = EmbeddingAPI(
        settings.encoder,
        settings.name,
        folder,
        settings.threads,
        loop=RoundsLoop(),
        spec=EmbeddingEndpoint(folder, settings.limits, settings.most_waiting, settings.seconds),
        api_path="/v1/embeddings",
    )
    server = litserve.LitServer(
        api,
        accelerator=settings.accelerator,
        devices=settings.devices,
        timeout=False,
        disable_openapi_url=True,
    )
    # Vectors hardly shrink, and gzip takes longer than the model: LitServe has no switch for it.
    kept = [one for one in server.app.user_middleware if one.cls is not GZipMiddleware]
    server.app.user_middleware = kept
    if settings.key:
        server.app.add_middleware(KeyGuard, key=settings.key)
    shape_errors(server.app)
    return server


def serve(settings: Settings) -> int:
    """Answer requests until SIGTERM or SIGINT; what is under way then is answered first.

    Raises:
        ConfigError: the port is taken, or the model cannot be loaded.
    """
    _check_port(settings.host, settings.port)
    with tempfile.TemporaryDirectory(prefix="cpt-serve-") as name, no_child_left() as stopping:
        folder = Path(name)
        server = build(settings, folder)
        _announce(settings, folder, stopping)
        try:
            server.run(
                host=settings.host,
                port=settings.port,
                num_api_servers=1,  # one process counts what waits; it only reads and writes
                log_level="warning",
                generate_client_file=False,
                access_log=False,
            )
        except KeyboardInterrupt:
            if (fault := folder / FAULT).exists():
                raise ConfigError(fault.read_text(encoding="utf-8")) from None
        except (RuntimeError, EOFError, OSError) as error:
            fault = folder / FAULT
            reason = fault.read_text(encoding="utf-8") if fault.exists() else _reason(error)
            raise ConfigError(reason) from error
    _say("stopped")
    return 0


def _reason(error: Exception) -> str:
    """LitServe's manager goes with the model, often before our watch sees it: then the error says nothing."""
    return f"the server failed: {error}" if str(error) else _DIED


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"--port {port}: cannot listen on {host} ({error.strerror}); take another"
            ) from None


def _announce(settings: Settings, folder: Path, stopping: threading.Event) -> None:
    """Say where the server is once it answers, then see that its model stays alive."""

    def wait() -> None:
        where = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
        loading, direct = False, build_opener(ProxyHandler({}))  # no proxy knows this machine's own addresses
        while folder.exists():
            alive = any(child.name == _MODEL_PROCESS for child in multiprocessing.active_children())
            if loading and not alive:  # LitServe would wait for it for ever
                _give_up(folder)
                return
            loading = alive
            try:
                with direct.open(f"http://{where}:{settings.port}/health", timeout=2):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            return
        card = Card.read(folder / CARD)
        _say(f"{card.name}, {card.dim} columns, at http://{where}:{settings.port}/v1 (Ctrl-C stops it)")
        _watch(folder, stopping)

    logging.getLogger("litserve").setLevel(logging.WARNING)
    threading.Thread(target=wait, daemon=True).start()


def _watch(folder: Path, stopping: threading.Event) -> None:
    """End the server when a model's process dies: LitServe stops answering then, and would wait for ever."""
    most = 0
    while folder.exists():
        alive = sum(child.name == _MODEL_PROCESS for child in multiprocessing.active_children())
        if stopping.wait(_WATCH_SECONDS):  # a signal to all processes may reach the model first
            return
        if alive < most:
            _give_up(folder, _DIED)
            return
        most = alive


def _give_up(
    folder: Path,
    reason: str = "the model's process was ended while it loaded the model; is there memory enough?",
) -> None:
    """End the first process, with the reason that the model's process left, or this one."""
    fault = folder / FAULT
    if not fault.exists():
        fault.write_text(reason)
    os.kill(os.getpid(), signal.SIGTERM)


def _say(line: str) -> None:
    print(f"cpt: {line}", file=sys.stderr, flush=True)


def check(settings: Any) -> None:
    """Raise a ConfigError for what LitServe would refuse with a traceback."""
    if settings.host not in ("127.0.0.1", "0.0.0.0", "::"):
        raise ConfigError(f"--host {settings.host}: LitServe listens on 127.0.0.1, 0.0.0.0 or :: only")
    if not 1024 <= settings.port <= 65535:
        raise ConfigError(f"--port {settings.port}: must be 1024 to 65535")
