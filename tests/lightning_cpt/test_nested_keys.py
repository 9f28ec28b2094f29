"""Keys inside a mapping of mappings, changed one at a time."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_cpt.nested_keys import changed


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("text.weight", "0.7", {"text": {"folder": "a", "weight": "0.7"}, "code": {"init_args": {"a": 1}}}),
        ("code.init_args.b", "2", {"text": {"folder": "a"}, "code": {"init_args": {"a": 1, "b": "2"}}}),
        ("code.init_args", "{b: 2}", {"text": {"folder": "a"}, "code": {"init_args": {"b": 2}}}),
        ("text", {"folder": "z"}, {"text": {"folder": "z"}, "code": {"init_args": {"a": 1}}}),
        ("text.folder.x", "1", {"text": {"folder": {"x": "1"}}, "code": {"init_args": {"a": 1}}}),
    ],
)
def test_only_the_named_key_changes(path: str, value: Any, expected: dict[str, Any]) -> None:
    before = {"text": {"folder": "a"}, "code": {"init_args": {"a": 1}}}
    assert changed(before, path.split("."), value) == expected
    assert before == {"text": {"folder": "a"}, "code": {"init_args": {"a": 1}}}


def test_nothing_before() -> None:
    assert changed(None, ["mine", "folder"], "a: [") == {"mine": {"folder": "a: ["}}
