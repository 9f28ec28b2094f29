"""The index of a source tree's functions: kept in a cache, and only the files that changed are encoded again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from data_prep.code.sources import SourceFile, find_sources, skip_reason
from data_prep.files import write_atomic
from eval_suite.encoder import Encoder, encode_texts
from eval_suite.vectors import unit_rows
from lightning_cpt.errors import ConfigError
from lightning_cpt.search import ann
from lightning_cpt.search.build import head
from lightning_cpt.search.folder import MANIFEST, ItemWriter, generation, publish, read_manifest
from lightning_cpt.search.functions import MOST_BYTES, extract
from lightning_cpt.search.index import ITEM_SIDE, QUERY_SIDE, SearchIndex
from lightning_cpt.search.texts import Item

EXTRACTION = 1  # a higher number: what is taken out of a file has changed, and caches are made anew


@dataclass(slots=True)
class Refreshed:
    """What bringing an index up to date came to.

    Args:
        files: In the index.
        encoded: Of these, read and encoded now.
        removed: No longer there.
        faults: File -> why it, or a part of it, is not in the index.
    """

    files: int = 0
    encoded: int = 0
    removed: int = 0
    faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CodeIndex:
    """A source tree's functions, ready to be searched.

    Args:
        index: Over the functions; a hit's ``meta`` has path, line, signature and doc.
        refreshed: What had to be done for it.
    """

    index: SearchIndex
    refreshed: Refreshed

    def query(self, question: str, k: int = 10) -> list[Any]:
        """The functions nearest to a sentence, as :class:`lightning_cpt.search.Hit`."""
        return self.index.query(question, k)[0]


def index_code(
    root: str | Path,
    encoder: Encoder,
    *,
    folder: str | Path | None = None,
    tests: bool = False,
    docs: bool = True,
    progress: bool = False,
) -> CodeIndex:
    """The index of all functions under ``root``, from the cache as far as its files are as they were.

    Args:
        root: A folder or file of source code, in any language whose grammar is installed.
        encoder: What encodes the functions (side y) and the questions (side x).
        folder: Where the index is kept; by default the user's cache, a folder per tree and encoder.
        tests: Index files of tests too; generated and vendored files are left out in any case.
        docs: Find a function by its code and by the first paragraph of its documentation: its vector is the mean
            direction of the two. Without, by its code alone, as the encoder was trained and as scores are measured.
        progress: Show a progress bar.

    Raises:
        ConfigError: faiss is missing, or ``folder`` holds something else, an index of texts too.
        DataError: there is no such tree, no source file in it, or no grammar is installed.
    """
    ann.faiss()
    root = Path(root).expanduser()
    sources = _names(root, [one for one in find_sources([root]) if _is_wanted(one, tests)])
    place = Path(folder).expanduser() if folder else cache_folder(root, encoder, tests, docs)
    old = _open(place, encoder, docs)
    known = _known(old)
    refreshed = Refreshed(files=len(sources))
    files, fresh = _compare(sources, known, refreshed)
    refreshed.removed = len(known.keys() - files.keys())
    if old is not None and not fresh and not refreshed.removed:
        _note_stats(old, known, files)
        return CodeIndex(old, refreshed)
    return CodeIndex(_write(place, encoder, docs, old, files, fresh, progress), refreshed)


def cache_folder(root: Path, encoder: Encoder, tests: bool, docs: bool) -> Path:
    """Where the index of a tree and an encoder is kept if nobody says where."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    what = f"{root.resolve()}\0{encoder.fingerprint}\0{tests}\0{docs}\0{EXTRACTION}"
    key = xxhash.xxh3_64_hexdigest(what.encode("utf-8", "surrogateescape"))
    return base / "lightning_cpt" / "search" / f"{root.resolve().name}-{key}"


def _is_wanted(source: SourceFile, tests: bool) -> bool:
    reason = skip_reason(source)
    return reason is None or (tests and reason == "test file")


def _names(root: Path, sources: Sequence[SourceFile]) -> dict[str, SourceFile]:
    """The files by their path below the root: the same wherever a search is started.

    Raises:
        ConfigError: the root is a git revision.
    """
    if any(source.blob for source in sources):
        raise ConfigError(f"{root}: a git revision cannot be indexed; check it out, and give its folder")
    base = root.resolve()
    base = base if base.is_dir() else base.parent
    names = (source.path.relative_to(base).as_posix() for source in sources)
    # A name that is no UTF-8 (Python reads it as halves of surrogate pairs) is shown with \\xNN in its place.
    shown = (os.fsencode(name).decode("utf-8", "backslashreplace") for name in names)
    return dict(zip(shown, sources, strict=True))


def _open(place: Path, encoder: Encoder, docs: bool) -> SearchIndex | None:
    """The index that is there; None where there is none or it is of no use any more."""
    if not (place / MANIFEST).is_file():
        return None
    try:
        manifest = read_manifest(place)
    except ConfigError:
        return None  # damaged: a cache is made anew
    if "extraction" not in manifest:
        raise ConfigError(f"{place}: is an index of texts, which code would replace; name another folder")
    if (manifest["extraction"], manifest.get("docs")) != (EXTRACTION, docs):
        return None
    return SearchIndex.open(place, encoder)


def _known(old: SearchIndex | None) -> dict[str, dict[str, Any]]:
    if old is None:
        return {}
    files: dict[str, dict[str, Any]] = json.loads((old.folder / old.manifest["parts"]["files"]).read_bytes())
    return files


def _compare(
    sources: dict[str, SourceFile],
    known: dict[str, dict[str, Any]],
    refreshed: Refreshed,
) -> tuple[dict[str, dict[str, Any]], dict[str, list[Item]]]:
    """What is known of each file that is there, and the functions of those that are new or changed."""
    files: dict[str, dict[str, Any]] = {}
    fresh: dict[str, list[Item]] = {}
    for name, source in sources.items():
        then = known.get(name)
        try:
            state = source.path.stat()
            stat = [state.st_size, state.st_mtime_ns]
            if then is not None and then["stat"] == stat:
                files[name] = then
            else:
                raw = source.read(MOST_BYTES)
                digest = xxhash.xxh3_128_hexdigest(raw or b"")
                if then is not None and then["hash"] == digest:
                    files[name] = {**then, "stat": stat}
                else:
                    found = extract(source, raw, name)
                    fresh[name] = found.items
                    files[name] = {"stat": stat, "hash": digest, "fault": found.fault}
        except OSError as error:
            refreshed.faults[name] = f"not readable ({error.strerror})"
            continue
        if files[name]["fault"]:
            refreshed.faults[name] = files[name]["fault"]
    refreshed.encoded = len(fresh)
    return files, fresh


def _write(
    place: Path,
    encoder: Encoder,
    docs: bool,
    old: SearchIndex | None,
    files: dict[str, dict[str, Any]],
    fresh: dict[str, list[Item]],
    progress: bool,
) -> SearchIndex:
    encoded = _encode(encoder, [item for items in fresh.values() for item in items], docs, progress)
    with generation(place) as parts:
        writer = ItemWriter(parts["items"], parts["offsets"])
        blocks, used, count = [], 0, 0
        for name in files:
            items, vectors = _kept(old, files[name]) if name not in fresh else (fresh[name], None)
            if vectors is None:
                vectors = encoded[used : used + len(items)]
                used += len(items)
            writer.add(items)
            blocks.append(vectors)
            files[name] = {**files[name], "rows": [count, count + len(items)]}
            count += len(items)
        writer.close()
        if not count:
            raise ConfigError(f"{next(iter(files), place)}: holds no function, nor do the other files")
        matrix = np.concatenate([block for block in blocks if len(block)])  # (n, d)
        ann.save(ann.make("exact", matrix), parts["vectors"])
        parts["files"].write_text(json.dumps(files), encoding="utf-8")
        publish(
            place, parts, {**head("", encoder, "exact", matrix.shape), "extraction": EXTRACTION, "docs": docs}
        )
    return SearchIndex.open(place, encoder)


def _encode(encoder: Encoder, items: Sequence[Item], docs: bool, progress: bool) -> np.ndarray:
    """Unit vectors of functions, float32 ``(n, d)``: of the code, and of the documentation where there is one."""
    if not items:
        return np.empty((0, 0), np.float32)
    vectors = unit_rows(encode_texts(encoder, [item.text for item in items], ITEM_SIDE, progress), np.float32)
    said = [at for at, item in enumerate(items) if docs and item.meta["doc"]]
    if said:
        texts = [items[at].meta["doc"] for at in said]
        vectors[said] += unit_rows(encode_texts(encoder, texts, QUERY_SIDE, progress), np.float32)
    return unit_rows(vectors, np.float32)


def _kept(old: SearchIndex | None, entry: dict[str, Any]) -> tuple[list[Item], np.ndarray]:
    """Functions and vectors of a file that is as it was."""
    assert old is not None, "a file that is known is known from an index"
    start, end = entry["rows"]
    return old.items.at(range(start, end)), old.vectors(start, end - start)


def _note_stats(old: SearchIndex, known: dict[str, dict[str, Any]], files: dict[str, dict[str, Any]]) -> None:
    """Keep new times of files whose content is the same, so that they are not read again."""
    if files == known:
        return
    parts = {part: old.folder / name for part, name in old.manifest["parts"].items()}
    head = {key: value for key, value in old.manifest.items() if key not in ("format", "parts", "bytes")}
    try:
        write_atomic(parts["files"], json.dumps(files).encode())
        publish(old.folder, parts, head)
    except OSError:
        return  # a cache that cannot be written is read all the same
