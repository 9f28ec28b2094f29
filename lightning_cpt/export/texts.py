"""The texts on which an export is compared: prose, code, many scripts, nothing, far too long, and the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from data_prep.errors import DataError
from data_prep.shards import open_splits
from data_prep.storage import is_address
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import SIDES, PairTokenizer, Side, is_unicode

_PAIRS = 24  # of the training run's own data
_LINES = 500  # of the user's file

BUILT_IN = [
    "",
    " ",
    "\n\t \n",
    "a",
    "?",
    "How do I sort a dictionary by its values?",
    "The harbour froze in January, and the boats that had not been drawn up in time stood in the ice until spring.",
    "Two hours later the same train came back, empty, its windows white with dust.",
    "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n    return total / len(values)\n",
    "SELECT name, COUNT(*) FROM orders WHERE year >= 2019 GROUP BY name ORDER BY 2 DESC;",
    "public static int gcd(int a, int b) { return b == 0 ? a : gcd(b, a % b); }",
    "for (let i = 0; i < n; i++) { sum += table[i] ?? 0; }",
    "parseHTTPResponse2JSON __init__ snake_case_name kebab-case-name CONSTANT_VALUE x1y2z3",
    "the the the the and and of of of a a a a a to to in in the the",
    "Größe, Straße, façade, naïve, Ångström, œuvre, ﬁligree, Ελλάδα, Москва, ירושלים, القاهرة, हिन्दी, ไทย",
    "東京は日本の首都です。北京是中华人民共和国的首都。서울은 대한민국의 수도이다.",
    "e\u0301 is not always é; zero\u200bwidth, soft\u00adhyphen, no\u00a0break, \ufeffmark, \u202eturned round\u202c",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈 and 𝒎𝒂𝒕𝒉 𝔩𝔢𝔱𝔱𝔢𝔯𝔰 beyond the first plane",
    "control \x00\x07\x1b[31m characters and a lone \r return",
    "<x> </x> <y> </y> [ ] { } [CLS] [SEP] [PAD] <s> </s> <pad> <|endoftext|> written as text",
    "https://example.org/a/very/long/path?with=some&query=strings#and-a-fragment",
    "3.14159 -2.7e-18 0xDEADBEEF 1,234,567 ½ ⅓ ² ∑ ∞ ≠ €",
]


@dataclass(frozen=True)
class Texts:
    """What is compared.

    Args:
        all: the texts.
        truncated: how many of them are longer than a side takes.
    """

    all: list[str]
    truncated: dict[Side, int]


def sample_texts(tokenization: PairTokenizer, folder: str | None, file: Path | None) -> Texts:
    """The built-in texts, two that are too long for both sides, pairs of the run's data, and lines of ``file``.

    Args:
        tokenization: the encoder's.
        folder: the recipe's data folder; passed over where it is not there.
        file: a text a line; the first 500 are taken.

    Raises:
        ConfigError: ``file`` is not there or not UTF-8.
    """
    texts = [*BUILT_IN, *_spelt_out(tokenization), *_pairs(folder), *(_lines(file) if file else [])]
    texts.append("\n".join(texts[::-1]))
    texts = [text for text in texts if is_unicode(text)]
    return Texts(texts, {side: _truncated(tokenization, texts, side) for side in SIDES})


def _spelt_out(tokenization: PairTokenizer) -> list[str]:
    """The vocabulary's own tokens, twice as many as a side takes: too long even where repeats are dropped."""
    from lightning_cpt.export.tokenizers import plain_tokenizer

    fast = plain_tokenizer(tokenization)
    wanted = 2 * max(tokenization.max_length.values())
    step = max(1, len(tokenization) // (2 * wanted))
    ids = list(range(0, len(tokenization), step))[: 2 * wanted]
    return [" ".join(fast.decode([i]) for i in part) for part in (ids, ids[::-1])]


def _pairs(folder: str | None) -> list[str]:
    if not folder or is_address(folder):
        return []
    try:
        splits = open_splits(Path(folder).expanduser())
        shards = next(reversed(splits.values()))
        records = [] if shards.tokens else list(islice(shards, _PAIRS))
    except DataError:  # the run's data may be long gone: the other texts serve
        return []
    return [text for record in records for text in (record["x"], record["y"])]


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"--texts {file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--texts {file}: not UTF-8 text; convert it first") from error
    return lines[:_LINES]


def _truncated(tokenization: PairTokenizer, texts: Sequence[str], side: Side) -> int:
    room = tokenization.max_length[side] - 2
    return sum(len(ids) > room for ids in tokenization.text_ids(texts))
