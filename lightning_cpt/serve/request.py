"""Reads the body of an embeddings request, and says in OpenAI's shape what is wrong with it. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from lightning_cpt.serve.errors import ApiError

FIELDS = ("input", "model", "dimensions", "encoding_format", "user", "input_type", "truncate")
_FORMATS = ("float", "base64")
_TYPES = ("query", "document")


@dataclass(frozen=True)
class Limits:
    """What a request may hold.

    Args:
        items: Texts.
        tokens: Of all texts together, as the model reads them.
        body: Bytes.
        dimensions: Widths below the model's own that it was trained for.
    """

    items: int = 2048
    tokens: int = 300_000
    body: int = 8 << 20
    dimensions: tuple[int, ...] = ()

    def widths(self, dim: int) -> list[int]:
        """The widths that a model of ``dim`` numbers serves, its own last."""
        return [*sorted({width for width in self.dimensions if width < dim}), dim]


@dataclass(frozen=True)
class Asked:
    """A sound request.

    Args:
        texts: To encode; or
        rows: token ids, one list a text.
        side: ``query``, ``document``, or ``plain`` where nobody says it.
        dim: Columns wanted.
        base64: Little-endian float32 in base64, else numbers.
        truncate: Cut long texts, as the client asks.
    """

    texts: list[str] | None
    rows: list[list[int]] | None
    side: str
    dim: int
    base64: bool
    truncate: bool


def parse(body: bytes, names: Collection[str], dim: int, limits: Limits) -> Asked:
    """The request in a body.

    Args:
        body: As it came.
        names: Those that the model answers to.
        dim: Its columns.
        limits: What is accepted.

    Raises:
        ApiError: whatever is wrong, in one sentence that names the field.
    """
    fields = _object(body)
    for name in fields:
        if name not in FIELDS:
            raise _bad(str(name)[:64], f"unknown field; there are {', '.join(FIELDS)}")
    _check_model(fields.get("model"), names)
    texts, rows = _input(fields, limits.items)
    return Asked(
        texts,
        rows,
        side=_choice(fields, "input_type", _TYPES) or "plain",
        dim=_dimensions(fields.get("dimensions"), limits.widths(dim)),
        base64=_choice(fields, "encoding_format", _FORMATS) == "base64",
        truncate=_flag(fields, "truncate"),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not JSON in UTF-8", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise ApiError(400, 'the body must be an object such as {"model": ..., "input": ...}')
    return fields


def _bad(param: str, message: str, code: str | None = None) -> ApiError:
    return ApiError(400, f"{param}: {message}", param=param, code=code)


def _check_model(model: Any, names: Collection[str]) -> None:
    if not isinstance(model, str):
        raise _bad("model", "must be a string")
    if model not in names:
        known = ", ".join(names)
        message = f"model {model[:100]!r} is not served here; there is {known}"
        raise ApiError(404, message, param="model", code="model_not_found")


def _input(fields: dict[str, Any], most: int) -> tuple[list[str] | None, list[list[int]] | None]:
    """Texts or rows of ids, of which there is at least one of each."""
    if "input" not in fields:
        raise _bad("input", "missing")
    given = fields["input"]
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list):
        raise _bad("input", "must be a string, a list of strings, token ids, or a list of lists of token ids")
    if not given:
        raise _bad("input", "must not be empty")
    if _is_row(given):
        given = [given]
    if len(given) > most:
        raise _bad("input", f"{len(given)} items, at most {most} in one request", "too_many_items")
    if all(isinstance(item, str) for item in given):
        _check_texts(given)
        return given, None
    for at, item in enumerate(given):
        if not (isinstance(item, list) and item and _is_row(item)):
            raise _bad(
                "input",
                f"item {at} is not like the first: all strings, or all lists of token ids, none empty",
            )
    return None, given


def _is_row(items: list[Any]) -> bool:
    return all(type(item) is int for item in items)  # a bool is an int too


def _check_texts(texts: list[str]) -> None:
    for at, text in enumerate(texts):
        if not text:
            raise _bad("input", f"item {at} is an empty string")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise _bad("input", f"item {at} holds half of a surrogate pair, which is no text") from None


def _choice(fields: dict[str, Any], name: str, values: tuple[str, ...]) -> str | None:
    value = fields.get(name)
    if value is not None and value not in values:
        raise _bad(name, f"must be {' or '.join(values)}")
    return value


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value not in (None, True, False) or type(value) is int:
        raise _bad(name, "must be true or false")
    return bool(value)


def _dimensions(value: Any, widths: list[int]) -> int:
    if value is None:
        return widths[-1]
    if type(value) is int and value in widths:
        return value
    known = ", ".join(map(str, widths))
    raise _bad("dimensions", f"must be {known}: this model was trained for no other")
