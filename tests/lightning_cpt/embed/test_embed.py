"""Rows in input order, exactly once, whatever stops the run; the same bytes as without a stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from lightning_cpt.embed import run as running
from lightning_cpt.embed.numbers import restore
from lightning_cpt.embed.parts import Work
from lightning_cpt.embed.predict import PartEmbedder
from lightning_cpt.embed.result import Result
from lightning_cpt.embed.run import Settings, _check_apart, embed
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError, TrainingError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def corpus(tmp_path: Path, texts: list[str]) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"id": f"t{i}", "text": t}) + "\n" for i, t in enumerate(texts)))
    return path


def settings(corpus: Path, checkpoint: Path, out: Path, **changes: Any) -> Settings:
    options = {"side": "y", "accelerator": "cpu", "part_rows": 32} | changes
    return Settings([str(corpus)], str(checkpoint), out=out, **options)


def ids(path: Path) -> list[str]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_are_the_encoders_in_order(
    corpus: Path, checkpoint: Path, tmp_path: Path, texts: list[str]
) -> None:
    out = tmp_path / "v.npy"
    assert embed(settings(corpus, checkpoint, out)) == 0
    expected = TextEncoder.load(checkpoint).encode(texts, "y", progress=False)
    found = np.load(out)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert ids(tmp_path / "v.npy.ids.jsonl") == [f"t{i}" for i in range(len(texts))]
    known = json.loads((tmp_path / "v.npy.manifest.json").read_text())
    assert (known["rows"], known["side"]) == (150, "y")
    assert known["fingerprint"] == TextEncoder.load(checkpoint).fingerprint
    assert not list(tmp_path.glob(".*work*"))


def test_a_side_has_its_own_delimiters(corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    for side in ("x", "y"):
        embed(settings(corpus, checkpoint, tmp_path / f"{side}.npy", side=side))
    assert np.abs(np.load(tmp_path / "x.npy") - np.load(tmp_path / "y.npy")).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_formats_hold_the_same_numbers(
    corpus: Path, checkpoint: Path, tmp_path: Path, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("v.npy", "v.parquet", "v.safetensors"):
        embed(settings(corpus, checkpoint, tmp_path / name, dtype=dtype))
    array = np.load(tmp_path / "v.npy")
    assert array.dtype == dtype
    table = pq.read_table(tmp_path / "v.parquet")
    rows = np.array(table["embedding"].to_pylist(), dtype=dtype)
    tensors = load_file(tmp_path / "v.safetensors")
    assert np.array_equal(array, rows)
    assert np.array_equal(array, tensors["embeddings"])
    assert table["id"].to_pylist() == ids(tmp_path / "v.npy.ids.jsonl")
    if dtype == "int8":
        scales = np.load(tmp_path / "v.npy.scales.npy")
        assert np.array_equal(scales, table["scale"].to_numpy())
        assert np.array_equal(scales, tensors["scales"])
        assert np.abs(np.linalg.norm(restore(array, scales), axis=1) - 1).max() < 0.02
    printed = capsys.readouterr().out
    assert ("recall@10" in printed) == (dtype != "float32")
    if dtype != "float32":
        known = json.loads((tmp_path / "v.npy.manifest.json").read_text())["ranking"]
        assert (
            0.4 < known["recall"] <= 1
        )  # random weights: all vectors are close, and int8 is coarse among them
        assert known["rows"] == 150


class Stop(Exception):
    """Stands for a kill."""


def test_a_stopped_run_goes_on_and_ends_in_the_same_bytes(
    corpus: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(settings(corpus, checkpoint, tmp_path / "whole"))
    real, done = PartEmbedder.predict_step, []

    def stops(self: PartEmbedder, batch: Any, batch_idx: int) -> None:
        if len(done) in (2, 3):
            done.append(-1)
            raise Stop
        real(self, batch, batch_idx)
        done.append(batch[0])

    monkeypatch.setattr(PartEmbedder, "predict_step", stops)
    for _ in range(2):
        with pytest.raises(Stop):
            embed(settings(corpus, checkpoint, tmp_path / "out"))
        assert not (tmp_path / "out" / "embeddings.npy").exists()
    embed(settings(corpus, checkpoint, tmp_path / "out"))
    assert done == [0, 1, -1, -1, 2, 3, 4]  # no part twice
    for name in ("embeddings.npy", "embeddings.npy.ids.jsonl", "embeddings.npy.manifest.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_stop_while_the_parts_are_joined(
    corpus: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    def stop(self: Result, spool: Any) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Result, "_join_ids", stop)
        with pytest.raises(Stop):
            embed(settings(corpus, checkpoint, tmp_path / "v.npy", overwrite=overwrite))
    assert (tmp_path / "v.npy").exists()
    assert not (tmp_path / "v.npy.manifest.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr(PartEmbedder, "_embed", lambda *args: pytest.fail("embedded again"))
        embed(settings(corpus, checkpoint, tmp_path / "v.npy", overwrite=overwrite))
    assert len(ids(tmp_path / "v.npy.ids.jsonl")) == 150


def test_another_input_or_encoder_does_not_go_on(
    corpus: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: PartEmbedder, batch: Any, batch_idx: int) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(PartEmbedder, "predict_step", stop)
        with pytest.raises(Stop):
            embed(settings(corpus, checkpoint, tmp_path / "v.npy"))
    with pytest.raises(ConfigError, match=r"unfinished embedding with side y, not x.*--overwrite"):
        embed(settings(corpus, checkpoint, tmp_path / "v.npy", side="x"))
    corpus.write_text(corpus.read_text().replace("t17", "t18"))
    with pytest.raises(ConfigError, match="unfinished embedding with input "):
        embed(settings(corpus, checkpoint, tmp_path / "v.npy"))
    embed(settings(corpus, checkpoint, tmp_path / "v.npy", side="x", overwrite=True))
    assert len(np.load(tmp_path / "v.npy")) == 150


def test_a_finished_one_is_not_done_again(
    corpus: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(settings(corpus, checkpoint, tmp_path / "v.npy"))
    with monkeypatch.context() as patch:
        patch.setattr(running, "_embed_parts", lambda *args: pytest.fail("embedded again"))
        assert embed(settings(corpus, checkpoint, tmp_path / "v.npy")) == 0
    with pytest.raises(ConfigError, match="is there already, made with dtype float32, not int8"):
        embed(settings(corpus, checkpoint, tmp_path / "v.npy", dtype="int8"))
    corpus.write_text('{"text": "other"}\n')
    with pytest.raises(ConfigError, match="is there already, made with input"):
        embed(settings(corpus, checkpoint, tmp_path / "v.npy"))
    embed(settings(corpus, checkpoint, tmp_path / "v.npy", overwrite=True))
    assert np.load(tmp_path / "v.npy").shape == (1, 16)


def test_a_bad_row_leaves_nothing_that_looks_done(
    corpus: Path, checkpoint: Path, tmp_path: Path, texts: list[str]
) -> None:
    corpus.write_text(corpus.read_text() + "{}\n")
    with pytest.raises(ConfigError, match="row 151: no text"):
        embed(settings(corpus, checkpoint, tmp_path / "v.npy"))
    assert not (tmp_path / "v.npy").exists()
    corpus.write_text(corpus.read_text().removesuffix("{}\n"))
    embed(settings(corpus, checkpoint, tmp_path / "v.npy"))
    assert len(np.load(tmp_path / "v.npy")) == len(texts)


def test_any_encoder_by_its_name(
    here: Callable[..., Any], corpus: Path, tmp_path: Path, texts: list[str]
) -> None:
    (tmp_path / "lengths.py").write_text(
        "import numpy as np\n"
        "def encode(texts, side):\n"
        "    return np.array([[len(t), 1 + (side == 'y')] for t in texts], np.float32)\n"
    )
    arguments = ("embed", corpus, "--encoder", "py:lengths:encode", "--side", "y", "--accelerator", "cpu")
    here(*arguments, "--out", tmp_path / "o", "--part-rows", "40")
    assert np.load(tmp_path / "o" / "embeddings.npy").tolist() == [[len(t), 2] for t in texts]


def test_mistakes_end_in_one_line(
    here: Callable[..., Any], corpus: Path, checkpoint: Path, tmp_path: Path
) -> None:
    base = ("embed", corpus, "--encoder", checkpoint, "--accelerator", "cpu")
    for arguments, message in [
        ((*base, "--out", tmp_path / "v.npy"), "--side"),
        ((*base, "--side", "y", "--out", tmp_path / "v.csv"), "a file ends in .npy, .parquet, .safetensors"),
        ((*base, "--side", "y", "--out", tmp_path / "v.npy", "--format", "parquet"), "leave one of them out"),
        (
            (*base, "--side", "y", "--out", tmp_path / "o", "--part-rows", "0"),
            "--part-rows 0: must be 1 or more",
        ),
        (
            (*base[:2], "--encoder", "no.ckpt", "--side", "y", "--out", tmp_path / "o"),
            "no.ckpt: no such checkpoint",
        ),
        ((*base[:2], "--encoder", "abc", "--side", "y", "--out", tmp_path / "o"), "scheme:rest"),
        (("embed", "none.txt", *base[2:], "--side", "y", "--out", tmp_path / "o"), "no such file or folder"),
    ]:
        _, err = here(*arguments, status=2)
        assert message in err.splitlines()[-1]
        assert "Traceback" not in err


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from lightning_cpt.cli import main\n"
        "for verb in ('embed', 'export'):\n"
        "    try: main([verb, '--help'])\n"
        "    except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_two_ranks_give_the_bytes_of_one(
    cpt: Callable[..., Any], corpus: Path, checkpoint: Path, tmp_path: Path
) -> None:
    for devices in ("1", "2"):
        arguments = ("--encoder", checkpoint, "--side", "y", "--accelerator", "cpu", "--devices", devices)
        done = cpt("embed", corpus, *arguments, "--part-rows", "32", "--out", tmp_path / devices)
        assert done.returncode == 0, done.stderr
    for name in ("embeddings.npy", "embeddings.npy.ids.jsonl", "embeddings.npy.manifest.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.slow
def test_more_ranks_than_parts(
    cpt: Callable[..., Any], corpus: Path, checkpoint: Path, tmp_path: Path
) -> None:
    arguments = ("--encoder", checkpoint, "--side", "y", "--accelerator", "cpu", "--devices", "3")
    done = cpt("embed", corpus, *arguments, "--part-rows", "100", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "out" / "embeddings.npy").shape == (150, 16)


@pytest.mark.slow
def test_a_real_kill(corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    """SIGKILL at whatever moment a part shows; standard input is piped anew."""
    (tmp_path / "slowly.py").write_text(
        "import time, numpy as np\n"
        "def encode(texts, side):\n"
        "    time.sleep(0.05)\n"
        "    return np.array([[len(t), sum(map(ord, t))] for t in texts], np.float32)\n"
    )
    command = [sys.executable, "-m", "lightning_cpt.cli", "embed", "-", "--kind", "jsonl"]
    command += ["--encoder", "py:slowly:encode", "--side", "x", "--accelerator", "cpu", "--part-rows", "5"]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "OMP_NUM_THREADS": "1"}

    def start(out: str) -> subprocess.Popen[bytes]:
        with corpus.open("rb") as stdin:
            return subprocess.Popen([*command, "--out", out], cwd=tmp_path, env=env, stdin=stdin)

    for kill in (2, 9):
        process = start("killed.npy")
        while len(list(tmp_path.glob(".killed.npy.work/part-*.npz"))) < kill:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "killed.npy").exists()
    assert start("killed.npy").wait() == 0
    assert start("whole.npy").wait() == 0
    for suffix in (".npy", ".npy.ids.jsonl", ".npy.manifest.json"):
        assert (tmp_path / f"killed{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


def test_a_result_inside_its_input_is_refused(corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the input"):
        embed(settings(corpus.parent, checkpoint, tmp_path / "below" / "v.npy"))
    assert not (tmp_path / "below").exists()


def test_a_full_disk_is_one_line_and_keeps_what_is_done(
    corpus: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, out = Work.write, tmp_path / "v.npy"

    def full(self: Work, part: int, *rest: Any) -> None:
        if part == 2:
            raise OSError(28, "No space left on device")
        write(self, part, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Work, "write", full)
        with pytest.raises(ConfigError, match=r"--out .*No space left on device.*the same command goes on"):
            embed(settings(corpus, checkpoint, out))
    assert len(list(tmp_path.glob(".v.npy.work/part-*"))) == 2
    assert embed(settings(corpus, checkpoint, out)) == 0


def test_vectors_that_are_no_numbers_are_never_stored(
    corpus: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        TextEncoder, "encode_tokens", lambda self, tokens: np.full((len(tokens), 16), np.nan, np.float32)
    )
    with pytest.raises(TrainingError, match="not finite"):
        embed(settings(corpus, checkpoint, tmp_path / "v.npy", dtype="int8"))


def test_the_input_is_no_place_for_the_vectors(tmp_path: Path) -> None:
    (texts := tmp_path / "t.parquet").write_text("x")
    with pytest.raises(ConfigError, match="is the input"):
        _check_apart([str(texts)], texts)
    _check_apart([str(texts)], tmp_path / "v.parquet")
    _check_apart(["-", "s3://b/x"], texts)


@pytest.mark.parametrize("left", ["", "[]", "{"])
def test_damaged_files_of_a_stopped_embedding_are_one_line(tmp_path: Path, left: str) -> None:
    (work := tmp_path / ".v.work").mkdir()
    (work / "settings.json").write_text(left)
    with pytest.raises(ConfigError, match="damaged; start anew with --overwrite"):
        Work(work).claim({"a": 1}, overwrite=False)
    assert Work(work).claim({"a": 1}, overwrite=True) is False
    assert Work(work).claim({"a": 1}, overwrite=False) is True
