"""Finding encoders by name, encoding each text once, and refusing vectors that are not right."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from eval_suite import encoder as module
from eval_suite.adapters import SentenceTransformerEncoder
from eval_suite.encoder import encode_texts, load_encoder, symmetric_side
from eval_suite.errors import EvalError


class Fixed:
    """Returns what it was made with."""

    name, fingerprint = "fixed", "0"

    def __init__(self, output: object) -> None:
        self.output = output

    def encode(self, texts: list[str], side: str) -> object:
        return self.output(texts) if callable(self.output) else self.output


def test_each_text_is_encoded_once_and_comes_back_in_its_place(hash_encoder) -> None:
    texts = ["b", "a long one", "b", "a long one", "c"]
    vectors = encode_texts(hash_encoder, texts, "x")
    assert sorted(hash_encoder.seen) == [("a long one", "x"), ("b", "x"), ("c", "x")]
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, np.concatenate([hash_encoder.encode([t], "x") for t in texts]))


def test_blocks_give_the_same_vectors(hash_encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text {'long ' * (i % 5)}{i}" for i in range(50)]
    whole = encode_texts(hash_encoder, texts, "y")
    monkeypatch.setattr(module, "_TEXTS_AT_ONCE", 7)
    assert np.array_equal(encode_texts(hash_encoder, texts, "y"), whole)


def test_float64_and_lists_become_float32() -> None:
    assert encode_texts(Fixed([[1.0, 2.0]]), ["a"], "x").dtype == np.float32


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (np.ones((3, 2)), r"2 texts gave shape \(3, 2\)"),
        (np.ones(2), r"gave shape \(2,\)"),
        (np.ones((2, 0)), r"gave shape \(2, 0\)"),
        (np.array([[1.0, 0.0], [np.nan, 0.0]]), "NaN or infinity for 1 of 2 texts, the first being 'b'"),
        (np.array([[np.inf], [1.0]]), "NaN or infinity"),
        (None, "gave shape"),
        ("no vectors", "no array of numbers"),
    ],
)
def test_wrong_vectors_are_refused(output: object, message: str) -> None:
    with pytest.raises(EvalError, match=f"encoder fixed: .*{message}"):
        encode_texts(Fixed(output), ["a", "b"], "x")


def test_a_changing_width_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TEXTS_AT_ONCE", 2)
    with pytest.raises(EvalError, match="2 columns, then 1"):
        encode_texts(Fixed(lambda texts: np.ones((len(texts), len(texts)))), ["a", "b", "c"], "x")


def test_nothing_to_encode() -> None:
    with pytest.raises(EvalError, match="empty"):
        encode_texts(Fixed(np.ones((0, 2))), [], "x")


def test_symmetric_tasks_use_side_x_unless_the_encoder_names_another(hash_encoder) -> None:
    assert symmetric_side(hash_encoder) == "x"
    hash_encoder.symmetric_side = "plain"
    assert symmetric_side(hash_encoder) == "plain"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bare-name", "write it as scheme:rest; schemes: .*py.*st"),
        ("st:", "write it as scheme:rest"),
        ("pz:a:b", "unknown scheme 'pz'; did you mean 'py'"),
        ("py:json", "write it as py:module:function"),
        ("py:no_such_module_at_all:f", "no module 'no_such_module_at_all'"),
        ("py:json:dump_it", "has no 'dump_it'; did you mean 'dump'"),
        ("py:json:__name__", "must be a function"),
    ],
)
def test_wrong_specs_are_named(spec: str, message: str) -> None:
    with pytest.raises(EvalError, match=message):
        load_encoder(spec)


def test_entry_points_add_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", "builtins:str.upper", "eval_suite.encoders")
    monkeypatch.setattr(module, "entry_points", lambda group: [point])
    assert load_encoder("mine:abc") == "ABC"


def test_a_loader_that_cannot_be_imported_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", "no_such_package_here:load", "eval_suite.encoders")
    monkeypatch.setattr(module, "entry_points", lambda group: [point])
    with pytest.raises(EvalError, match="'mine:abc': its loader cannot be imported"):
        load_encoder("mine:abc")


def write_module(folder: Path, name: str, source: str) -> None:
    (folder / f"{name}.py").write_text(source, encoding="utf-8")


def test_functions_of_one_and_of_two_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write_module(
        tmp_path,
        "two_encoders_for_a_test",
        "def one(texts): return [[len(t), 1] for t in texts]\n"
        "def two(texts, side): return [[len(t), side == 'y'] for t in texts]\n",
    )
    one, two = (load_encoder(f"py:two_encoders_for_a_test:{name}") for name in ("one", "two"))
    assert encode_texts(one, ["abc"], "y").tolist() == [[3, 1]]
    assert encode_texts(two, ["abc"], "y").tolist() == [[3, 1]]
    assert encode_texts(two, ["abc"], "x").tolist() == [[3, 0]]
    assert one.name == "py:two_encoders_for_a_test:one"
    assert one.fingerprint != two.fingerprint
    assert one.fingerprint == load_encoder("py:two_encoders_for_a_test:one").fingerprint


def test_what_a_module_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write_module(tmp_path, "needs_something_for_a_test", "import no_such_dependency\n")
    with pytest.raises(EvalError, match="needs 'no_such_dependency'"):
        load_encoder("py:needs_something_for_a_test:f")


class FakeModel(list):
    """What the adapter uses of a sentence-transformers model."""

    prompts, default_prompt_name, max_seq_length, truncate_dim = {"query": "q: "}, None, 8, None
    tokenizer = "tokenizer"

    def __init__(self, weight: float) -> None:
        import torch

        super().__init__([object()])
        self.weights = {"w": torch.tensor([weight], dtype=torch.bfloat16), "scalar": torch.tensor(2)}

    def state_dict(self):
        return self.weights

    def modules(self):
        return iter(())

    def parameters(self):
        return self.weights.values()

    def _answer(self, kind: float, texts: list[str]):
        import torch

        return torch.full((len(texts), 2), kind, dtype=torch.bfloat16)

    def encode(self, texts, **_):
        return self._answer(0.0, texts)

    def encode_query(self, texts, **_):
        return self._answer(1.0, texts)

    def encode_document(self, texts, **_):
        return self._answer(2.0, texts)


def test_sentence_transformers_sides() -> None:
    encoder = SentenceTransformerEncoder(FakeModel(1.0), "st:fake")
    for side, kind in [("plain", 0.0), ("x", 1.0), ("y", 2.0)]:
        assert encode_texts(encoder, ["a"], side).tolist() == [[kind, kind]]
    assert symmetric_side(encoder) == "plain"
    assert encoder.facts == {"parameters": 2, "max_length": 8}


def test_the_fingerprint_follows_the_weights_and_the_settings() -> None:
    def fingerprint(weight: float, **settings: object) -> str:
        model = FakeModel(weight)
        for name, value in settings.items():
            setattr(model, name, value)
        return SentenceTransformerEncoder(model, "st:fake").fingerprint

    assert fingerprint(1.0) == fingerprint(1.0)
    assert len({fingerprint(1.0), fingerprint(2.0), fingerprint(1.0, max_seq_length=9)}) == 3


@pytest.mark.slow  # the library alone takes seconds to import
def test_an_unknown_sentence_transformer_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(EvalError, match="no such folder"):
        load_encoder(f"st:{tmp_path / 'absent'}")
    with pytest.raises(EvalError, match="no folder with a model") as error:
        load_encoder(f"st:{tmp_path}")  # there, but empty
    assert "\n" not in str(error.value)


def test_a_module_that_does_not_parse_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "does_not_parse.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EvalError, match="'does_not_parse' cannot be imported: SyntaxError"):
        load_encoder("py:does_not_parse:f")
