"""Pre-tokenised shards: the ids of the same texts, in the same order, checked, repaired and shown as texts are."""

from __future__ import annotations

import argparse
import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from data_prep.errors import CorruptChunk, DataError
from data_prep.pairs import Pair
from data_prep.shards import (
    PairShards,
    open_splits,
    quarantine_chunks,
    rebuild_index,
    verify_shards,
    write_shards,
    write_splits,
)
from data_prep.shards.tokens import TokenChunk, TokenHead
from data_prep.shards.write import Tokens, write_chunks
from data_prep.token_ids import text_ids, text_tokenizer, tokenizer_hash
from data_prep.tokenize import _chunks, dtype_of, tokenize
from data_prep.tokenizer import train_tokenizer

Prep = Callable[..., int]


@pytest.fixture(scope="module")
def serialised() -> str:
    texts = ["the query number", "def f():\n    return"] * 9
    found: str = train_tokenizer(texts, vocab_size=280, identifiers=False).to_str()
    return found


@pytest.fixture
def run(serialised: str) -> Callable[..., Path]:
    """``run(source, out, max_tokens=5)`` as the command does it; returns ``out``."""

    def tokenize_to(source: Path, out: Path, **options: Any) -> Path:
        given = {"max_tokens": None, "overwrite": False, "prep_command": "tokenize", **options}
        assert tokenize(argparse.Namespace(folder=str(source), out=out, **given), serialised) == 0
        return out

    return tokenize_to


def test_every_record_is_there_with_its_ids(
    shards: Path, tmp_path: Path, run: Callable[..., Path], serialised: str
) -> None:
    texts, ids = PairShards.open(shards), PairShards.open(run(shards, tmp_path / "ids"))
    fast = text_tokenizer(serialised)
    assert (ids.kind, ids.unit, ids.source) == ("tokens", "tokens", "unit")
    assert ids.tokens == TokenHead(tokenizer_hash(serialised), "<u2", None, texts.fingerprint)
    for text, record in zip(texts, ids, strict=True):
        assert [record[name] for name in ("id", "source", "meta")] == [
            text[name] for name in ("id", "source", "meta")
        ]
        sides = [text["x"], text["y"], *text["negatives"]]
        found = [record["x"], record["y"], *record["negatives"]]
        assert [one.tolist() for one in found] == text_ids(fast, sides)
        assert {one.dtype for one in found} == {np.dtype("<u2")}
        assert record["negative_hashes"] == [
            xxhash.xxh64_intdigest(one.encode()) for one in text["negatives"]
        ]
    np.testing.assert_array_equal(ids.hashes, texts.hashes)
    np.testing.assert_array_equal(ids.chunk_counts, texts.chunk_counts)
    assert ids.lengths.tolist() == [[len(record["x"]), len(record["y"])] for record in ids]
    assert verify_shards(ids.folder) == []


def test_special_tokens_that_a_text_spells_out_stay_text(serialised: str) -> None:
    fast = text_tokenizer(serialised)
    (found,) = text_ids(fast, ["a</y>"])
    assert fast.token_to_id("</y>") not in found


def test_the_hash_is_of_the_vocabulary_not_of_its_wrapping(serialised: str) -> None:
    fast = text_tokenizer(serialised)
    fast.enable_truncation(9)
    fast.enable_padding()
    assert tokenizer_hash(fast.to_str()) == tokenizer_hash(serialised)
    fast.add_tokens(["more"])
    assert tokenizer_hash(fast.to_str()) != tokenizer_hash(serialised)


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path, shards: Path, serialised: str) -> None:
    fast = text_tokenizer(serialised)
    fast.add_tokens([f"token{number}" for number in range((1 << 16) - 280)])
    assert dtype_of(fast) == "<u2"
    fast.add_tokens(["query number"])
    assert dtype_of(fast) == "<u4"
    args = argparse.Namespace(
        folder=str(shards), out=tmp_path / "ids", max_tokens=None, overwrite=False, prep_command="tokenize"
    )
    tokenize(args, fast.to_str())
    record = next(iter(PairShards.open(tmp_path / "ids")))
    assert record["x"].dtype == np.dtype("<u4")
    assert record["x"].max() == 1 << 16
    assert verify_shards(tmp_path / "ids") == []


def test_a_cap_cuts_and_counts(shards: Path, tmp_path: Path, run: Callable[..., Path]) -> None:
    whole, cut = (PairShards.open(run(shards, tmp_path / str(most), max_tokens=most)) for most in (None, 20))
    texts = [[record["x"], record["y"], *record["negatives"]] for record in whole]
    assert cut.cut == sum(len(one) > 20 for texts_ in texts for one in texts_) > 50
    assert cut.lengths.max() == 20
    np.testing.assert_array_equal(cut.lengths, whole.lengths.clip(max=20))
    assert (whole.cut, cut.tokens.max_tokens if cut.tokens else 0) == (0, 20)


def test_the_order_goes_by_the_texts_behind_the_ids(
    shards: Path, tmp_path: Path, run: Callable[..., Path]
) -> None:
    texts, ids = PairShards.open(shards), PairShards.open(run(shards, tmp_path / "ids"))
    assert ids.fingerprint != texts.fingerprint == ids.origin == texts.origin
    quarantine_chunks(ids.folder, "unit-00000.tar", [1])
    assert PairShards.open(ids.folder).origin not in (texts.origin, ids.fingerprint)


def test_what_is_in_quarantine_is_not_tokenised(
    shards: Path, tmp_path: Path, run: Callable[..., Path]
) -> None:
    quarantine_chunks(shards, "unit-00001.tar", [0])
    texts, ids = PairShards.open(shards), PairShards.open(run(shards, tmp_path / "ids"))
    assert ids.count == texts.count == 180
    assert [record["id"] for record in ids] == [record["id"] for record in texts]
    assert ids.origin == texts.fingerprint


@pytest.mark.parametrize("lost", [["*.idx"], ["manifest.json"], ["*.idx", "manifest.json"]])
def test_a_lost_index_is_made_again_to_the_byte(
    lost: list[str], shards: Path, tmp_path: Path, run: Callable[..., Path]
) -> None:
    folder = run(shards, tmp_path / "ids", max_tokens=20)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for pattern in lost:
        for path in folder.glob(pattern):
            path.unlink()
    rebuild_index(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_damage_is_found_and_can_be_left_out(shards: Path, tmp_path: Path, run: Callable[..., Path]) -> None:
    folder = run(shards, tmp_path / "ids")
    tar = sorted(folder.glob("*.tar"))[0]
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    assert any("chunk 0" in line and "cpt prep quarantine" in line for line in verify_shards(folder))
    opened = PairShards.open(folder)
    with pytest.raises(CorruptChunk, match="its bytes are not those that were written"):
        opened.read_chunk(0)
    quarantine_chunks(folder, tar.name, [0])
    assert PairShards.open(folder).count == opened.count - int(opened.chunk_counts[0])
    assert verify_shards(folder) == []


def test_a_tar_of_other_ids_is_found(shards: Path, tmp_path: Path, serialised: str) -> None:
    texts, fast = PairShards.open(shards), text_tokenizer(serialised)
    for name, most in (("one", None), ("other", 3)):
        head = TokenHead(tokenizer_hash(serialised), "<u2", most, texts.origin)
        chunks = _chunks(texts, fast, head, lambda count: None)
        tokens = Tokens(head, serialised)
        write_chunks(tmp_path / name, chunks, source="unit", tokens=tokens, shard_bytes=1)
    one = tmp_path / "one"
    (one / "manifest.json").unlink()
    shutil.copy(tmp_path / "other" / "unit-00001.tar", one)
    with pytest.raises(DataError, match=r"unit-00001\.tar: chunk 0: is not of the folder's other chunks"):
        rebuild_index(one)


def test_a_chunk_whose_columns_do_not_fit_is_no_chunk() -> None:
    pair = Pair("1", "ab", "c", negatives=["d"])
    head = TokenHead("0" * 32, "<u2", None, "0" * 16)
    chunk = TokenChunk.of([pair], [[1, 2], [3], [4]], head)
    import msgpack

    good = msgpack.unpackb(chunk.to_bytes())
    assert [record["y"].tolist() for record in TokenChunk.from_object(good).records()] == [[3]]
    for name, value in [
        ("tokens", good["tokens"][2:]),
        ("lengths", good["lengths"] + bytes(4)),
        ("negatives", (2).to_bytes(4, "little")),
        ("id", []),
        ("dtype", "<f8"),
        ("hashes", good["hashes"][8:]),
        ("format", "other"),
    ]:
        with pytest.raises(ValueError, match=r"\w"):
            TokenChunk.from_object({**good, name: value})


def test_splits_stay_splits_and_the_account_goes_on(
    make_pairs: Callable[..., list[Pair]], tmp_path: Path, run: Callable[..., Path], prep: Prep, capsys: Any
) -> None:
    for split, count in (("train", 60), ("test", 12)):
        write_shards(tmp_path / "in" / split, make_pairs(count, split), source="unit")
    out = run(tmp_path / "in", tmp_path / "out")
    printed = capsys.readouterr().out
    assert f"{out / 'train'}: 60 pairs" in printed
    assert "of the texts'" in printed
    assert {name: one.count for name, one in open_splits(out).items()} == {"train": 60, "test": 12}
    (step,) = json.loads((out / "history.json").read_text())["steps"]
    assert (step["command"], step["kept"]["train pairs"]) == ("cpt prep tokenize", 60)
    assert step["inputs"]["train"] == PairShards.open(tmp_path / "in" / "train").fingerprint
    assert prep("verify", out) == 0


def test_head_decodes_and_stats_tell(
    shards: Path, tmp_path: Path, run: Callable[..., Path], prep: Prep, capsys: Any, serialised: str
) -> None:
    folder = run(shards, tmp_path / "ids", max_tokens=200)
    capsys.readouterr()
    assert prep("head", folder, "-n", 1) == 0
    assert "[y] (14 tokens) def f0():\n    return '0'" in capsys.readouterr().out
    assert prep("stats", folder) == 0
    out = capsys.readouterr().out
    assert f"token ids of u2, tokenizer {tokenizer_hash(serialised)}; 0 texts cut at 200 tokens" in out
    assert "length in tokens" in out
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"tokenizer\.json: missing, or not the tokenizer of these ids"):
        prep("head", folder)
    assert any("tokenizer.json" in line for line in verify_shards(folder))


@pytest.mark.parametrize("command", ["clean", "card", "tokenizer"])
def test_what_needs_texts_says_so(
    command: str, tmp_path: Path, make_pairs: Callable[..., list[Pair]], run: Callable[..., Path], prep: Prep
) -> None:
    write_shards(tmp_path / "in" / "train", make_pairs(60), source="unit")
    folder = run(tmp_path / "in", tmp_path / "ids")
    more = {"clean": ["--out", tmp_path / "out"], "tokenizer": ["--vocab-size", 300], "card": []}[command]
    with pytest.raises(DataError, match="holds token ids, no texts"):
        prep(command, folder, *more)
    with pytest.raises(DataError, match="holds token ids, no texts"):
        run(folder, tmp_path / "twice")


def test_folders_that_must_not_be_written_to(shards: Path, tmp_path: Path, run: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="is the folder that is read"):
        run(shards, shards)
    folder = run(shards, tmp_path / "ids")
    with pytest.raises(DataError, match="holds finished shards"):
        run(shards, folder)
    before = PairShards.open(folder).fingerprint
    assert PairShards.open(run(shards, folder, overwrite=True)).fingerprint == before
    with pytest.raises(DataError, match="--max-tokens 0: 1 or more"):
        run(shards, tmp_path / "other", max_tokens=0)


def test_shards_of_texts_in_the_place_of_ids_leave_no_tokenizer(
    shards: Path, tmp_path: Path, run: Callable[..., Path], make_pairs: Callable[..., list[Pair]]
) -> None:
    folder = run(shards, tmp_path / "ids")
    assert (folder / "tokenizer.json").exists()
    write_shards(folder, make_pairs(20), source="unit", overwrite=True)
    assert not (folder / "tokenizer.json").exists()
    assert PairShards.open(folder).tokens is None


def test_a_run_that_fails_leaves_nothing(shards: Path, tmp_path: Path, run: Callable[..., Path]) -> None:
    tar = sorted(shards.glob("*.tar"))[-1]
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    with pytest.raises(CorruptChunk, match="cpt prep quarantine"):
        run(shards, tmp_path / "ids")
    assert not (tmp_path / "ids" / "manifest.json").exists()
    assert not list(tmp_path.joinpath("ids").glob("*.tar"))


def test_ids_behind_an_address(
    shards: Path, tmp_path: Path, run: Callable[..., Path], serve: Callable[[Path], Any]
) -> None:
    folder = run(shards, tmp_path / "ids")
    far = PairShards.open(f"{serve(tmp_path).url}/ids")
    assert far.tokenizer() == PairShards.open(folder).tokenizer()
    assert [one["x"].tolist() for one in far] == [one["x"].tolist() for one in PairShards.open(folder)]


def test_ids_of_a_former_corpus_do_not_stay_beside_new_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = [Pair(str(i), f"x {i}", f"y {i}") for i in range(9)]
    write_splits(tmp_path / "a", {"train": some[:6], "validation": some[6:]}, source="a")
    write_splits(tmp_path / "b", {"train": some[6:]}, source="b")
    serialised = train_tokenizer(["x y"], vocab_size=261, identifiers=False).to_str()
    for name in "ab":
        folder, out = str(tmp_path / name), tmp_path / "out"
        args = Namespace(
            folder=folder, out=out, tokenizer="t", max_tokens=None, overwrite=True, prep_command="tokenize"
        )
        tokenize(args, serialised)
    assert not (tmp_path / "out/validation").exists()
