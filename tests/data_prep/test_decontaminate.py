"""Decontamination: planted texts are found by task, boilerplate and short texts do not count, clean pairs stay."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from data_prep.corpus import Corpus
from data_prep.decontaminate import Contamination, decontaminate, table
from data_prep.errors import DataError
from data_prep.evaluation import EvaluationTexts, NgramRules, normalised, word_count
from data_prep.pairs import Pair
from data_prep.report import Report
from data_prep.shards import stream_splits
from data_prep.spill import spill_folder

WORDS = [f"w{i}" for i in range(2000)]


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def searched(
    tmp_path: Path, pairs: list[Pair], texts: list[tuple[str, str]], rules: NgramRules | None = None
) -> tuple[set[str], Contamination, Report]:
    """Ids of the dropped pairs, the report by task and the account."""
    stream_splits(tmp_path / "in", {"train": pairs}, source="t")
    corpus, report = Corpus(tmp_path / "in"), Report()
    with spill_folder(tmp_path / "out") as spill:
        found = decontaminate(corpus, texts, rules or NgramRules(), report, spill)
    return {pair.id for pair in pairs} - {pair.id for pair in corpus.survivors("train")}, found, report


def test_planted_texts_are_all_found_by_task_and_clean_pairs_stay(tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = [(f"T{i % 3}", words(rng, rng.randrange(5, 40))) for i in range(60)]
    pairs = [Pair(f"p{i}", words(rng, 20), f"{words(rng, 60)}. {words(rng, 30)}") for i in range(600)]
    planted = rng.sample(range(600), 60)
    for number, (place, (_, one)) in enumerate(zip(planted, texts, strict=True)):
        pair = pairs[place]
        first, second = pair.y.split(". ")
        if number % 3 == 0:
            pair.x = f"{one.upper()}! {pair.x}"
        elif number % 3 == 1:
            pair.y = f"{first}. {one.replace(' ', ', ', 1)}. {second}"
        else:
            pair.negatives = [one]
    gone, found, report = searched(tmp_path, pairs, texts)
    assert gone == {pairs[place].id for place in planted}
    assert report.dropped == {"holds an evaluation text": 60}
    for task in ("T0", "T1", "T2"):
        assert (found.tasks[task].texts, found.tasks[task].found, found.tasks[task].dropped) == (20, 20, 20)
        assert found.tasks[task].ngrams
    assert "T1" in table(found.to_dict())


def test_boilerplate_does_not_count_and_is_reported(tmp_path: Path) -> None:
    rng = random.Random(1)
    licence, secret = words(rng, 30), words(rng, 30)
    pairs = [Pair(f"p{i}", words(rng, 20), f"{licence} {words(rng, 20)}") for i in range(8)]
    pairs.append(Pair("bad", words(rng, 20), secret))
    texts = [("A", licence), ("A", f"{licence} {secret}")]
    gone, found, _ = searched(tmp_path, pairs, texts, NgramRules(max_documents=5))
    assert gone == {"bad"}
    assert found.tasks["A"].too_common == 1
    assert found.ignored_count == 18
    ngram, count = found.ignored[0]
    assert ngram in licence
    assert (len(ngram.split()), count) == (13, 8)
    assert "boilerplate" in table(found.to_dict())


def test_an_ngram_of_many_tasks_does_not_count(tmp_path: Path) -> None:
    rng = random.Random(2)
    shared = words(rng, 15)
    pairs = [Pair("a", words(rng, 20), shared), Pair("b", words(rng, 20), words(rng, 30))]
    texts = [(f"T{i}", shared) for i in range(4)]
    assert searched(tmp_path, pairs, texts, NgramRules(max_tasks=4))[0] == {"a"}
    (tmp_path / "again").mkdir()
    assert searched(tmp_path / "again", pairs, texts, NgramRules(max_tasks=3))[0] == set()


def test_a_part_of_a_text_is_not_the_text(tmp_path: Path) -> None:
    rng = random.Random(3)
    long = words(rng, 100).split()
    pairs = [
        Pair("quote", "a b", " ".join(long[:15])),  # 3 of 88 n-grams
        Pair("enough", "a c", " ".join(long[40:60])),  # 8
    ]
    gone, found, _ = searched(tmp_path, pairs, [("T", " ".join(long))])
    assert gone == {"enough"}
    assert found.tasks["T"].touched == 2


def test_short_texts(tmp_path: Path) -> None:
    texts = [("T", "the end of the world"), ("T", "good film"), ("T", "A man is riding a horse")]
    pairs = [
        Pair("phrase", "one", "They went to the end of the world and came back."),
        Pair("film", "two", "Good film."),
        Pair("sentence", "three", "We see this: a man is riding a horse across the field"),
    ]
    gone, found, _ = searched(tmp_path, pairs, texts)
    assert gone == {"sentence"}
    assert found.tasks["T"].too_short == 1


def test_a_treebanks_tokens_are_recognised() -> None:
    assert normalised("It does n't matter , it 's late") == "it doesnt matter , its late"
    assert normalised("It doesn’t matter, it's late").replace(",", " ,") == normalised(
        "It does n't matter , it 's late"
    )


def test_equal_texts_count_once() -> None:
    index = EvaluationTexts(
        [
            ("A", "one two three four five six"),
            ("A", "One two three four five six"),
            ("B", "one two three four five six"),
        ],
        NgramRules(),
    )
    assert len(index.texts) == 2
    assert index.task_counts.tolist() == [2]


@pytest.mark.parametrize(
    "options", [{"ngram": 3}, {"max_documents": 0}, {"min_ratio": 0.0}, {"min_ratio": 1.5}]
)
def test_bad_rules(options: dict[str, float]) -> None:
    with pytest.raises(DataError, match=r"--(ngram|max-documents|min-ratio)"):
        NgramRules(**options)  # type: ignore[arg-type]


def test_no_texts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no evaluation texts long enough"):
        searched(tmp_path, [Pair("a", "x", "y")], [("T", "too short")])


@pytest.mark.parametrize("ngram", [5, 6, 7, 8, 13])
def test_a_text_amid_others_is_found_by_ngrams_of_any_size(tmp_path: Path, ngram: int) -> None:
    rng = random.Random(4)
    one = words(rng, 30)
    pairs = [Pair("in", "a", f"{words(rng, 20)} {one} {words(rng, 20)}"), Pair("out", "b", words(rng, 70))]
    gone, _, _ = searched(tmp_path, pairs, [("T", one)], NgramRules(ngram=ngram))
    assert gone == {"in"}


def test_words_are_counted_without_signs() -> None:
    assert word_count("... a rather bland affair .") == 4
    assert word_count("do n't , it 's") == 2
