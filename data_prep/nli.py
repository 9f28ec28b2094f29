"""Triplets out of natural language inference: premise -> what follows from it, and what contradicts it as negatives."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.errors import DataError
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.triplets import by_name, clean_negatives, held_out_first

LABELS = ("entailment", "neutral", "contradiction")
NO_LABEL = "-"  # the annotators did not agree
_PARTS = ("s1", "s2", "labels")  # SentEval's parallel files


class Row(NamedTuple):
    """One judged pair of sentences; ``id`` is the data set's own, or None."""

    where: str
    number: int
    premise: str
    hypothesis: str
    label: str
    id: str | None


@dataclass(slots=True)
class _Premise:
    """All that was judged of one premise: hypothesis -> its pair's id, and the contradictions in order."""

    text: str
    file: str
    entailed: dict[str, str] = field(default_factory=dict)
    contradicted: list[str] = field(default_factory=list)


def read_nli(
    paths: list[Path],
    report: Report,
    *,
    keep_without_negatives: bool = False,
    holdout: Collection[str] = (),
    validation: Collection[str] = (),
    on_row: Callable[[], object] = lambda: None,
) -> list[Pair]:
    """The pairs premise -> entailed hypothesis, with all contradictions of the premise as negatives.

    The protocol of supervised SimCSE, which the paper's NLI stage follows as far as it says. The rows of a
    premise are brought together from all files; white space does not tell premises apart. A pair's
    ``document`` is its premise. ``report`` also counts the triplets, every (premise, entailment, contradiction)
    once: SentEval's SNLI has 3,253 in dev and 3,247 in test. The texts stay as they are, tokenised ones too.
    All premises are in memory: 0.5 GB for the 0.94 million rows of SNLI and MNLI together.

    Args:
        paths: SNLI's or MNLI's .jsonl files, SentEval's ``s1.NAME`` (with ``s2.NAME`` and ``labels.NAME`` beside
            it), or folders of either.
        report: gets the counts.
        keep_without_negatives: keep the pairs of premises that nothing contradicts.
        holdout: names of the files that are the test split (``snli_1.0_test.jsonl``, ``s1.test``).
        validation: likewise.
        on_row: called for each row.

    Raises:
        DataError: naming file and row, for the first that is none; no files, one that is not UTF-8.
    """
    files = by_name(find_nli(paths))
    premises: dict[str, _Premise] = {}
    for name in held_out_first(files, holdout, validation):
        for row in _rows(files[name]):
            _add(premises, row, name, report)
            on_row()
        report.kept["files read"] += 1
    return [pair for one in premises.values() for pair in _pairs(one, report, keep_without_negatives)]


def find_nli(paths: list[Path]) -> list[Path]:
    """The .jsonl files and the ``s1.NAME`` files that ``paths`` are or hold.

    Raises:
        DataError: a path that is not there, or holds neither.
    """
    found: dict[Path, None] = {}
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        files = [file for file in inside if file.is_file() and _is_nli(file)]
        if not files:
            what = "no .jsonl and no s1.NAME file" if path.exists() else "no such path"
            raise DataError(f"{path}: {what}; give SNLI's or MNLI's .jsonl, or SentEval's s1.NAME")
        found |= dict.fromkeys(files)
    return list(found)


def _is_nli(path: Path) -> bool:
    # Archives made on a Mac, SNLI's among them, hold ._ files beside the real ones.
    return (path.suffix == ".jsonl" or path.name.startswith("s1.")) and not path.name.startswith(".")


def _rows(path: Path) -> Iterator[Row]:
    reader = _jsonl if path.suffix == ".jsonl" else _parallel
    for row in reader(path):
        if row.label not in (*LABELS, NO_LABEL):
            raise DataError(f"{row.where}: label {row.label!r} is none of {', '.join(LABELS)}, {NO_LABEL}")
        yield row


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}: row {number}"
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON ({error})") from None
        texts = [_field(found, key, where) for key in ("sentence1", "sentence2", "gold_label")]
        own_id = found.get("pairID")
        yield Row(where, number, texts[0], texts[1], texts[2], str(own_id) if own_id else None)


def _field(row: Any, key: str, where: str) -> str:
    if not isinstance(row, dict) or not isinstance(row.get(key), str):
        raise DataError(f"{where}: no text under {key!r}; SNLI's form has sentence1, sentence2, gold_label")
    return str(row[key])


def _parallel(path: Path) -> Iterator[Row]:
    name = path.name.removeprefix("s1.")
    files = [path.with_name(f"{part}.{name}") for part in _PARTS]
    for number, (premise, hypothesis, label) in enumerate(zip_longest(*map(_lines, files)), 1):
        for file, text in zip(files, (premise, hypothesis, label), strict=True):
            if text is None:
                raise DataError(f"{file}: ends before row {number}; s1, s2, labels need as many lines each")
        yield Row(f"{path}: row {number}", number, premise, hypothesis, label, None)


def _lines(path: Path) -> Iterator[str]:
    # Only "\n" ends a line: the texts may hold other characters that Python counts as ends.
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            for line in file:
                yield line.strip()
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; convert it first") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _add(premises: dict[str, _Premise], row: Row, file: str, report: Report) -> None:
    """Enter one row; the wording that came first stands for a premise."""
    premise, hypothesis = row.premise.strip(), row.hypothesis.strip()
    if row.label == NO_LABEL:
        report.dropped["row without a gold label (-)"] += 1
        return
    if not premise or not hypothesis:
        report.dropped["row with an empty sentence"] += 1
        return
    one = premises.setdefault(" ".join(premise.split()), _Premise(premise, file))
    if row.label == "entailment":
        if hypothesis in one.entailed:
            report.dropped["repeated entailment"] += 1
        one.entailed.setdefault(hypothesis, f"{file}:{row.id or row.number}")
    elif row.label == "contradiction":
        one.contradicted.append(hypothesis)
    else:
        report.dropped["neutral row"] += 1


def _pairs(one: _Premise, report: Report, keep_without_negatives: bool) -> Iterator[Pair]:
    negatives = clean_negatives(one.contradicted, one.entailed, report)
    if not one.entailed and negatives:
        report.dropped["contradiction of a premise without entailment"] += len(negatives)
    if not negatives and not keep_without_negatives:
        report.dropped["entailment of a premise without contradiction"] += len(one.entailed)
        return
    for hypothesis, pair_id in one.entailed.items():
        report.kept["pairs"] += 1
        report.kept["triplets"] += len(negatives)
        # Checked here: JSON's escapes can smuggle in what is no text.
        record = {
            "x": one.text,
            "y": hypothesis,
            "negatives": list(negatives),
            "source": "nli",
            "id": pair_id,
        }
        meta = {"document": " ".join(one.text.split()), "file": one.file}
        yield Pair.from_dict({**record, "meta": meta}, f"pair {pair_id}")
