"""The paper's large-scale search: MS MARCO by judged passages, NQ and TriviaQA by the answer that a passage holds."""

from __future__ import annotations

import ast
import csv
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval_suite.answers import Answers
from eval_suite.corpus import Document, SearchSet, document_text
from eval_suite.encoder import Encoder
from eval_suite.errors import EvalError
from eval_suite.files import content_sha256, corrupt, lines, one_of
from eval_suite.results import Result
from eval_suite.search import Found
from eval_suite.task import Options, Task
from eval_suite.tasks.beir import beir_files, find_folder, read_beir, read_qrels
from eval_suite.tasks.search import SearchTask, find, search_result
from eval_suite.trec_files import stem, write_trec

_MARCO = {"queries": 6_980, "documents": 8_841_823}
_MARCO_TSV = ("collection.tsv", "queries.dev.small.tsv", "qrels.dev.small.tsv")
_PASSAGES = "psgs_w100.tsv"
_CUTS = (20, 100)


def _marco_files(data: Path) -> list[Path]:
    folder = find_folder(data, "msmarco", "msmarco-passage", holds=("corpus.jsonl", _MARCO_TSV[0]))
    try:
        return beir_files(folder, "dev")
    except EvalError:
        if any((folder / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz")):
            raise
        return [one_of(folder, name) for name in _MARCO_TSV]


def _read_marco(data: Path) -> SearchSet:
    """BEIR's form, or the collection's own three tab-separated files; the dev (small) queries either way."""
    collection, queries, qrels = _marco_files(data)
    if collection.name.startswith("corpus.jsonl"):
        return read_beir(collection.parent, "dev", _MARCO)
    texts = dict(_two_columns(queries))
    grades = read_qrels(qrels)
    ordered = {query: grades[query] for query in texts if query in grades}
    return SearchSet(partial(_two_columns, collection), texts, ordered | grades, _MARCO)


def _two_columns(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines(path), 1):
        key, tab, text = line.partition("\t")
        if not tab:
            raise corrupt(path, f"line {number} is no 'id<tab>text': {line[:60]!r}")
        yield key, text


class _Questions(NamedTuple):
    """One of DPR's question sets. names: of its file. size: how many."""

    names: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class AnswerTask:
    """Share of the questions with an answer in one of the first k passages: DPR's retrieval accuracy, "recall@k".

    data: DPR's passages psgs_w100.tsv, and its questions as tab-separated lines of a question and a Python list of
    answers. Equal scores stand in the order of the passages, as nobody judges all passages of a tie.
    """

    name: str
    questions: _Questions
    metric: str = "recall@20"
    family: str = "search"

    def protocol(self, options: Options) -> str:
        """The id of what is measured."""
        index = [] if options.index == "exact" else [f"faiss-{options.index}"]
        return "/".join(["dpr-answers", "test", self.metric, *index])

    def files(self, data: Path) -> list[Path]:
        """The passages and the questions; both may lie anywhere up to two folders deep."""
        return [_below(data, (_PASSAGES,)), _below(data, self.questions.names)]

    def sha256(self, data: Path) -> str:
        """One hash over names and contents."""
        return content_sha256(self.files(data))

    def examples(self, data: Path) -> list[tuple[str, ...]]:
        """Each question."""
        return [(question,) for question, _ in _read_questions(self.files(data)[1])]

    def run(self, encoder: Encoder, data: Path, options: Options) -> Result:
        """Raises EvalError for files that are missing or corrupt, and for vectors that do not fit."""
        passages, questions = self.files(data)
        sha256, asked = self.sha256(data), _read_questions(questions)
        expected = {"queries": self.questions.size, "documents": 21_015_324}
        queries = {str(i): question for i, (question, _) in enumerate(asked)}
        found_set = SearchSet(partial(_passages, passages), queries, {i: {} for i in queries}, expected)
        start = time.perf_counter()
        found = find(encoder, found_set, self.name, options)
        searched = time.perf_counter()
        if options.trec:  # the judgements are an empty file: an answer decides, nobody judged
            name = stem(self.name, encoder.fingerprint, self.protocol(options), sha256)
            write_trec(options.trec, name, found_set, found.scores, found.rows)
        first = first_answers(found, partial(_bodies, passages), [Answers(answers) for _, answers in asked])
        scores = {f"recall@{k}": (first < k).astype(float) for k in _CUTS}
        seconds = {"search": searched - start, "answers": time.perf_counter() - searched}
        return search_result(
            encoder,
            self,
            options,
            found_set,
            found,
            scores,
            sha256=sha256,
            settings={"ties": "corpus order", "match": "DPR string"},
            seconds={what: round(spent, 2) for what, spent in seconds.items()},
        )


def first_answers(found: Found, bodies: partial[Iterator[str]], answers: list[Answers]) -> np.ndarray:
    """The place, from 0, of the first of each question's 100 best passages that holds an answer; 100 for none: (queries,).

    bodies: begins the stream of the passages' texts anew. They are read once, in their order, and none is kept.
    """
    rows = found.rows[:, : max(_CUTS)]
    query, place = np.nonzero(rows >= 0)
    by_row = np.argsort(rows[query, place], kind="stable")
    hits = zip(
        rows[query, place][by_row].tolist(), query[by_row].tolist(), place[by_row].tolist(), strict=True
    )
    first = np.full(len(rows), max(_CUTS))
    waiting = next(hits, None)
    for row, text in enumerate(bodies()):
        while waiting and waiting[0] == row:
            _, at, rank = waiting
            if rank < first[at] and answers[at].are_in(text):
                first[at] = rank
            waiting = next(hits, None)
        if waiting is None:
            break
    return first


def _passages(path: Path) -> Iterator[Document]:
    for number, title, text in _cells(path):
        yield number, document_text(title, text)


def _bodies(path: Path) -> Iterator[str]:
    """DPR looks for answers in the text alone, not in the title."""
    for _, _, text in _cells(path):
        yield text


def _cells(path: Path) -> Iterator[tuple[str, str, str]]:
    """id, title, text of every passage: the file's columns are id, text, title, under a header."""
    for number, row in _table(path):
        if len(row) != 3:
            raise corrupt(path, f"row {number} has {len(row)} columns, not id, text and title")
        if row[0] != "id":
            yield row[0], row[2], row[1]


def _table(path: Path) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(sys.maxsize)
    number = 0
    try:
        for number, row in enumerate(csv.reader(lines(path), delimiter="\t"), 1):
            yield number, row
    except csv.Error as error:
        raise corrupt(path, f"after row {number}: {error}") from error


def _read_questions(path: Path) -> list[tuple[str, list[str]]]:
    asked = []
    for number, row in _table(path):
        try:
            question, answers = row[0], [str(answer) for answer in ast.literal_eval(row[1])]
        except (IndexError, ValueError, SyntaxError, TypeError) as error:
            raise corrupt(
                path, f"row {number} is no question and list of answers: {str(row)[:60]}"
            ) from error
        asked.append((question, answers))
    if not asked:
        raise corrupt(path, "it holds no question")
    return asked


def _below(data: Path, names: tuple[str, ...]) -> Path:
    """The first of the files, plain or gzipped, in `data` or up to two folders deeper."""
    for name in names:
        for pattern in (name, f"*/{name}", f"*/*/{name}"):
            for end in ("", ".gz"):
                if found := sorted(Path(data).glob(pattern + end)):
                    return found[0]
    raise EvalError(
        f"data {data}: no {names[0]} (nor .gz) in it or up to two folders deeper; copy it from DPR"
    )


TASKS: dict[str, Task] = {
    "MSMARCO": SearchTask("MSMARCO", _marco_files, _read_marco, "beir", "mrr@10", "dev"),
    "NQ": AnswerTask("NQ", _Questions(("nq-test.qa.csv", "nq-test.csv"), 3_610)),
    "TriviaQA": AnswerTask("TriviaQA", _Questions(("trivia-test.qa.csv", "trivia-test.csv"), 11_313)),
}
