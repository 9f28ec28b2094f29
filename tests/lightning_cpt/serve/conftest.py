"""A tiny checkpoint, and a real server of it in processes of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import torch

ROOT = Path(__file__).parents[3]
START_SECONDS = 120.0


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: dict[str, Any]) -> Path:
    """A checkpoint as `cpt fit` writes it, of fresh weights."""
    from lightning_cpt.encoder import TextEncoder

    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = TextEncoder(**tiny_encoder)
    path = tmp_path_factory.mktemp("serve") / "run" / "last.ckpt"
    path.parent.mkdir()
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    torch.save({"encoder": encoder.to_dict(), "state_dict": state, "global_step": 0}, path)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Running:
    """A `cpt serve` in a session of its own."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self.port, self.log = free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "lightning_cpt.cli", "serve", "--port", str(self.port), *arguments]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
        with log.open("w") as out:
            self.process = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)

    def wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError), urlopen(f"{self.url}/health", timeout=5):
                return
            time.sleep(0.1)
        pytest.fail(f"the server did not start:\n{self.log.read_text()}")

    def members(self) -> set[int]:
        """All processes of its session."""
        found = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid and fields[0] != "Z":
                    found.add(int(entry.name))
        return found

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """``start_server(*arguments)``: a server, until the module's end."""
    made: list[Running] = []

    def start(*arguments: str, **environment: str) -> Running:
        made.append(Running(tmp_path_factory.mktemp("log") / "log.txt", *arguments, **environment))
        made[-1].wait()
        return made[-1]

    yield start
    for one in made:
        one.kill()
