"""Keeps vectors on disk by weights, side and text, so that no text is encoded twice by the same encoder."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from eval_suite.encoder import Encoder
from eval_suite.errors import EvalError
from eval_suite.vectors import checked

_VERSION = "1"
_AT_ONCE = 500  # keys of one question: SQLite takes some hundreds of parameters
_PATIENCE_S = 60.0


class CachedEncoder:
    """An encoder whose vectors are looked up first, and kept.

    A file for each pair of fingerprint and side: the fingerprint covers weights, tokenizer and lengths, so another
    checkpoint's vectors can never come back. Vectors are float32; a text's key is the SHA-256 of its bytes.
    What a killed run had encoded is there for the next; several processes may share the folder.

    Args:
        encoder: what encodes.
        folder: where the files lie; made when the first is written.
    """

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        self.encoder, self.folder = encoder, Path(folder)
        self.name, self.fingerprint = encoder.name, encoder.fingerprint

    def __getattr__(self, name: str) -> Any:
        if name == "encoder":  # not there yet, as while it is unpickled
            raise AttributeError(name)
        return getattr(self.encoder, name)

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        """float32 (len(texts), d).

        Raises:
            EvalError: a cache that is damaged or cannot be written; vectors of a wrong shape or with NaN.
        """
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        path = self.folder / f"{re.sub(r'[^A-Za-z0-9]', '-', self.fingerprint)}.{side}.sqlite"
        with _opened(path, self.fingerprint) as database:
            rows = dict(_rows(database, list(dict.fromkeys(keys))))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in rows}
        if missing:  # encoded with the file closed: an error of the encoder is not one of the cache
            new = list(missing.values())
            vectors = np.ascontiguousarray(
                checked(self.name, self.encoder.encode(new, side), new), np.float32
            )  # (missing, d)
            made = dict(zip(missing, vectors, strict=True))
            with _opened(path, self.fingerprint) as database, database:
                database.executemany(
                    "insert or ignore into vectors values (?, ?)",
                    ((key, vector.tobytes()) for key, vector in made.items()),
                )
            rows |= made
        return np.stack([rows[key] for key in keys]) if keys else np.empty((0, 0), np.float32)


def _rows(database: sqlite3.Connection, keys: list[bytes]) -> Iterator[tuple[bytes, np.ndarray]]:
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        marks = ",".join("?" * len(some))
        for key, raw in database.execute(f"select key, vector from vectors where key in ({marks})", some):
            yield key, np.frombuffer(raw, np.float32)


@contextmanager
def _opened(path: Path, fingerprint: str) -> Iterator[sqlite3.Connection]:
    cure = "delete it, or give another --cache, or --no-cache"
    database = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=_PATIENCE_S)
        with database:
            database.execute("create table if not exists about (version text, fingerprint text)")
            database.execute(
                "create table if not exists vectors (key blob primary key, vector blob) without rowid"
            )
            if not database.execute("select count(*) from about").fetchone()[0]:
                database.execute("insert into about values (?, ?)", (_VERSION, fingerprint))
        if database.execute("select version, fingerprint from about").fetchone() != (_VERSION, fingerprint):
            raise EvalError(f"cache {path}: holds another encoder's vectors or another version's; {cure}")
        yield database
    except (sqlite3.Error, OSError) as error:
        raise EvalError(f"cache {path}: cannot be used ({error}); {cure}") from error
    finally:
        if database is not None:
            database.close()
