"""A folder for an index: what is ours in it, and what is the user's and stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lightning_cpt.errors import ConfigError
from lightning_cpt.search.folder import generation, refuse_foreign


def test_files_of_the_user_stay(tmp_path: Path) -> None:
    old = time.time() - 2 * 86400
    for name in ("vectors-train.npy", "items-mine.jsonl"):
        (tmp_path / name).write_text("precious")
        os.utime(tmp_path / name, (old, old))
    with pytest.raises(ConfigError, match="which is no index"):
        refuse_foreign(tmp_path)
    (tmp_path / "index.json").write_text("{}")  # beside an index too
    (tmp_path / "items-old").mkdir()
    (left := tmp_path / "vectors-0123abcd.raw").write_text("x")
    for name in ("items-old", left.name):
        os.utime(tmp_path / name, (old, old))
    with generation(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {
        "index.json",
        "items-mine.jsonl",
        "items-old",
        "vectors-train.npy",
    }


def test_what_a_killed_first_build_leaves_is_ours(tmp_path: Path) -> None:
    (tmp_path / ".index.json.123.tmp").write_text("{")
    (tmp_path / "vectors-0123abcd.faiss").write_text("x")
    refuse_foreign(tmp_path)
