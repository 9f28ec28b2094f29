"""`cpt prep run`: the same bytes as the commands one after another, whatever the workers, the tasks and the kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("datatrove")

from data_prep.pipeline import stages
from data_prep.pipeline.plan import WORK, load_plan
from data_prep.shards import open_splits
from lightning_cpt.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """40 documents, some of them twice, nearly twice, or holding an evaluation sentence, and the evaluation data."""
    rng = random.Random(0)
    words = [
        f"{rng.choice('bcdfglmnprst')}{''.join(rng.choices('aeioulmnrst', k=rng.randrange(2, 8)))}"
        for _ in range(900)
    ]

    def prose(count: int) -> str:
        return " ".join(f"{' '.join(rng.choices(words, k=11)).capitalize()}." for _ in range(count))

    trec = tmp_path / "eval" / "TREC"
    trec.mkdir(parents=True)
    questions = [" ".join(rng.choices(words, k=9)) + " ?" for _ in range(12)]
    for name in ("train_5500.label", "TREC_10.label"):
        (trec / name).write_text("".join(f"NUM:dist {question}\n" for question in questions))
    folder = tmp_path / "docs"
    folder.mkdir()
    texts = [prose(30) for _ in range(34)]
    texts += [texts[0], texts[1].replace("a", "a", 1) + " More.", f"{prose(5)} {questions[0]} {prose(9)}"]
    texts += [
        " ".join(word if i % 70 else "other" for i, word in enumerate(texts[2].split())),
        "The same few words come here again and again. " * 30,
        "Short.",
    ]
    for number, text in enumerate(texts):
        (folder / f"d{number:02}.txt").write_text(text)
    return tmp_path


def pipe(inputs: Path, name: str, **changes: Any) -> Path:
    said = {
        "out": str(inputs / name),
        "text": {"paths": [str(inputs / "docs")], "piece_chars": 300},
        "quality": {"min_words": 4},
        "near_duplicates": {"threshold": 0.7},
        "decontaminate": {"data": str(inputs / "eval")},
        **changes,
    }
    path = inputs / f"{name}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in said.items() if value is not None}))
    return path


def cpt(*words: object) -> int:
    return main(["prep", *map(str, words)])


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".tar", ".idx") or path.name == "manifest.json"
    }


def test_the_same_bytes_as_the_commands_one_after_another(
    inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cpt("text", inputs / "docs", "--out", inputs / "a", "--piece-chars", 300, "--processes", 1) == 0
    near = ("--text", "--min-words", 4, "--near-duplicate", 0.7)
    assert cpt("clean", inputs / "a", "--out", inputs / "b", *near) == 0
    assert cpt("decontaminate", inputs / "b", "--data", inputs / "eval", "--out", inputs / "c") == 0
    capsys.readouterr()
    for name, *words in (
        ("one", "--workers", 1),
        ("cut", "--tasks", 7, "--workers", 1),
        ("two", "--tasks", 7),
    ):
        assert cpt("run", pipe(inputs, name), *words) == 0
        assert shard_bytes(inputs / name) == shard_bytes(inputs / "c")
        assert not (inputs / name / WORK).exists()
    said = capsys.readouterr().out
    for reason in ("duplicate pair", "near-duplicate", "holds an evaluation text", "words repeated"):
        assert reason in said, said
    assert (inputs / "one" / "card.md").exists()
    step = json.loads((inputs / "one" / "history.json").read_bytes())["steps"][-1]
    assert step["options"]["text.piece_chars"] == 300
    assert step["contamination"]["tasks"]["TREC"]["found"] >= 1


def test_the_same_bytes_of_code_and_of_tables(inputs: Path) -> None:
    rows = inputs / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"x": f"query {i % 90}", "y": f"answer {i}"}) + "\n" for i in range(100))
    )
    source = inputs / "lib"
    for number in range(12):
        (source / f"p{number}").mkdir(parents=True)
        body = "".join(
            f"    value = value * {i} + {i if number in (3, 5, 7) else i * number}\n" for i in range(30)
        )
        code = (
            f'def f{number}(value):\n    """Do the thing number {number} to it."""\n{body}    return value\n'
        )
        (source / f"p{number}" / "m.py").write_text(code)
    held = ("--holdout", "p3", "--validation", "p4")
    assert cpt("pairs", rows, "--out", inputs / "rows-a") == 0
    assert cpt("code", source, "--out", inputs / "code-a", *held, "--processes", 1) == 0
    plain = {"quality": None, "decontaminate": None, "near_duplicates": {"threshold": 0}}
    tables = pipe(inputs, "rows-b", text=None, pairs={"paths": [str(rows)]}, **plain)
    split = {"holdout": ["p3"], "validation": ["p4"]}
    mined = pipe(inputs, "code-b", text=None, code={"paths": [str(source)]}, split=split, **plain)
    for name, path in (("rows", tables), ("code", mined)):
        assert cpt("run", path, "--workers", 1, "--tasks", 3) == 0
        assert shard_bytes(inputs / f"{name}-b") == shard_bytes(inputs / f"{name}-a")
    assert len(open_splits(inputs / "code-b")["train"]) < 10


def test_goes_on_where_it_stopped(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpt("run", pipe(inputs, "whole"), "--workers", 1, "--tasks", 5) == 0
    path, done = pipe(inputs, "stopped"), []

    def stops(name: str, after: int) -> None:
        real = stages._STAGES[name]

        def once(plan: Any, rank: int) -> None:
            done.append((name, rank))
            if len([one for one in done if one[0] == name]) > after:
                raise KeyboardInterrupt
            real(plan, rank)

        monkeypatch.setitem(stages._STAGES, name, once)

    for name, after in (
        ("mine", 2),
        ("exact", 0),
        ("sketch", 3),
        ("group", 1),
        ("near", 0),
        ("search", 2),
        ("write", 0),
    ):
        stops(name, after)
        assert cpt("run", path, "--workers", 1, "--tasks", 5) == 130
        assert not (inputs / "stopped" / "train").exists()
        monkeypatch.undo()
    assert done.count(("mine", 0)) == 1
    assert cpt("run", path, "--workers", 1, "--tasks", 5) == 0
    assert shard_bytes(inputs / "stopped") == shard_bytes(inputs / "whole")
    assert cpt("run", path) == 2  # finished
    done.clear()
    stops("exact", 0)
    words = ("--overwrite", "--workers", 1, "--tasks", 5)
    assert cpt("run", path, *words) == 130
    monkeypatch.undo()
    mined = len(list((inputs / "stopped" / WORK / "mine").iterdir()))
    stops("write", 9)
    assert cpt("run", path, *words) == 0  # goes on, as it was begun so
    assert mined == 5
    assert ("mine", 0) not in done
    assert shard_bytes(inputs / "stopped") == shard_bytes(inputs / "whole")


def test_what_a_jobs_last_task_leaves_is_finished_by_the_same_command(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from data_prep.pipeline import run

    path = pipe(inputs, "out")
    with monkeypatch.context() as patch:
        patch.setattr(run, "_finish", lambda folder: 0)  # SLURM's jobs do all but that
        assert cpt("run", path, "--workers", 1, "--tasks", 2) == 0
    assert (inputs / "out" / WORK).exists()
    other = pipe(inputs, "out", text={"paths": [str(inputs / "docs")], "piece_chars": 200})
    assert cpt("run", other, "--workers", 1, "--tasks", 2) == 2
    assert "holds a run of another pipeline" in capsys.readouterr().err
    path = pipe(inputs, "out")
    capsys.readouterr()
    assert cpt("run", path, "--workers", 1, "--tasks", 2) == 0
    assert "train pairs" in capsys.readouterr().out
    assert not (inputs / "out" / WORK).exists()


def test_shards_that_were_deleted_before_that_are_made_again(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data_prep.pipeline import run

    path = pipe(inputs, "out")
    with monkeypatch.context() as patch:
        patch.setattr(run, "_finish", lambda folder: 0)
        assert cpt("run", path, "--workers", 1, "--tasks", 2) == 0
    expected = shard_bytes(inputs / "out")
    shutil.rmtree(inputs / "out" / "train")
    assert cpt("run", path, "--overwrite", "--workers", 1, "--tasks", 2) == 0
    assert shard_bytes(inputs / "out") == expected


def test_a_machine_with_other_packages_does_none_of_the_tasks(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = stages.versions
    monkeypatch.setattr(stages, "versions", lambda kind: {**real(kind), "rensa": "0.0.1"})
    assert cpt("run", pipe(inputs, "out"), "--workers", 1, "--tasks", 2) == 2
    said = capsys.readouterr().err
    assert "rensa: 0.0.1 here, but the run was begun with" in said


def test_goes_on_behind_a_stage_that_is_complete_and_without_results_that_were_deleted(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    words = ("--workers", 2, "--tasks", 3)
    assert cpt("run", pipe(inputs, "whole"), *words) == 0
    path = pipe(inputs, "stopped")
    monkeypatch.setitem(stages._STAGES, "exact", stop)
    assert cpt("run", path, *words) == 130
    monkeypatch.undo()
    shutil.rmtree(inputs / "stopped" / WORK / "mine" / "00001")
    assert cpt("run", path, *words) == 0
    assert shard_bytes(inputs / "stopped") == shard_bytes(inputs / "whole")


def test_a_worker_that_is_killed_when_it_has_handed_in_its_last_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data_prep import engine

    def killed(executor: engine.LocalExecutor, todo: list[int], on_task: object) -> None:
        for rank in todo:
            executor.mark_rank_as_completed(rank)
        raise BrokenProcessPool

    monkeypatch.setattr(engine, "_in_processes", killed)
    engine.make_executor("local", "mine", print, 3, 2, tmp_path, {}).run()


def test_another_pipeline_or_changed_inputs_do_not_go_on(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(stages._STAGES, "exact", stop)
    path = pipe(inputs, "out")
    assert cpt("run", path, "--workers", 1, "--tasks", 2) == 130
    monkeypatch.undo()
    plan, _ = load_plan(inputs / "out" / WORK)
    (inputs / "docs" / "d03.txt").write_text("changed")
    assert cpt("run", path, "--workers", 1, "--tasks", 2) == 2
    assert "holds a run of another pipeline, of other inputs" in capsys.readouterr().err
    pairs = plan.result("mine", 1) / "pairs"
    pairs.write_bytes(pairs.read_bytes()[:-9])
    with pytest.raises(ValueError, match="cut or missing; delete the folder"):
        stages.exact(plan, 0)


def command(path: Path, *words: object) -> list[str]:
    return [sys.executable, "-m", "lightning_cpt.cli", "prep", "run", str(path), *map(str, words)]


def slow_pipe(inputs: Path, name: str) -> Path:
    """A pipeline whose mining takes a while."""
    rng = random.Random(4)
    text = " ".join(
        f"Sentence {i} tells of {rng.random()} and {rng.random()} things here." for i in range(6000)
    )
    for number in range(24):
        (inputs / "docs" / f"long{number}.txt").write_text(text.replace("things", f"things{number}"))
    return pipe(inputs, name, near_duplicates={"threshold": 0.9}, decontaminate=None)


@pytest.mark.slow
def test_kill_9_of_everything_and_of_a_worker(inputs: Path) -> None:
    words = ("--tasks", 12, "--workers", 2)
    whole, broken = (slow_pipe(inputs, name) for name in ("whole", "broken"))
    assert subprocess.run(command(whole, *words), cwd=ROOT, check=False).returncode == 0
    work = inputs / "broken" / WORK
    for moment in (2, 6, 11):  # tasks that are mined when all is killed
        run = subprocess.Popen(command(broken, *words), cwd=ROOT, start_new_session=True)
        wait(partial(is_there, work, moment, run))
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        assert not (inputs / "broken" / "train").exists()
    again = subprocess.run(command(broken, *words), cwd=ROOT, check=False)
    assert again.returncode == 0
    assert shard_bytes(inputs / "broken") == shard_bytes(inputs / "whole")

    third = slow_pipe(inputs, "third")
    last = subprocess.Popen(command(third, *words), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    work = inputs / "third" / WORK
    wait(partial(is_there, work, 2, last))
    os.kill(worker_of(last.pid), signal.SIGKILL)
    _, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    assert "a worker was killed" in err
    assert shard_bytes(inputs / "third") == shard_bytes(inputs / "whole")


def wait(done: Callable[[], bool]) -> None:
    for _ in range(6000):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError("waited for too long")


def is_there(work: Path, tasks: int, run: subprocess.Popen[Any]) -> bool:
    return len(list(work.glob("mine/0*"))) >= tasks or run.poll() is not None


def worker_of(parent: int) -> int:
    """A process two below ``parent`` (the fork server is between) that is at work."""
    table = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        table[int(path.parent.name)] = (int(fields[1]), int(fields[11]))
    below = [pid for pid, (above, _) in table.items() if above in table and table[above][0] == parent]
    return max(below, key=lambda pid: table[pid][1])


@pytest.mark.slow
def test_ray_with_a_worker_killed_on_the_way(inputs: Path) -> None:
    pytest.importorskip("ray")
    words = ("--tasks", 12)
    whole, there = (slow_pipe(inputs, name) for name in ("whole", "there"))
    assert subprocess.run(command(whole, *words, "--workers", 1), cwd=ROOT, check=False).returncode == 0
    run = subprocess.Popen(command(there, *words, "--workers", 3, "--executor", "ray"), cwd=ROOT)
    wait(partial(is_there, inputs / "there" / WORK, 3, run))
    victims = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if is_task(path)]
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    assert run.wait(timeout=600) == 0
    assert shard_bytes(inputs / "there") == shard_bytes(inputs / "whole")


def is_task(path: Path) -> bool:
    try:
        return path.read_bytes().startswith((b"ray::cpt-prep", b"ray::run_rank"))
    except OSError:
        return False


def test_slurm_job_files(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pipe(inputs, "out")
    assert cpt("run", path, "--executor", "slurm") == 2
    assert "the section slurm has to name a partition" in capsys.readouterr().err.replace(
        "pipeline's section", "section"
    )
    slurm = {
        "partition": "cpu",
        "time": "02:00:00",
        "memory_gb": 3,
        "environment": "source env/bin/activate",
        "sbatch": {"account": "lab"},
    }
    path = pipe(inputs, "out", slurm=slurm)
    assert cpt("run", path, "--executor", "slurm", "--tasks", 6, "--workers", 4) == 0
    work = inputs / "out" / WORK
    assert f"bash {work}/submit.sh" in capsys.readouterr().out
    script = (work / "tasks" / "mine" / "launch_script.slurm").read_text()
    for line in (
        "partition=cpu",
        "time=02:00:00",
        "mem-per-cpu=3G",
        "array=0-5%4",
        "account=lab",
        "cpus-per-task=1",
        "job-name=cpt-prep-mine",
    ):
        assert f"#SBATCH --{line}\n" in script
    assert "source env/bin/activate\n" in script
    assert f"launch_pickled_pipeline {work}/tasks/mine/executor.pik" in script
    assert "array=0-1%" in (work / "tasks" / "group" / "launch_script.slurm").read_text()
    submit = (work / "submit.sh").read_text()
    assert subprocess.run(["bash", "-n", work / "submit.sh"], check=False).returncode == 0
    names = [line.split('"')[1].split(":")[0] for line in submit.splitlines() if line.startswith("echo")]
    assert names == ["mine", "exact", "sketch", "group", "near", "search", "write"]
    assert submitted(work / "submit.sh", inputs) == [
        "",
        *(f"--dependency=afterok:{job}" for job in range(1, 7)),
    ]


def submitted(script: Path, folder: Path) -> list[str]:
    """What the script asks of an sbatch that only counts: the dependency of each job."""
    (folder / "bin").mkdir()
    (folder / "bin" / "sbatch").write_text(
        f'#!/bin/bash\necho "$@" >> {folder}/asked\nwc -l < {folder}/asked\n'
    )
    (folder / "bin" / "sbatch").chmod(0o755)
    path = f"{folder}/bin:{os.environ['PATH']}"
    subprocess.run(["bash", script], env={**os.environ, "PATH": path}, check=True)
    asked = (folder / "asked").read_text().splitlines()
    return [next((word for word in line.split() if word.startswith("--dependency")), "") for line in asked]


def test_a_slurm_job_does_its_task(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickled stages run as the jobs would run them, array place by array place."""
    path = pipe(inputs, "out", slurm={"partition": "cpu", "time": "1:00"})
    assert cpt("run", path, "--executor", "slurm", "--tasks", 2) == 0
    assert cpt("run", pipe(inputs, "local"), "--tasks", 2, "--workers", 1) == 0
    from datatrove.executor import slurm
    from datatrove.tools import launch_pickled_pipeline

    monkeypatch.setattr(slurm, "expand_slurm_nodelist", lambda nodes: [nodes])
    monkeypatch.setenv("SLURM_NODELIST", "n1")
    plan, _ = load_plan(inputs / "out" / WORK)
    for stage in plan.stages():
        for rank in range(stage.tasks):
            monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(rank))
            monkeypatch.setattr(
                sys, "argv", ["launch", str(plan.folder / "tasks" / stage.name / "executor.pik")]
            )
            launch_pickled_pipeline.main()
    assert shard_bytes(inputs / "out") == shard_bytes(inputs / "local")
