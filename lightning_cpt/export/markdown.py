"""Foreign text in a model card: it cannot break a table or a fence, bring HTML, or carry a password to the public."""

from __future__ import annotations

import html
import re
from typing import Any

import yaml

HIDDEN = "(left out)"
_SECRET = re.compile(
    r"(^|[_-])((auth|access|api|hub|hf|session|bearer)[_-]?)?token$|secret|passw(or)?d|passphrase|credential"
    r"|(api|access|private|account|auth)[_-]?key$",
    re.IGNORECASE,
)
_TOKENS = re.compile(r"(pad|bos|eos|unk|sep|cls|mask|start|end|special)[_-]token$", re.IGNORECASE)
_USER = re.compile(r"(\w+://)[^/\s@]+@")
_SIGNED = re.compile(r"([?&][\w-]*(?:signature|sig|token|key|password|secret)=)[^&\s]+", re.IGNORECASE)
_MARKUP = re.compile(r"([\\`*\[\]])")


def plain(text: str) -> str:
    """Text that shows as itself, on one line."""
    return html.escape(_MARKUP.sub(r"\\\1", " ".join(text.split())), quote=False)


def cell(markdown: str) -> str:
    """Markdown inside a table's cell: a bar, even in a code span, would begin the next one."""
    return markdown.replace("|", r"\|")


def fenced(text: str, language: str) -> str:
    """A block of code whose fence is longer than any within."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def without_credentials(address: str) -> str:
    """An address without user, password and signature."""
    return _SIGNED.sub(rf"\1{HIDDEN}", _USER.sub(r"\1", address))


def without_secrets(recipe: str) -> str:
    """A recipe without the values of keys such as ``api_key``, ``token`` or ``password``, and addresses without theirs.

    A recipe that holds none comes back as it is, to the letter.
    """
    config = yaml.safe_load(recipe)
    cleaned = _cleaned(config)
    return recipe if cleaned == config else yaml.safe_dump(cleaned, sort_keys=False, allow_unicode=True)


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: HIDDEN if _is_secret(key, inner) else _cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    return without_credentials(value) if isinstance(value, str) else value


def _is_secret(key: Any, value: Any) -> bool:
    named = isinstance(key, str) and _SECRET.search(key) is not None and _TOKENS.search(key) is None
    if not named or value is None or isinstance(value, bool) or value in ("", [], {}):
        return False
    # A number is a password of digits, but `max_token: 128` is a number of tokens.
    return not (isinstance(value, int | float) and key.lower().endswith("token"))
