"""Fetches evaluation data: several addresses per file, resumed, checked against known hashes, put in place whole."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from eval_suite.errors import EvalError, did_you_mean

_TIMEOUT_S = 10
_TRIES = 4  # per address, as long as each one brings the file further


@dataclass(frozen=True)
class RemoteFile:
    """path: below the target folder. addresses: where the very same bytes can be had, best first."""

    path: str
    size: int
    sha256: str
    addresses: tuple[str, ...]


class _SourceFailed(Exception):
    """One address did not give the file. unreachable: no answer at all, as without a network."""

    def __init__(self, address: str, reason: str, unreachable: bool = False) -> None:
        super().__init__(f"{urlsplit(address).netloc}: {reason}")
        self.unreachable = unreachable


def known_files(suite: str) -> list[RemoteFile]:
    """The files of a suite, from the table in sources.json. Raises EvalError for an unknown suite."""
    table = json.loads((files("eval_suite") / "sources.json").read_text(encoding="utf-8"))
    if suite not in table:
        raise EvalError(f"unknown data {suite!r}; {did_you_mean(suite, table)}")
    entry = table[suite]
    return [
        RemoteFile(
            f["path"], f["bytes"], f["sha256"], tuple(_addresses(f["sources"], entry["repo_addresses"]))
        )
        for f in entry["files"]
    ]


def fetch(wanted: Sequence[RemoteFile], to: Path, log: Callable[[str], None] = print) -> None:
    """Bring every wanted file below `to`; files already there with the right hash are left alone.

    A download goes to a `.part` file beside its target, is continued after an interruption (from another
    address too: the bytes are the same), is checked, and only then takes the target's name.
    A host that did not answer is not asked again: behind a firewall that drops packets each question costs
    the whole timeout. Raises EvalError when no address of a file works; files finished before that stay.
    """
    silent: dict[str, _SourceFailed] = {}
    for number, file in enumerate(wanted, 1):
        target = Path(to) / file.path
        try:
            state = "already there" if _matches(target, file) else _fetch_one(file, target, silent)
        except OSError as error:
            raise EvalError(f"{target}: cannot be written ({error.strerror}); give another --to") from error
        log(f"[{number}/{len(wanted)}] {file.path}: {state}")


def _fetch_one(file: RemoteFile, target: Path, silent: dict[str, _SourceFailed]) -> str:
    """Try the addresses in turn; returns where the file came from. silent: host -> how it failed to answer."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failures: list[_SourceFailed] = []
    for address in file.addresses:
        host = urlsplit(address).netloc
        if host in silent:
            failures.append(silent[host])
            continue
        try:
            _download(address, file, part)
        except _SourceFailed as failure:
            failures.append(failure)
            if failure.unreachable:
                silent[host] = failure
            continue
        os.replace(part, target)
        return f"{file.size:,} bytes from {host}"
    reasons = "; ".join(dict.fromkeys(map(str, failures)))
    if all(failure.unreachable for failure in failures):
        raise EvalError(
            f"{file.path}: offline, no source could be reached ({reasons}); connect and run the same command again, "
            f"or copy SentEval's `downstream` folder into {target.parents[len(Path(file.path).parts) - 1]}"
        )
    raise EvalError(
        f"{file.path}: no source has the right file ({reasons}); run the same command again later"
    )


def _download(address: str, file: RemoteFile, part: Path) -> None:
    """Fill `part` from one address, or raise _SourceFailed; what was received in order is kept for the next try."""
    for _ in range(_TRIES):
        before = part.stat().st_size if part.exists() else 0
        failed = _transfer(address, part, before)
        after = part.stat().st_size if part.exists() else 0
        if after >= file.size:
            if _matches(part, file):
                return
            part.unlink()
            failed = _SourceFailed(address, "the checksum differs")
            if before == 0:  # the whole file came from here, so asking again would not help
                raise failed
        elif after <= before:
            raise failed or _SourceFailed(address, f"the file ends after {after:,} of {file.size:,} bytes")
    raise failed or _SourceFailed(address, "the connection breaks again and again")


def _transfer(address: str, part: Path, start: int) -> _SourceFailed | None:
    """Append what the server sends from byte `start` on; a failure is returned, since part of it may have come."""
    headers = {"User-Agent": "lightning-cpt"} | ({"Range": f"bytes={start}-"} if start else {})
    connected = False
    try:
        with urlopen(Request(address, headers=headers), timeout=_TIMEOUT_S) as reply:
            connected = True
            # A server that knows no ranges answers 200 with the whole file.
            continued = reply.status == http.HTTPStatus.PARTIAL_CONTENT
            with part.open("ab" if continued else "wb") as out:
                shutil.copyfileobj(reply, out)
    except HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
        return _SourceFailed(address, f"HTTP {error.code}")
    except (URLError, TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        return _SourceFailed(address, reason, unreachable=not connected)
    return None


def _matches(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256


def _addresses(sources: list[dict[str, Any]], templates: list[str]) -> list[str]:
    """All repositories on the first host, then all on the next; a source with its own url stands as it is."""
    own = [source["url"] for source in sources if "url" in source]
    in_repos = [source for source in sources if "repo" in source]
    return [template.format(**source) for template in templates for source in in_repos] + own
