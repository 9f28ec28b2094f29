"""Each export gives the checkpoint's vectors in a process that cannot import this project, or leaves nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from data_prep.pairs import Pair
from data_prep.shards import write_shards
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.export import compare as comparing
from lightning_cpt.export.run import export
from lightning_cpt.export.texts import sample_texts

Make = Callable[..., Path]
KINDS = ("gpt2", "bert", "qwen3")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, float]:
    """Instead of a fresh process, which takes seconds: the checkpoint's own vectors, y off by ``["off"]``."""
    change = {"off": 0.0}

    def vectors(folder: Path, texts: list[str]) -> dict[str, np.ndarray]:
        encoder = TextEncoder.load(tmp_path / "run-gpt2" / "last.ckpt")
        found = {name: encoder.encode(texts, side, progress=False) for side, name in comparing.NAMES.items()}
        found["document"][3] += change["off"]
        return found

    monkeypatch.setattr(comparing, "_in_fresh_process", vectors)
    return change


def slow_but(first: str, *others: str) -> list[Any]:
    """Parameters of which only the first is quick enough for every run."""
    return [first, *(pytest.param(other, marks=pytest.mark.slow) for other in others)]


@pytest.mark.parametrize("kind", slow_but("gpt2", "bert", "qwen3"))
def test_transformers_folder_is_exact(checkpoint: Make, tmp_path: Path, kind: str) -> None:
    assert export(str(checkpoint(kind)), "transformers", tmp_path / "out") <= 1e-6
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.slow
def test_transformers_folder_drops_repeats_in_its_ten_lines(checkpoint: Make, tmp_path: Path) -> None:
    assert export(str(checkpoint(drop_repeats=True)), "transformers", tmp_path / "out") <= 1e-6
    assert "dict.fromkeys" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sentence_transformers_folder_is_exact_and_holds_the_weights_once(
    checkpoint: Make, tmp_path: Path, kind: str
) -> None:
    pytest.importorskip("sentence_transformers")
    path = checkpoint(kind)
    assert export(str(path), "sentence-transformers", tmp_path / "out") <= 1e-6
    encoder = TextEncoder.load(path)
    whole = sum(p.numel() for p in encoder.parameters())
    small = 2 * (len(encoder.tokenization) + 100)  # two models of one number a token
    assert _numbers(tmp_path / "out") <= whole + small
    model = _sentence_transformer(tmp_path / "out")
    assert sum(p.numel() for p in model.parameters()) <= whole + small
    np.testing.assert_allclose(
        model.encode(["a text"]), encoder.encode(["a text"], "x"), atol=1e-6
    )  # plain: side x


def test_sentence_transformers_cannot_drop_repeats(checkpoint: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"drop_repeats.*--to onnx.*--to transformers"):
        export(str(checkpoint(drop_repeats=True)), "sentence-transformers", tmp_path / "out")
    assert not _left(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_graph_is_exact(checkpoint: Make, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("onnxscript")
    assert export(str(checkpoint(kind)), "onnx", tmp_path / "out") <= 1e-5
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "README.md",
        "document.json",
        "model.onnx",
        "query.json",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_onnx_graph_drops_repeats_itself(checkpoint: Make, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("onnxscript")
    assert export(str(checkpoint(kind, drop_repeats=True)), "onnx", tmp_path / "out") <= 1e-5
    assert 'truncation": null' in (tmp_path / "out" / "query.json").read_text()


def test_onnx_cannot_tell_like_sides_of_unlike_lengths(checkpoint: Make, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    same = {"x": ["<x>", "</x>"], "y": ["<x>", "</x>"]}
    with pytest.raises(ConfigError, match="delimiters, which are the same"):
        export(str(checkpoint(drop_repeats=True, delimiters=same)), "onnx", tmp_path / "out")
    assert not _left(tmp_path)


def test_a_difference_fails_and_leaves_nothing(
    checkpoint: Make, tmp_path: Path, in_process: dict[str, float]
) -> None:
    path = checkpoint()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("---\ntags:\n- lightning-cpt\n---\n# a former export\n")
    in_process["off"] = 2e-5
    with pytest.raises(ConfigError, match=r"differs from the checkpoint by 2\.0e-05 at side y"):
        export(str(path), "transformers", tmp_path / "out", overwrite=True)
    assert _left(tmp_path) == ["out"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["README.md"]
    in_process["off"] = np.nan
    with pytest.raises(ConfigError, match="differs from the checkpoint by inf"):
        export(str(path), "transformers", tmp_path / "other")
    assert _left(tmp_path) == ["out"]


@pytest.mark.slow
def test_an_export_that_needs_this_project_is_none(
    checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_cpt.export import as_transformers

    real = as_transformers.write
    monkeypatch.setattr(as_transformers, "write", lambda *args: real(*args) + "import lightning_cpt\n")
    with pytest.raises(ConfigError, match=r"does not load .*the export imports lightning_cpt"):
        export(str(checkpoint()), "transformers", tmp_path / "out")
    assert not _left(tmp_path)


def test_what_is_there_is_replaced_only_when_asked(
    checkpoint: Make, tmp_path: Path, in_process: dict[str, float]
) -> None:
    path = checkpoint()
    export(str(path), "transformers", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"is there already.*--overwrite"):
        export(str(path), "transformers", tmp_path / "out")
    (tmp_path / "out" / "old.txt").write_text("")
    export(str(path), "transformers", tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "old.txt").exists()
    assert _left(tmp_path) == ["out"]


def test_an_encoder_of_ones_own_class_is_refused(checkpoint: Make, tmp_path: Path) -> None:
    own = {"model": {"encoder": {"class_path": "mine.Encoder", "init_args": {}}}}
    with pytest.raises(ConfigError, match=r"mine\.Encoder, a class of your own"):
        export(str(checkpoint(config=own)), "transformers", tmp_path / "out")


@pytest.mark.slow
def test_a_checkpoint_of_cpt_fit_goes_all_the_way(
    here: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    here("fit", "--config", recipe())
    out, _ = here("export", tmp_path / "run" / "last.ckpt", "--to", "transformers", "--out", tmp_path / "o")
    assert "largest difference from the checkpoint" in out
    card = (tmp_path / "o" / "README.md").read_text()
    assert "n_positions: 32" in card
    assert "# run-step4" in card


def test_the_texts_are_truncated_on_both_sides_even_without_repeats(checkpoint: Make) -> None:
    encoder = TextEncoder.load(checkpoint(drop_repeats=True))
    texts = sample_texts(encoder.tokenization, None, None)
    assert min(texts.truncated.values()) >= 3
    assert "" in texts.all


def test_the_card_says_where_the_model_comes_from(
    checkpoint: Make, tmp_path: Path, in_process: dict[str, float]
) -> None:
    path = checkpoint()
    pairs = (Pair(id=f"p{i}", x=f"word {i}", y=f"other {i}", meta={"license": "MIT"}) for i in range(30))
    write_shards(tmp_path / "data" / "train", pairs, source="toy")
    from data_prep.card import write_card

    write_card(tmp_path / "data")
    encoder = TextEncoder.load(path)
    _result(tmp_path / "results", encoder.fingerprint, 51.25)
    _result(tmp_path / "results", "0" * 32, 99.0)
    largest = export(str(path), "transformers", tmp_path / "out", results=tmp_path / "results")
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"largest difference from the checkpoint {largest:.1e}" in card
    assert re.search(r"\| toy \| accuracy \| 51\.25 \| 50\.00 to 52\.00 \|", card)
    assert "99.0" not in card
    assert "Licences of the texts it was trained on: MIT." in card
    assert "max_length_x: 24" in card
    assert "2201.10005" in card
    (own,) = (tmp_path / "results").glob(f"toy.{encoder.fingerprint[:12]}*.json")
    own.unlink()
    with pytest.raises(ConfigError, match="1 results, none of this checkpoint"):
        export(str(path), "transformers", tmp_path / "other", results=tmp_path / "results")


def test_mistakes_end_in_one_line(here: Callable[..., Any], checkpoint: Make, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    _, err = here("export", "no.ckpt", "--to", "onnx", *out, status=2)
    assert err == "cpt: error: no.ckpt: no such checkpoint\n"
    (tmp_path / "cut.ckpt").write_bytes(checkpoint().read_bytes()[:5000])
    _, err = here("export", tmp_path / "cut.ckpt", "--to", "transformers", *out, status=2)
    assert err.count("\n") == 1
    assert "not a readable checkpoint" in err
    _, err = here("export", checkpoint(), "--to", "transformers", *out, "--texts", "no.txt", status=2)
    assert "--texts no.txt" in err.splitlines()[-1]
    (tmp_path / "file").write_text("")
    _, err = here("export", checkpoint(), "--to", "transformers", "--out", tmp_path / "file", status=2)
    assert "is no folder" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_exports_hold_no_pickles(checkpoint: Make, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    for to in ("transformers", "sentence-transformers"):
        export(str(checkpoint()), to, tmp_path / to)
        suffixes = {p.suffix for p in (tmp_path / to).rglob("*") if p.is_file()}
        assert suffixes <= {".json", ".safetensors", ".md"}


def test_the_card_keeps_secrets_and_a_checkpoint_without_a_recipe_is_one_line(
    checkpoint: Make, tmp_path: Path, in_process: dict[str, float]
) -> None:
    config = {"trainer": {"logger": {"init_args": {"api_key": "hush-hush"}}}, "data": {"sources": {"a": "b"}}}
    export(str(checkpoint(config=config)), "transformers", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "hush-hush" not in card
    assert "api_key: (left out)" in card
    path = checkpoint()
    state = torch.load(path, weights_only=True)
    torch.save({**state, "config": "a: [1"}, path)
    with pytest.raises(ConfigError, match="its recipe cannot be read"):
        export(str(path), "transformers", tmp_path / "other")


def _left(folder: Path) -> list[str]:
    """What an export left beside the checkpoint, hidden folders too."""
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("run-"))


def _numbers(folder: Path) -> int:
    count = 0
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "np") as file:
            count += sum(int(np.prod(file.get_slice(key).get_shape())) for key in file.keys())  # noqa: SIM118
    return count


def _sentence_transformer(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def _result(folder: Path, fingerprint: str, score: float) -> None:
    from eval_suite.results import Result

    Result(
        task="toy",
        family="probe",
        score=score,
        metric="accuracy",
        scores={"accuracy": score},
        interval=[50.0, 52.0],
        protocol="toy-1",
        encoder="e",
        fingerprint=fingerprint,
        side="x",
        dtype="float32",
        dim=16,
        seed=0,
        examples={"test": 10},
        data_sha256="0",
        settings={},
    ).write(folder)
    assert json.loads(next(folder.glob("toy.*.json")).read_text())
