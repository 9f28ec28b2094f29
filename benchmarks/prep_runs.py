"""What the benchmark of data preparation runs: single stages, whole commands in processes of their own, contamination."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prep_data import documents, write_code, write_texts
from data_prep.clean import SIDES, drop_equal, drop_near, sketch
from data_prep.code import mine
from data_prep.corpus import Corpus
from data_prep.decontaminate import decontaminate, search, settle
from data_prep.dedup import drop_duplicates_of
from data_prep.documents import find_documents
from data_prep.evaluation import EvaluationTexts, NgramRules, word_count
from data_prep.near import NearIndex, NearRules
from data_prep.pairs import Pair
from data_prep.pool import Pool, write_part
from data_prep.quality import QualityRules, quality_reason
from data_prep.report import Report
from data_prep.shards import open_splits, stream_splits
from data_prep.shuffle import by_hash
from data_prep.split import Splitter
from data_prep.text_files import mine_files
from eval_suite.texts import evaluation_texts
from lightning_cpt.errors import ConfigError


def stages(megabytes: int) -> dict[str, dict[str, float]]:
    """MB/s and pairs/s of each stage, per second of processor time of one core."""
    found: dict[str, dict[str, float]] = {}

    def timed(name: str, work: Callable[[], Any], size: Callable[[], tuple[int, int]]) -> Any:
        begin = time.process_time()
        made = work()
        seconds = time.process_time() - begin
        characters, pairs = size()
        found[name] = {"MB/s": characters / 1e6 / seconds, "pairs/s": pairs / seconds}
        return made

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_code(folder / "code", max(1, megabytes // 4))
        write_texts(folder / "text", megabytes)
        of_code: list[Pair] = []
        timed(
            "mine code",
            lambda: of_code.extend(mine([folder / "code"], languages=["python"], processes=1)),
            lambda: (_bytes(folder / "code"), len(of_code)),
        )
        pairs: list[Pair] = []
        files = find_documents([folder / "text"])
        timed(
            "mine text",
            lambda: pairs.extend(mine_files(files, Report())),
            lambda: (_bytes(folder / "text"), len(pairs)),
        )
        size = sum(len(pair.x) + len(pair.y) for pair in pairs), len(pairs)
        rules = QualityRules()
        timed(
            "quality",
            lambda: [quality_reason(text, rules) for pair in pairs for text in (pair.x, pair.y)],
            lambda: size,
        )
        timed("to disk, with hashes and splits", lambda: _part(folder / "part", pairs), lambda: size)
        pool = Pool([folder / "part"])
        timed("exact duplicates", lambda: drop_duplicates_of(pool, Report()), lambda: size)
        timed("near-duplicates", lambda: _near(pool, folder), lambda: size)
        texts = [
            ("made up", " ".join(text.split()[:20])) for text in documents(random.Random(3), 20_000, copied=0)
        ]
        evaluation = EvaluationTexts(texts, NgramRules())
        timed("decontaminate", lambda: _search(pool, evaluation, folder), lambda: size)
        timed(
            "shuffle and write shards",
            lambda: stream_splits(folder / "out", by_hash(pool, folder / "sorted"), source="bench"),
            lambda: size,
        )
    return found


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _part(folder: Path, pairs: list[Pair]) -> None:
    write_part(folder, pairs, Report(), split=Splitter(), group=lambda pair: pair.id)


def _near(pool: Pool, folder: Path) -> None:
    rules, keys = NearRules(), pool.keys()
    drop_equal(pool.alive, keys, Report())
    folders = sketch(pool.batches(), pool.alive, rules, folder / "near")
    indexes = [NearIndex([one], [0], pool.count, rules.threshold, keys.rank) for one in folders]
    assert len(indexes) == len(SIDES)
    drop_near(pool, [index.groups() for index in indexes], indexes, keys, rules, Report())


def _search(pool: Pool, evaluation: EvaluationTexts, folder: Path) -> None:
    search(pool.batches(), pool.alive, evaluation, folder / "found")
    settle(pool.alive, [folder / "found"], [0], evaluation, Report())


def workers(megabytes: int, count: int) -> float:
    """Seconds of the clock for a whole pipeline; the start of Python is in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_texts(folder / "text", megabytes)
        pipe = {"out": f"{folder}/out", "text": {"paths": [f"{folder}/text"]}, "quality": {}}
        (folder / "pipe.yaml").write_text(json.dumps(pipe))
        begin = time.perf_counter()
        _command("run", folder / "pipe.yaml", "--workers", count, "--tasks", 8)
        return time.perf_counter() - begin


def memory(megabytes: int) -> list[tuple[Any, ...]]:
    """Mining and cleaning made-up text of so many megabytes: the most that any of their processes had in memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_texts(folder / "text", megabytes)
        rows = []
        for verb, words in (
            ("text", (folder / "text", "--out", folder / "mined")),
            ("clean", (folder / "mined", "--out", folder / "clean", "--text")),
        ):
            begin = time.perf_counter()
            peak = _command(verb, *words)
            out = folder / ("mined" if verb == "text" else "clean")
            pairs = sum(shards.count for shards in open_splits(out).values())
            rows.append((f"cpt prep {verb}", megabytes, pairs, peak / 1000, time.perf_counter() - begin))
        return rows


def _command(verb: str, *words: object) -> int:
    """Run `cpt prep`; the largest peak of the command and its workers, in KB."""
    line = [sys.executable, "-m", "lightning_cpt.cli", "prep", verb, *map(str, words)]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise ConfigError(f"{' '.join(line[3:])}: {said.splitlines()[-1] if said else status}")
    return usage.ru_maxrss


def contamination(data: Path | None, corpus: Path | None, sentences: int, size: int) -> dict[str, Any]:
    """Plant evaluation sentences, one each, at random places of as many documents; count what is found and lost."""
    rng = random.Random(1)
    made_up = documents(rng, sentences + size, copied=0)
    every = (
        list(evaluation_texts(data))
        if data
        else [("made up", " ".join(text.split()[:20])) for text in made_up[:sentences]]
    )
    texts = [record["y"] for record in open_splits(corpus)["train"]] if corpus else made_up[sentences:]
    texts = texts[:size]
    long_enough = sorted({text for _, text in every if word_count(text) >= NgramRules().min_words})
    chosen, places = rng.sample(long_enough, sentences), rng.sample(range(len(texts)), sentences)
    pairs = [Pair(f"p{number}", f"document {number}", text) for number, text in enumerate(texts)]
    for sentence, place in zip(chosen, places, strict=True):
        before, dot, after = pairs[place].y.partition(". ")
        end = "" if sentence.rstrip().endswith(".") else "."
        pairs[place].y = f"{before}{dot or '. '}{sentence}{end} {after}"
    with tempfile.TemporaryDirectory() as folder:
        stream_splits(Path(folder, "in"), {"train": pairs}, source="bench")
        found = Corpus(Path(folder, "in"))
        begin = time.process_time()
        decontaminate(found, every, NgramRules(), Report(), Path(folder))
        seconds = time.process_time() - begin
    planted = np.zeros(len(texts), bool)
    planted[places] = True
    gone = ~found.alive
    return {
        "documents": len(texts),
        "planted": sentences,
        "found": int((gone & planted).sum()),
        "clean documents dropped": float((gone & ~planted).sum() / (~planted).sum()),
        "documents/s": len(texts) / seconds,
        "evaluation texts": len(every),
    }
