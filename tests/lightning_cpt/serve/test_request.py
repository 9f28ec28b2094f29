"""The body of a request: what is accepted, and how each fault is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lightning_cpt.serve.errors import ApiError
from lightning_cpt.serve.request import Limits, _dimensions, parse

LIMITS = Limits(items=3, tokens=100, dimensions=(4, 8))


def ask(**fields: Any) -> Any:
    return parse(json.dumps({"model": "m", "input": "a", **fields}).encode(), ["m"], 16, LIMITS)


@pytest.mark.parametrize(
    ("given", "texts", "rows"),
    [
        ("a", ["a"], None),
        (["a", "b"], ["a", "b"], None),
        ([1, 2, 3, 4, 5], None, [[1, 2, 3, 4, 5]]),
        ([[1, 2], [3]], None, [[1, 2], [3]]),
        ([[1], [2], [3]], None, [[1], [2], [3]]),
    ],
)
def test_the_forms_of_input(given: Any, texts: Any, rows: Any) -> None:
    asked = ask(input=given)
    assert (asked.texts, asked.rows) == (texts, rows)


def test_what_nobody_says_is_the_default() -> None:
    asked = ask()
    assert (asked.side, asked.dim, asked.base64, asked.truncate) == ("plain", 16, False, False)


def test_all_fields() -> None:
    asked = ask(dimensions=8, encoding_format="base64", input_type="document", truncate=True, user="u")
    assert (asked.side, asked.dim, asked.base64, asked.truncate) == ("document", 8, True, True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": None}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": [[1], "a"]}, "input"),
        ({"input": [[1], []]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": "\ud800"}, "input"),
        ({"input": ["a"] * 4}, "input"),
        ({"model": 7}, "model"),
        ({"dimensions": 5}, "dimensions"),
        ({"dimensions": 99999}, "dimensions"),
        ({"dimensions": True}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"encoding_format": ["float"]}, "encoding_format"),
        ({"input_type": "x"}, "input_type"),
        ({"truncate": 1}, "truncate"),
        ({"truncate": "yes"}, "truncate"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_fault_names_its_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        ask(**fields)
    assert caught.value.status == 400
    assert caught.value.param == param
    assert set(caught.value.body()["error"]) == {"message", "type", "param", "code"}


def test_another_model_is_not_found() -> None:
    with pytest.raises(ApiError, match="'other' is not served here; there is m") as caught:
        ask(model="other")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b"[" * 100_000, b'{"input": ' + b"9" * 9999]
)
def test_a_body_that_is_no_request(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse(body, ["m"], 16, LIMITS)
    assert caught.value.status == 400


def test_dimensions_above_the_models_own_are_none() -> None:
    assert _dimensions(64, Limits(dimensions=(64, 1024)).widths(384)) == 64
    with pytest.raises(ApiError, match="must be 64, 384"):
        _dimensions(1024, Limits(dimensions=(64, 1024)).widths(384))
