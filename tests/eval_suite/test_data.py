"""Fetching, against a local server that lies, breaks off and is not there."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from eval_suite import data
from eval_suite.data import RemoteFile, fetch, known_files
from eval_suite.errors import EvalError
from eval_suite.tasks.senteval import SEVEN, TASKS
from eval_suite.tasks.sts import TASKS as STS

CONTENT = bytes(range(256)) * 400
DEAD = "http://127.0.0.1:9/"  # the discard port: nothing listens


class Handler(BaseHTTPRequestHandler):
    """/good serves CONTENT, /corrupt the wrong bytes, /breaks half of what is left, /noranges ignores ranges."""

    requests: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        kind, wanted = self.path.strip("/"), self.headers.get("Range")
        self.requests.append((kind, wanted))
        if kind == "missing":
            self.send_error(404)
            return
        body = CONTENT[::-1] if kind == "corrupt" else CONTENT[:100] if kind == "short" else CONTENT
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and kind != "noranges" else 0
        body = body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "resets":  # no body, and a reset in place of an end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        self.wfile.write(body[: len(body) // 2] if kind == "breaks" else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    Handler.requests = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def remote(*addresses: str) -> RemoteFile:
    return RemoteFile("downstream/a.txt", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), addresses)


def quiet(_: str) -> None:
    pass


def test_a_good_source_and_then_nothing_to_do(server: str, tmp_path: Path) -> None:
    lines: list[str] = []
    for _ in range(2):
        fetch([remote(server + "good")], tmp_path, log=lines.append)
    assert (tmp_path / "downstream/a.txt").read_bytes() == CONTENT
    assert len(Handler.requests) == 1
    assert "102,400 bytes from 127.0.0.1" in lines[0]
    assert "already there" in lines[1]


@pytest.mark.parametrize("first", ["missing", "corrupt", "short"])
def test_a_bad_first_source_is_passed_over(server: str, tmp_path: Path, first: str) -> None:
    fetch([remote(server + first, server + "good")], tmp_path, log=quiet)
    assert (tmp_path / "downstream/a.txt").read_bytes() == CONTENT


def test_a_dead_first_source_is_passed_over(server: str, tmp_path: Path) -> None:
    fetch([remote(DEAD, server + "good")], tmp_path, log=quiet)
    assert (tmp_path / "downstream/a.txt").read_bytes() == CONTENT


@pytest.mark.parametrize("source", ["good", "noranges"])
def test_an_interrupted_download_is_continued(server: str, tmp_path: Path, source: str) -> None:
    (tmp_path / "downstream").mkdir()
    (tmp_path / "downstream/a.txt.part").write_bytes(CONTENT[:1000])
    fetch([remote(server + source)], tmp_path, log=quiet)
    assert Handler.requests == [(source, "bytes=1000-")]
    assert [p.name for p in (tmp_path / "downstream").iterdir()] == ["a.txt"]
    assert (tmp_path / "downstream/a.txt").read_bytes() == CONTENT


def test_a_connection_that_breaks_goes_on_where_it_broke(server: str, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"a\.txt: no source has the right file"):
        fetch([remote(server + "breaks")], tmp_path, log=quiet)
    assert Handler.requests[:3] == [("breaks", None), ("breaks", "bytes=51200-"), ("breaks", "bytes=76800-")]
    kept = (tmp_path / "downstream/a.txt.part").read_bytes()
    assert kept == CONTENT[: len(kept)]
    assert not (tmp_path / "downstream/a.txt").exists()
    fetch([remote(server + "good")], tmp_path, log=quiet)
    assert Handler.requests[-1] == ("good", f"bytes={len(kept)}-")
    assert (tmp_path / "downstream/a.txt").read_bytes() == CONTENT


def test_a_spoilt_beginning_is_thrown_away(server: str, tmp_path: Path) -> None:
    (tmp_path / "downstream").mkdir()
    (tmp_path / "downstream/a.txt.part").write_bytes(b"spoilt")
    fetch([remote(server + "good")], tmp_path, log=quiet)
    assert (tmp_path / "downstream/a.txt").read_bytes() == CONTENT


def test_a_changed_file_is_fetched_again(server: str, tmp_path: Path) -> None:
    (tmp_path / "downstream").mkdir()
    (tmp_path / "downstream/a.txt").write_bytes(b"cut")
    fetch([remote(server + "good")], tmp_path, log=quiet)
    assert (tmp_path / "downstream/a.txt").read_bytes() == CONTENT


def test_corrupt_everywhere_leaves_no_file(server: str, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"downstream/a\.txt: no source .*checksum differs") as error:
        fetch([remote(server + "corrupt")], tmp_path, log=quiet)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "downstream").iterdir()) == []


def test_offline_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(EvalError, match="offline, no source could be reached") as error:
        fetch([remote(DEAD, DEAD + "b")], tmp_path, log=quiet)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_host_that_is_silent_is_asked_once(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def transfer(address: str, part: Path, start: int) -> data._SourceFailed | None:
        asked.append(address)
        return real(address, part, start)

    real = data._transfer
    monkeypatch.setattr(data, "_transfer", transfer)
    with pytest.raises(EvalError, match="offline"):
        fetch([remote(DEAD, DEAD + "b")], tmp_path, log=quiet)
    assert asked == [DEAD]
    second = RemoteFile("downstream/b.txt", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), (DEAD, server))
    fetch([remote(DEAD, server + "good"), second], tmp_path, log=quiet)
    assert asked[1:] == [DEAD, server + "good", server]


def test_a_break_in_the_middle_is_not_silence(server: str, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="no source has the right file"):
        fetch([remote(server + "resets")], tmp_path, log=quiet)


def test_a_target_that_cannot_be_written_is_named(server: str, tmp_path: Path) -> None:
    (tmp_path / "downstream").write_text("a file where a folder must go")
    with pytest.raises(EvalError, match="cannot be written"):
        fetch([remote(server + "good")], tmp_path, log=quiet)


def test_the_table_covers_the_seven_tasks() -> None:
    table = {file.path: file for file in known_files("senteval")}
    assert set(table) == {f"downstream/{path}" for name in SEVEN for path in TASKS[name].files}
    for file in table.values():
        assert len(file.sha256) == 64
        assert len(set(file.addresses)) >= 3
        assert all(a.startswith("https://") and " " not in a and "{" not in a for a in file.addresses)
    with pytest.raises(EvalError, match="did you mean 'senteval'"):
        known_files("sentevil")


def test_the_other_suites_cover_their_tasks() -> None:
    sentences = {file.path for file in known_files("sst2")}
    assert sentences == {f"downstream/{path}" for path in TASKS["SST2-sentences"].files}
    pairs = {file.path for file in known_files("sts")}
    wanted = {
        f"downstream/{path}" for task in STS.values() for subset in task.subsets for path in subset.files
    }
    assert wanted <= pairs


@pytest.mark.data
@pytest.mark.parametrize("suite", ["senteval", "sst2", "sts"])
def test_the_tables_hashes_are_those_of_the_real_files(suite: str, real_data: Path) -> None:
    for file in known_files(suite):
        content = (real_data / file.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)
