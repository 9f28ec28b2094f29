"""The trained tokenizer: identifiers, delimiters' ids, and loading it with transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.errors import DataError
from data_prep.tokenizer import SPECIAL_TOKENS, save_tokenizer, train_tokenizer

TEXTS = ["read the csv file 2 and parse it", "def readCSVFile_2(path):\n    return parse(path)"] * 20


def pieces(text: str, *, identifiers: bool = True) -> list[str]:
    tokenizer = train_tokenizer(TEXTS, vocab_size=400, identifiers=identifiers)
    return [tokenizer.decode([i]) for i in tokenizer.encode(text).ids]


def test_special_tokens_are_first() -> None:
    tokenizer = train_tokenizer(TEXTS, vocab_size=300, identifiers=False)
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert SPECIAL_TOKENS == ("<pad>", "<x>", "</x>", "<y>", "</y>")
    assert tokenizer.get_vocab_size() == 300


def test_identifiers_are_taken_apart() -> None:
    words = ["read", "csv", "file", "2"]
    assert pieces("readCSVFile_2") == words
    assert pieces("Read CSV  file 2") == words
    assert pieces("read_csv_file2") == words
    assert pieces("READ_CSV_FILE_2") == words
    assert pieces("parse(path):") == ["parse", "(", "path", ")", ":"]


def test_without_identifiers_every_text_comes_back() -> None:
    tokenizer = train_tokenizer(TEXTS, vocab_size=300, identifiers=False)
    for text in (TEXTS[1], "  Größe\t漢字 🙂\n"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("identifiers", [True, False])
def test_transformers_loads_it(tmp_path: Path, identifiers: bool) -> None:
    from transformers import AutoTokenizer

    trained = train_tokenizer(TEXTS, vocab_size=350, identifiers=identifiers)
    save_tokenizer(trained, tmp_path / "tok")
    assert sorted(path.name for path in (tmp_path / "tok").iterdir()) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    loaded = AutoTokenizer.from_pretrained(tmp_path / "tok")
    assert loaded.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
    assert (loaded.pad_token_id, len(loaded)) == (0, trained.get_vocab_size())
    for text in TEXTS[:2]:
        assert loaded(text, add_special_tokens=False)["input_ids"] == trained.encode(text).ids
    # Text that spells a delimiter is text.
    assert not set(loaded("a <x> b </y> <pad>", add_special_tokens=False)["input_ids"]) & {0, 1, 2, 3, 4}


def test_equal_texts_give_equal_bytes() -> None:
    one, two = (train_tokenizer(TEXTS, vocab_size=350, identifiers=True).to_str() for _ in range(2))
    assert one == two


def test_a_vocabulary_too_small() -> None:
    with pytest.raises(DataError, match="--vocab-size 260: at least 261"):
        train_tokenizer(TEXTS, vocab_size=260, identifiers=True)
