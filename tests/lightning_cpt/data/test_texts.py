"""Damaged rows end in one line, wherever they are read."""

from __future__ import annotations
import pytest
from pathlib import Path
from data_prep.report import Report
from data_prep.errors import DataError
import io
import tarfile
from lightning_cpt.errors import ConfigError
from lightning_cpt.data.evaluation import read_texts
from data_prep.triples import read_triples
from data_prep.shards import PairShards
from data_prep.nli import read_nli


DEEP = "[" * 100_000


def test_json_nested_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(DEEP)
    for read in (read_nli, read_triples):
        with pytest.raises(DataError, match="row 1: not JSON"):
            read([path], Report())
    with pytest.raises(ConfigError, match="1: not JSON"):
        read_texts(path)
    path.write_text('{"id": "\\ud800", "x": "a"}')
    with pytest.raises(ConfigError, match="id holds half of a surrogate"):
        read_texts(path)
    for number, content in enumerate((f'{{"x": {DEEP}', f'{{"x": {"1" * 5000}}}')):
        folder = tmp_path / str(number)
        folder.mkdir()
        with tarfile.open(folder / "a.tar", "w") as tar:
            info = tarfile.TarInfo("0.json")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content.encode()))
        with pytest.raises(DataError, match="sample 0: not JSON"):
            PairShards.open(folder)
