"""The order of the data in real runs: killed and resumed on other ranks and workers, it is that of `cpt data ids`."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STEPS = 45  # of 21 batches an epoch

Cpt = Callable[..., Any]
Recipe = Callable[..., Path]


def changes(tmp_path: Path, **further: Any) -> dict[str, Any]:
    return {
        "run.checkpoint_every": 1,
        "trainer.max_steps": STEPS,
        "trainer.callbacks": [{"class_path": "recorder.Recorder", "init_args": {"folder": str(tmp_path)}}],
        **further,
    }


def on_ranks(number: int, workers: int) -> list[str]:
    strategy = "auto" if number == 1 else "ddp"
    keys = {"trainer.devices": number, "trainer.strategy": strategy, "data.workers": workers}
    return [part for key, value in keys.items() for part in (f"--{key}", str(value))]


def trained(folder: Path) -> dict[int, list[str]]:
    """Batch number -> sorted ids of all ranks' shares; a batch done twice counts as it was the last time."""
    shares: dict[int, dict[Path, list[str]]] = defaultdict(dict)
    for path in folder.glob("ids-*.txt"):
        for line in path.read_text().splitlines():
            number, ids = json.loads(line)
            shares[number][path] = ids
    return {number: sorted(one for ids in parts.values() for one in ids) for number, parts in shares.items()}


def planned(cpt: Cpt, recipe: Path, steps: int = STEPS) -> dict[int, list[str]]:
    done = cpt("data", "ids", "--config", recipe, "--steps", f"0:{steps}", "--world", "4", "--workers", "2")
    assert done.returncode == 0, done.stderr
    rows = map(json.loads, done.stdout.splitlines())
    return {row["step"]: sorted(row["ids"]) for row in rows}


def forget_after(folder: Path, batches: int) -> None:
    """Drop what was recorded behind a checkpoint: another number of ranks writes other files."""
    for path in folder.glob("ids-*.txt"):
        lines = [line for line in path.read_text().splitlines() if json.loads(line)[0] < batches]
        path.write_text("".join(f"{line}\n" for line in lines))


def batches_of(checkpoint: Path) -> int:
    from lightning_cpt.checkpoint import read_checkpoint

    return int(read_checkpoint(checkpoint)["global_step"])


def run_through_kills(
    tmp_path: Path, cpt: Cpt, config: Path, kills: list[int], places: list[list[str]]
) -> dict[int, list[str]]:
    """Train to the end, killed at these batches, each time on another number of ranks and workers."""
    checkpoint = tmp_path / "run" / "last.ckpt"
    arguments: list[Any] = ["fit", "--config", config]
    for kill, place in zip([*kills, None], places, strict=True):
        done = cpt(*arguments, *place, KILL_AT=str(kill))
        assert done.returncode == (-signal.SIGKILL if kill is not None else 0), done.stderr
        arguments = ["fit", "--ckpt_path", checkpoint]
        if kill is not None:
            forget_after(tmp_path, batches_of(checkpoint))
    return trained(tmp_path)


def test_killed_on_two_ranks_and_resumed_on_one(tmp_path: Path, cpt: Cpt, recipe: Recipe) -> None:
    config = recipe(changes(tmp_path))
    expected = planned(cpt, config)
    places = [on_ranks(2, 2), on_ranks(1, 1)]
    assert run_through_kills(tmp_path, cpt, config, [23], places) == expected
    assert len({one for ids in list(expected.values())[:21] for one in ids}) == 21 * 16


@pytest.mark.slow
def test_killed_twenty_times_on_two_ranks_then_one_and_four(tmp_path: Path, cpt: Cpt, recipe: Recipe) -> None:
    config = recipe(changes(tmp_path))
    kills = sorted(random.Random(4).sample(range(1, STEPS - 3), 20))
    places = [on_ranks(2, 2)] * 19 + [on_ranks(1, 0), on_ranks(4, 0)]
    assert run_through_kills(tmp_path, cpt, config, kills, places) == planned(cpt, config)


def members(session: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
            if int(sid) == session and state != "Z":
                found.append(int(stat.parent.name))
    return found


def second_rank(first: int) -> int:
    """The process that rank 0 has started as rank 1; the others of its children read data."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == first and b"LOCAL_RANK=1\0" in stat.with_name("environ").read_bytes():
                return int(stat.parent.name)
    raise AssertionError("rank 1 is not there")


@pytest.mark.slow
def test_killed_from_outside_at_random_moments_one_rank_or_both(
    tmp_path: Path, cpt: Cpt, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a step, of an exchange or of a checkpoint: the ranks that are left end by themselves."""
    steps, rng = 400, random.Random(7)
    # Written before the step: a checkpoint that has the step has all ranks' ids of it.
    (tmp_path / "starts.py").write_text(
        "import json\n"
        "from pathlib import Path\n"
        "from lightning.pytorch import Callback\n\n"
        "class Starts(Callback):\n"
        "    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):\n"
        f"        with open(Path({str(tmp_path)!r}, f'ids-{{trainer.global_rank}}.txt'), 'a') as file:\n"
        "            file.write(json.dumps([trainer.fit_loop.total_batch_idx, batch.ids]) + '\\n')\n"
    )
    further = {"trainer.max_steps": steps, "trainer.callbacks": [{"class_path": "starts.Starts"}]}
    config = recipe(changes(tmp_path, **further))
    expected = planned(cpt, config, steps)
    last, ids = tmp_path / "run" / "last.ckpt", tmp_path / "ids-0.txt"
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for who in ("both", "first", "second", "first"):
        begin = ["--ckpt_path", str(last)] if last.exists() else ["--config", str(config)]
        before = ids.stat().st_size if ids.exists() else 0
        with (tmp_path / "out.txt").open("w") as out:
            command = [sys.executable, "-m", "lightning_cpt.cli", "fit", *begin, *on_ranks(2, 2)]
            process = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out, start_new_session=True)
        deadline = time.monotonic() + 120
        while not ids.exists() or ids.stat().st_size == before:
            assert time.monotonic() < deadline
            assert process.poll() is None, (tmp_path / "out.txt").read_text()
            time.sleep(0.01)
        second = second_rank(process.pid)
        time.sleep(rng.uniform(0, 1.5))
        for pid in {"both": (process.pid, second), "first": (process.pid,), "second": (second,)}[who]:
            os.kill(pid, signal.SIGKILL)
        process.wait(timeout=120)
        deadline = time.monotonic() + 120
        while members(process.pid):
            assert time.monotonic() < deadline, f"{who} killed, and the other waits"
            time.sleep(0.1)
        assert not last.exists() or batches_of(last) < steps  # it was not at its end
        said = (tmp_path / "out.txt").read_text()
        assert "Traceback" not in said, said
        assert who != "first" or "another rank has ended" in said  # rank 0 ends with its child at once
    done = cpt("fit", "--ckpt_path", last, *on_ranks(2, 2))
    assert done.returncode == 0, done.stderr
    assert trained(tmp_path) == expected


def test_a_chunk_that_one_rank_finds_damaged_stops_both_after_a_checkpoint(
    tmp_path: Path, cpt: Cpt, recipe: Recipe, pair_folder: Path
) -> None:
    shutil.copytree(pair_folder, tmp_path / "pairs")
    tar = next((tmp_path / "pairs" / "train").glob("*.tar"))
    sound = tar.read_bytes()
    middle = len(sound) // 2
    tar.write_bytes(sound[:middle] + bytes(2048) + sound[middle + 2048 :])
    config = recipe(
        changes(
            tmp_path,
            **{"data.folder": str(tmp_path / "pairs"), "run.checkpoint_every": 1000, "trainer.max_steps": 21},
        )
    )
    done = cpt("fit", "--config", config, *on_ranks(2, 1))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    errors = {line for line in done.stderr.splitlines() if line.startswith("cpt: error: ")}
    assert len(errors) == 1  # the same of both ranks
    assert "chunk" in errors.pop()
    tar.write_bytes(sound)
    before = batches_of(tmp_path / "run" / "last.ckpt")
    assert 0 < before < 21
    done = cpt("fit", "--ckpt_path", tmp_path / "run" / "last.ckpt", *on_ranks(2, 1))
    assert done.returncode == 0, done.stderr
    found = trained(tmp_path)
    rows = cpt("data", "ids", "--config", config, "--steps", "0:21").stdout.splitlines()
    assert found == {row["step"]: sorted(row["ids"]) for row in map(json.loads, rows)}
