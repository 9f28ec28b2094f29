"""Where the vectors end up: .npy, .parquet or .safetensors, their ids, and a manifest; never half of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.files import atomic_file, sync_folder, write_atomic
from lightning_cpt.embed.parts import Work
from lightning_cpt.embed.spool import Spool
from lightning_cpt.errors import ConfigError

_SUFFIXES = {".npy": "npy", ".parquet": "parquet", ".safetensors": "safetensors"}
_SAFE = {"float32": "F32", "float16": "F16", "int8": "I8"}
FOLDER_STEM = "embeddings"


@dataclass(frozen=True)
class Result:
    """The files of an embedding.

    Args:
        vectors: where the numbers go.
        format: ``npy``, ``parquet`` or ``safetensors``.
    """

    vectors: Path
    format: str

    @classmethod
    def at(cls, out: Path, given: str | None) -> Result:
        """The files for ``--out``: a file of a known suffix, or a folder.

        Raises:
            ConfigError: suffix and ``--format`` disagree, or a suffix that nobody writes.
        """
        out = out.expanduser()
        if out.suffix in _SUFFIXES and not out.is_dir():
            if given not in (None, _SUFFIXES[out.suffix]):
                raise ConfigError(f"--format {given}: but --out is {out.name}; leave one of them out")
            return cls(out, _SUFFIXES[out.suffix])
        if out.suffix and not out.is_dir():
            raise ConfigError(f"--out {out}: a file ends in {', '.join(_SUFFIXES)}; a folder has no suffix")
        kind = given or "npy"
        return cls(out / f"{FOLDER_STEM}.{kind}", kind)

    @property
    def work(self) -> Work:
        return Work(self.vectors.with_name(f".{self.vectors.name}.work"))

    @property
    def ids(self) -> Path:
        return self.vectors.with_name(f"{self.vectors.name}.ids.jsonl")

    @property
    def scales(self) -> Path:
        return self.vectors.with_name(f"{self.vectors.name}.scales.npy")

    @property
    def manifest(self) -> Path:
        return self.vectors.with_name(f"{self.vectors.name}.manifest.json")

    def finished(self) -> dict[str, Any] | None:
        """The manifest of a finished embedding."""
        if not (self.manifest.is_file() and self.vectors.is_file()):
            return None
        try:
            known: dict[str, Any] = json.loads(self.manifest.read_text(encoding="utf-8"))
            if not isinstance(known, dict):
                raise ValueError("no object")
        except ValueError as error:
            raise ConfigError(
                f"{self.manifest}: damaged; delete it, or start anew with --overwrite"
            ) from error
        return known

    def join(self, work: Work, spool: Spool, manifest: dict[str, Any]) -> None:
        """Put the parts behind each other; the manifest comes last, and so says that all is there."""
        self.manifest.unlink(missing_ok=True)
        self.ids.unlink(missing_ok=True)
        self.scales.unlink(missing_ok=True)
        first = work.read(0)
        dtype, dim = first.stored.dtype, first.stored.shape[1]
        shape = (spool.rows, dim)
        if self.format == "parquet":
            self._join_parquet(work, spool, dtype, dim)
        else:
            header = (
                _npy_header(dtype, shape) if self.format == "npy" else _safe_header(dtype, spool.rows, dim)
            )
            with atomic_file(self.vectors) as file:
                file.write(header)
                for part in range(spool.parts):
                    file.write(np.ascontiguousarray(work.read(part).stored).data)
                if self.format == "safetensors" and first.scales is not None:
                    for part in range(spool.parts):
                        file.write(_scales(work, part).data)
            self._join_ids(spool)
            if self.format == "npy" and first.scales is not None:
                with atomic_file(self.scales) as file:
                    np.save(file, np.concatenate([_scales(work, part) for part in range(spool.parts)]))
        write_atomic(self.manifest, (json.dumps(manifest, indent=1) + "\n").encode())

    def _join_ids(self, spool: Spool) -> None:
        with atomic_file(self.ids) as file:
            for part in range(spool.parts):
                lines = (json.dumps(identity, ensure_ascii=False) + "\n" for identity in spool.read(part)[0])
                file.write("".join(lines).encode())

    def _join_parquet(self, work: Work, spool: Spool, dtype: np.dtype, dim: int) -> None:
        pa, pq = import_pyarrow()
        kind = pa.from_numpy_dtype(dtype)
        fields = [("id", pa.string()), ("embedding", pa.list_(kind, dim))]
        if dtype == np.int8:
            fields.append(("scale", pa.float32()))
        temporary = self.vectors.with_name(f".{self.vectors.name}.tmp")
        try:
            with pq.ParquetWriter(temporary, pa.schema(fields)) as writer:
                for part in range(spool.parts):
                    found = work.read(part)
                    flat = pa.array(found.stored.reshape(-1), type=kind)
                    columns = [pa.array(spool.read(part)[0]), pa.FixedSizeListArray.from_arrays(flat, dim)]
                    if found.scales is not None:
                        columns.append(pa.array(found.scales))
                    writer.write_table(pa.table(columns, schema=pa.schema(fields)))
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, self.vectors)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(self.vectors.parent)


def import_pyarrow() -> tuple[Any, Any]:
    """pyarrow and its parquet module.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ConfigError("--format parquet needs pyarrow: pip install 'lightning-cpt[prep]'") from None
    return pa, pq


def samples(work: Work, spool: Spool) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Of each part, the float32 sample ``(k, dim)``, the same rows as stored, and their scales."""
    from lightning_cpt.embed.numbers import sampled

    for number in range(spool.parts):
        part = work.read(number)
        rows = sampled(number * spool.part_rows, len(part.stored), spool.rows)
        yield part.sample, part.stored[rows], None if part.scales is None else part.scales[rows]


def _scales(work: Work, part: int) -> np.ndarray:
    scales = work.read(part).scales
    assert scales is not None
    return scales


def _npy_header(dtype: np.dtype, shape: tuple[int, int]) -> bytes:
    import io

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def _safe_header(dtype: np.dtype, rows: int, dim: int) -> bytes:
    """A safetensors header; the library itself writes only what lies in memory at once, twice."""
    end = rows * dim * dtype.itemsize
    tensors = {"embeddings": {"dtype": _SAFE[dtype.name], "shape": [rows, dim], "data_offsets": [0, end]}}
    if dtype == np.int8:
        pad = [end, end + 4 * rows]
        tensors["scales"] = {"dtype": "F32", "shape": [rows], "data_offsets": pad}
    text = json.dumps(tensors).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
