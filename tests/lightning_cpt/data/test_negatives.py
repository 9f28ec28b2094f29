"""Hard negatives that a recipe asks for and the data do not have, or not enough of: one line, before the first step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import CorruptChunk
from data_prep.pairs import Pair
from data_prep.shards import PairShards, write_shards
from lightning_cpt.data.negatives import check_negatives
from lightning_cpt.errors import ConfigError


def shards(folder: Path, counts: list[int]) -> PairShards:
    pairs = [Pair(f"id{i}", f"x{i}", f"y{i}", [f"n{j}" for j in range(n)]) for i, n in enumerate(counts)]
    write_shards(folder, pairs, source="toy", records_per_chunk=10)
    return PairShards.open(folder)


def test_enough_or_none_wanted_says_nothing(tmp_path: Path) -> None:
    plenty = shards(tmp_path / "a", [2] * 30)
    assert check_negatives({"": plenty}, 2) == []
    assert check_negatives({"": shards(tmp_path / "b", [0] * 30)}, 0) == []


def test_one_source_of_several_may_be_without(tmp_path: Path) -> None:
    sources = {"nli": shards(tmp_path / "a", [2] * 30), "text": shards(tmp_path / "b", [0] * 30)}
    (line,) = check_negatives(sources, 2)
    assert line.startswith("data.hard_negatives: 30 of the 30 training pairs looked at of text have fewer than 2")


def test_fewer_are_counted(tmp_path: Path) -> None:
    (line,) = check_negatives({"": shards(tmp_path / "a", [3] * 6 + [1] * 4 + [9] * 10)}, 2)
    assert line == (
        "data.hard_negatives: 4 of the 10 training pairs looked at have fewer than 2 (mean 1.6); all they have is used"
    )


def test_rare_negatives_are_found_and_their_absence_is_one_line(tmp_path: Path) -> None:
    rare = shards(tmp_path / "a", [0] * 990 + [1] * 10)
    assert check_negatives({"": rare}, 1) == []  # the last of 100 chunks is looked into, and has enough
    with pytest.raises(
        ConfigError, match=r"^data\.hard_negatives: 3, but none of 320 .* set it to 0, or[^\n]*$"
    ):
        check_negatives({"": shards(tmp_path / "b", [0] * 1000)}, 3)
    with pytest.raises(ConfigError, match="none of 5 training pairs"):
        check_negatives({"": shards(tmp_path / "c", [0] * 5)}, 3)


def test_a_damaged_chunk_is_left_to_the_setting_for_damage(tmp_path: Path) -> None:
    found = shards(tmp_path / "a", [2] * 30)
    tar = next((tmp_path / "a").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[600:620] = bytes(20)  # in the first chunk
    tar.write_bytes(data)
    assert check_negatives({"": found}, 2) == []
    alone = shards(tmp_path / "b", [2] * 5)
    tar = next((tmp_path / "b").glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:512] + bytes(8) + tar.read_bytes()[520:])
    with pytest.raises(CorruptChunk):
        check_negatives({"": alone}, 2)


def test_a_run_with_uneven_negatives_says_so_once_and_one_without_any_does_not_start(
    tmp_path: Path, recipe: Callable[..., Path], here: Callable[..., Any], pair_folder: Path
) -> None:
    _, err = here("fit", "--config", recipe({"data.hard_negatives": 2}))
    assert err.count("16 of the 16 training pairs looked at have fewer than 2") == 1
    shards(tmp_path / "bare" / "train", [0] * 50)
    bare = recipe({"data.hard_negatives": 2, "data.folder": str(tmp_path / "bare"), "run.folder": "bare-run"})
    _, err = here("fit", "--config", bare, status=2)
    assert err.strip().splitlines()[-1].startswith("cpt: error: data.hard_negatives: 2, but none of 50")
    assert not (tmp_path / "bare-run").exists()
