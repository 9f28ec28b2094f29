"""BEIR's folders: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, plain or gzipped; the paper's eleven sets by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from eval_suite.corpus import Document, SearchSet, document_text
from eval_suite.errors import EvalError
from eval_suite.files import corrupt, json_lines, lines, one_of
from eval_suite.tasks.search import SearchTask

# name -> (folder of BEIR's download, judged test queries, documents); Thakur et al. 2021 and mteb's own counts
_SETS = {
    "TREC-COVID": ("trec-covid", 50, 171_332),
    "NFCorpus": ("nfcorpus", 323, 3_633),
    "HotpotQA": ("hotpotqa", 7_405, 5_233_329),
    "FiQA": ("fiqa", 648, 57_638),
    "ArguAna": ("arguana", 1_406, 8_674),
    "Touche-2020": ("webis-touche2020", 49, 382_545),
    "Quora": ("quora", 10_000, 522_931),
    "Climate-FEVER": ("climate-fever", 1_535, 5_416_593),
    "DBPedia": ("dbpedia-entity", 400, 4_635_922),
    "SciFact": ("scifact", 300, 5_183),
    "FEVER": ("fever", 6_666, 5_416_568),
}
_OWN_IDS = ("ArguAna", "Quora")  # their queries stand in their corpora, under the same ids
PREFIX = "beir:"


def beir_files(folder: Path, split: str) -> list[Path]:
    """Raises EvalError for a file that is not there; a missing split names those that are."""
    return [one_of(folder, "corpus.jsonl"), one_of(folder, "queries.jsonl"), _qrels_file(folder, split)]


def read_beir(folder: Path, split: str, expected: dict[str, int] | None = None) -> SearchSet:
    """The set in a folder; the corpus is left on disk. Raises EvalError for rows that are not of BEIR's form."""
    corpus, queries, qrels = beir_files(folder, split)
    grades = read_qrels(qrels)
    texts = {str(row["_id"]): str(row["text"] or "") for row in json_lines(queries, ("_id", "text"))}
    ordered = {query: grades[query] for query in texts if query in grades}
    return SearchSet(partial(_documents, corpus), texts, ordered | grades, expected or {})


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """query id -> document id -> grade, from a file with BEIR's header and three columns, or trec_eval's four without one."""
    grades: dict[str, dict[str, int]] = {}
    for number, line in enumerate(lines(path), 1):
        columns = line.split("\t") if "\t" in line else line.split()
        if number == 1 and "query-id" in line:
            continue
        if not line.strip():
            continue
        try:
            query, document, grade = columns if len(columns) == 3 else (columns[0], *columns[2:])
            grades.setdefault(query, {})[document] = int(grade)
        except (ValueError, IndexError) as error:
            raise corrupt(path, f"line {number} is no 'query-id corpus-id score': {line[:60]!r}") from error
    if not grades:
        raise corrupt(path, "it judges no query")
    return grades


def find_folder(data: Path, *names: str, holds: tuple[str, ...] = ("corpus.jsonl",)) -> Path:
    """The folder of one of the names, case and punctuation aside: `data` itself, in it, or one level deeper.

    holds: it counts where one of these files is in it, plain or gzipped. A folder such as scifact_beir is taken too.
    Raises EvalError where there is none.
    """
    wanted = {_plain(name) for name in names}
    wanted |= {f"{name}beir" for name in wanted} | {f"beir{name}" for name in wanted}
    for folder in _folders(Path(data)):
        if _plain(folder.name) in wanted and any(
            os.path.isfile(folder / f"{file}{end}") for file in holds for end in ("", ".gz")
        ):
            return folder
    raise EvalError(
        f"data {data}: no folder {names[0]!r} with {' or '.join(holds)} in it or one level deeper; copy it there"
    )


def beir_task(name: str, folder: str, split: str = "test", **how: object) -> SearchTask:
    """The task of a BEIR folder of that name. how: fields of SearchTask beside it, and `expected`, the set's counts."""
    expected = how.pop("expected", None)
    return SearchTask(
        name,
        lambda data: beir_files(find_folder(data, folder, name), split),
        lambda data: read_beir(find_folder(data, folder, name), split, expected),  # type: ignore[arg-type]
        "beir",
        split=split,
        **how,  # type: ignore[arg-type]
    )


def folder_task(name: str) -> SearchTask:
    """`beir:FOLDER` or `beir:FOLDER:SPLIT`: any folder of that form. Raises EvalError for a name that is a path."""
    folder, _, split = name.removeprefix(PREFIX).partition(":")
    if not re.fullmatch(r"[\w.-]+", folder) or not re.fullmatch(r"[\w.-]*", split):
        raise EvalError(
            f"task {name!r}: write beir:FOLDER or beir:FOLDER:SPLIT, a folder's name under --data"
        )
    return beir_task("-".join(filter(None, ["beir", folder, split])), folder, split or "test")


def _documents(corpus: Path) -> Iterator[Document]:
    for row in json_lines(corpus, ("_id",)):
        yield str(row["_id"]), document_text(row.get("title"), row.get("text"))


def _qrels_file(folder: Path, split: str) -> Path:
    try:
        return one_of(folder / "qrels", f"{split}.tsv")
    except EvalError as error:
        there = sorted(path.name.partition(".tsv")[0] for path in (folder / "qrels").glob("*.tsv*"))
        have = f"the splits there are: {', '.join(there)}" if there else "there are no qrels at all"
        raise EvalError(f"data {folder}: no split {split!r} (qrels/{split}.tsv); {have}") from error


def _folders(data: Path) -> Iterator[Path]:
    """`data`, what is in it, and what is in that, by name."""
    level = [data] if data.is_dir() else []
    for _ in range(3):
        yield from level
        level = sorted(child for folder in level for child in _children(folder) if os.path.isdir(child))


def _children(folder: Path) -> list[Path]:
    """None of a folder that is another user's, such as lost+found."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


TASKS: dict[str, SearchTask] = {
    name: beir_task(
        name,
        folder,
        drop_own_ids=name in _OWN_IDS,
        expected={"queries": queries, "documents": documents},
    )
    for name, (folder, queries, documents) in _SETS.items()
}
