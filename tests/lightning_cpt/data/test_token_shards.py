"""Training on pre-tokenised shards is training on their texts: the same batches, whatever is done to the ids at load."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.shards import PairShards
from data_prep.tokenize import tokenize
from lightning_cpt.data.batch import PairBatch
from lightning_cpt.data.loader import PairLoader
from lightning_cpt.data.mixture import Mixture
from lightning_cpt.data.plan import Plan, TrainingSet
from lightning_cpt.data.reader import ShareReader, TrainingReader
from lightning_cpt.data.token_shards import check_tokenizer
from lightning_cpt.errors import ConfigError
from lightning_cpt.find_tokenizer import serialised_tokenizer
from lightning_cpt.tokenization import PairTokenizer


@pytest.fixture(scope="module")
def token_folder(pair_folder: Path, tokenizer_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokens_of(pair_folder, tmp_path_factory.mktemp("ids") / "all", tokenizer_folder)


def tokens_of(source: Path, out: Path, tokenizer: str, max_tokens: int | None = None) -> Path:
    args = argparse.Namespace(
        folder=str(source), out=out, max_tokens=max_tokens, overwrite=False, prep_command="tokenize"
    )
    tokenize(args, serialised_tokenizer(tokenizer))
    return out


def batches(
    sources: list[PairShards], tokenizer: PairTokenizer, workers: int = 0, **options: Any
) -> list[PairBatch]:
    names = [f"source{number}" for number in range(len(sources))]
    mixing = options.pop("mixing", "single_source")
    mixture = Mixture(
        names, [one.count for one in sources], [None] * len(sources), 16, mixing=mixing, name="m"
    )
    plan = Plan(TrainingSet(dict(zip(names, sources, strict=True))), mixture, 0, 4)
    loader = PairLoader(TrainingReader(ShareReader(plan, workers=workers), tokenizer, **options), workers)
    found = list(islice(loader, 21))
    loader.close()
    return found


def same(one: PairBatch, other: PairBatch) -> bool:
    tensors = [
        (a, b)
        for x, y in zip(one.parts(), other.parts(), strict=True)
        for a, b in ((x.ids, y.ids), (x.lengths, y.lengths))
    ]
    tensors += [(getattr(one, name), getattr(other, name)) for name in ("rows", "hashes", "negative_hashes")]
    return one.ids == other.ids and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in tensors)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_length_x": 7, "max_length_y": 9},
        {"drop_repeats": True},
        {"drop_repeats": True, "max_length_x": 5},
        {"delimiters": {"x": ["<y>", "<x>"], "y": ["</y>", "</x>"]}},
    ],
)
@pytest.mark.parametrize("loading", [{}, {"token_dropout": 0.4, "hard_negatives": 1, "workers": 2}])
def test_the_batches_are_those_of_the_texts(
    changes: dict[str, Any],
    loading: dict[str, Any],
    pair_folder: Path,
    token_folder: Path,
    tokenizer_folder: str,
) -> None:
    tokenizer = PairTokenizer(tokenizer_folder, **changes)
    texts, ids = (PairShards.open(folder / "train") for folder in (pair_folder, token_folder))
    found = [batches([one], tokenizer, **loading) for one in (texts, ids)]
    assert len(found[0]) == 21
    assert all(same(one, other) for one, other in zip(*found, strict=True))
    if loading:
        assert all(batch.negatives is not None for batch in found[1])


@pytest.mark.parametrize("mixing", ["single_source", "mixed"])
def test_both_kinds_stand_in_one_mixture(
    mixing: str, pair_folder: Path, token_folder: Path, tokenizer_folder: str
) -> None:
    tokenizer = PairTokenizer(tokenizer_folder, max_length_x=12, max_length_y=12)
    text, other = (PairShards.open(pair_folder / split) for split in ("train", "validation"))
    ids = PairShards.open(token_folder / "train")
    mixed = batches([ids, other], tokenizer, mixing=mixing, hard_negatives=1)
    plain = batches([text, other], tokenizer, mixing=mixing, hard_negatives=1)
    assert all(same(one, two) for one, two in zip(mixed, plain, strict=True))
    assert {name for batch in mixed for name in batch.sources} == {"source0", "source1"}


def test_another_tokenizer_is_refused(
    token_folder: Path, bracket_tokenizer_folder: str, tokenizer_folder: str
) -> None:
    ids = PairShards.open(token_folder / "train")
    check_tokenizer("toy", ids, PairTokenizer(tokenizer_folder, max_length_x=99))
    with pytest.raises(
        ConfigError, match=r"^[^\n]*train: its token ids are of tokenizer \w{12}, but [^\n]*cpt prep tokenize"
    ):
        batches([ids], PairTokenizer(bracket_tokenizer_folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length_x": 12, "max_length_y": 12}, ""),
        ({"max_length_x": 12, "max_length_y": 13}, r"cut at 10 tokens .* max_length_y: 13 needs 11"),
        ({"max_length_x": 9, "max_length_y": 9, "drop_repeats": True}, r"drop_repeats looks at whole texts"),
    ],
)
def test_ids_that_were_cut_too_short_are_refused(
    changes: dict[str, Any], message: str, pair_folder: Path, tokenizer_folder: str, tmp_path: Path
) -> None:
    ids = PairShards.open(tokens_of(pair_folder / "train", tmp_path / "ids", tokenizer_folder, 10))
    tokenizer = PairTokenizer(tokenizer_folder, **changes)
    if message:
        with pytest.raises(ConfigError, match=message):
            check_tokenizer("toy", ids, tokenizer)
        return
    found = [batches([one], tokenizer) for one in (PairShards.open(pair_folder / "train"), ids)]
    assert all(same(one, other) for one, other in zip(*found, strict=True))


def test_a_cap_that_cut_nothing_is_no_cap(pair_folder: Path, tokenizer_folder: str, tmp_path: Path) -> None:
    ids = PairShards.open(tokens_of(pair_folder / "train", tmp_path / "ids", tokenizer_folder, 1000))
    check_tokenizer("toy", ids, PairTokenizer(tokenizer_folder, max_length_x=5000, drop_repeats=True))
    assert ids.cut == 0


def test_lengths_in_tokens_weigh_exactly(
    pair_folder: Path, token_folder: Path, tokenizer_folder: str
) -> None:
    ids = PairShards.open(token_folder / "train")
    tokenizer = PairTokenizer(tokenizer_folder, max_length_x=20, max_length_y=30)
    plan = Plan(TrainingSet({"toy": ids}), Mixture(["toy"], [ids.count], [None], 16), 0, 4)
    (batch,) = batches([ids], tokenizer)[:1]
    weights = plan.data.weigh(plan.places(0), [20, 30])
    assert weights.tolist() == (batch.x.lengths + batch.y.lengths).tolist()
