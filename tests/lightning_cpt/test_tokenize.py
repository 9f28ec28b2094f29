"""`cpt prep tokenize` from end to end: any name of a tokenizer, and a run whose losses are those of the texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.shards import PairShards
from lightning_cpt.cli import MISTAKE
from lightning_cpt.errors import ConfigError
from lightning_cpt.find_tokenizer import serialised_tokenizer
from lightning_cpt.tokenization import PairTokenizer

Here = Callable[..., tuple[str, str]]
Recipe = Callable[..., Path]


def record(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    return {"trainer.callbacks": [{"class_path": "recorder.Recorder", "init_args": {"folder": str(folder)}}]}


def losses(folder: Path) -> list[str]:
    return (folder / "losses-0.txt").read_text().splitlines()


def test_a_run_on_ids_has_the_losses_of_the_run_on_texts_and_can_take_it_up(
    here: Here, recipe: Recipe, pair_folder: Path, tmp_path: Path
) -> None:
    more = {"data.token_dropout": 0.2, "data.hard_negatives": 1, "model.encoder.max_length_y": 15}
    texts = recipe({**record(tmp_path / "texts"), **more, "trainer.max_steps": 12})
    here("fit", "--config", texts)
    here("prep", "tokenize", pair_folder, "--tokenizer", texts, "--out", tmp_path / "ids")
    ids = {**record(tmp_path / "ids-run"), **more, "data.folder": str(tmp_path / "ids")}
    whole = recipe({**ids, "trainer.max_steps": 12, "run.folder": "other", "data.workers": 2}, "ids.yaml")
    here("fit", "--config", whole)
    assert losses(tmp_path / "ids-run") == losses(tmp_path / "texts")
    # The checkpoint of a run on texts goes on with their ids, as it does with the texts.
    here("fit", "--config", recipe({**more, "trainer.max_steps": 5, "run.folder": "half"}, "half.yaml"))
    for name, folder in (("rest", tmp_path / "ids"), ("same", pair_folder)):
        callbacks = json.dumps(record(tmp_path / name)["trainer.callbacks"])
        arguments = ["--data.folder", folder, "--trainer.max_steps", "12", "--run.folder", name]
        here("fit", "--ckpt_path", "half/last.ckpt", *arguments, "--trainer.callbacks", callbacks)
    assert losses(tmp_path / "rest") == losses(tmp_path / "same")
    assert [line.split()[::2] for line in losses(tmp_path / "rest")] == [
        line.split()[::2] for line in losses(tmp_path / "texts")[5:]
    ]
    out, _ = here("test", "--ckpt_path", "other/last.ckpt")
    assert "test/mrr" in out
    here("predict", "--ckpt_path", "other/last.ckpt")


def test_the_ids_of_a_plan_are_those_of_the_texts(
    here: Here, recipe: Recipe, pair_folder: Path, tmp_path: Path, tokenizer_folder: str
) -> None:
    here("prep", "tokenize", pair_folder, "--tokenizer", tokenizer_folder, "--out", tmp_path / "ids")
    config = recipe()
    found = [
        here("data", "ids", "--config", config, "--data.folder", folder, "--steps", "0:30", "--world", "2")[0]
        for folder in (pair_folder, tmp_path / "ids")
    ]
    assert found[0] == found[1]
    here("prep", "verify", tmp_path / "ids")  # a folder of ids wants no data card
    out, _ = here("data", "simulate", "--config", config, "--data.folder", tmp_path / "ids", "--world", "2")
    assert "tokens of the fullest rank over the mean" in out


def test_a_run_with_another_tokenizer_stops_with_one_line(
    here: Here, recipe: Recipe, pair_folder: Path, tmp_path: Path, bracket_tokenizer_folder: str
) -> None:
    here("prep", "tokenize", pair_folder, "--tokenizer", bracket_tokenizer_folder, "--out", tmp_path / "ids")
    config = recipe({"data.folder": str(tmp_path / "ids")})
    _, error = here("fit", "--config", config, status=MISTAKE)
    lines = [line for line in error.splitlines() if line.startswith("cpt: error")]
    assert len(lines) == 1
    assert "its token ids are of tokenizer" in lines[0]
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_every_name_of_a_tokenizer_means_the_same(
    here: Here, recipe: Recipe, tokenizer_folder: str, tmp_path: Path, pair_folder: Path
) -> None:
    here("fit", "--config", recipe({"trainer.max_steps": 3}))
    wanted = PairTokenizer(tokenizer_folder).text_hash
    start = recipe({"model.encoder": {"backbone": str(tmp_path / "run" / "last.ckpt")}}, "start.yaml")
    names = [tokenizer_folder, f"{tokenizer_folder}/tokenizer.json", recipe(), "run/last.ckpt", start]
    for number, name in enumerate(names):
        out = tmp_path / f"ids{number}"
        here("prep", "tokenize", pair_folder / "test", "--tokenizer", name, "--out", out)
        head = PairShards.open(out).tokens
        assert head is not None
        assert head.tokenizer == wanted
    alone = tmp_path / "alone.json"
    alone.write_bytes(Path(tokenizer_folder, "tokenizer.json").read_bytes())
    assert serialised_tokenizer(str(alone)).startswith("{")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.ckpt", "no such checkpoint"),
        ("nowhere.yaml", "no such file, and no recipe of that name"),
        ("text.json", "--tokenizer text.json: not a tokenizer.json"),
        ("empty.yaml", "neither tokenizer nor backbone"),
        ("no/such/folder/at all", "there is no folder"),
    ],
)
def test_a_name_that_stands_for_no_tokenizer(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.json").write_text('{"a": 1}')
    recipe({"model.encoder": {"config": {"model_type": "gpt2"}}}, "empty.yaml")
    with pytest.raises(ConfigError, match=message):
        serialised_tokenizer(name)
