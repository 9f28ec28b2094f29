"""What explains a score: collapsed vectors, tied scores, cut texts, swapped sides; figures, and the warnings they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from eval_suite.metrics import reciprocal_ranks
from eval_suite.stats import paired_bootstrap
from eval_suite.vectors import checked, unit_rows

_ROWS = 1_000  # enough for a rank of some hundreds, and a fraction of a second
_TEXTS = 20_000
_SWAP_PAIRS = 200
COLLAPSED_COSINE = 0.99
COLLAPSED_RANK = 0.02  # of the most that the rank could be
MANY_TIES = 0.05
MANY_TRUNCATED = 0.05


class Spread(NamedTuple):
    """How much room the vectors take.

    effective_rank: 1 for a constant encoder, at most `most`. most: min(rows, d).
    mean_cosine: of two different rows; 1 for a constant encoder.
    """

    effective_rank: float
    most: int
    mean_cosine: float


def spread(vectors: np.ndarray) -> Spread:
    """Effective rank (Roy & Vetterli 2007) and mean cosine of the rows' unit vectors.

    vectors: (n, d), n >= 1; of more than 1,000 rows every so manyth is taken. The rank is exp of the
    entropy of the singular values, scaled to sum 1; the rows are not centred, so noise around one
    point counts as one direction. Rows of zeros stay zeros; if all are, the rank is 1 and the cosine 1.
    """
    unit = unit_rows(sample(vectors, _ROWS))  # (n, d)
    n, most = len(unit), min(unit.shape)
    if not unit.any():
        return Spread(1.0, most, 1.0)
    gram = unit @ unit.T if n <= unit.shape[1] else unit.T @ unit  # (most, most)
    singular = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None))  # (most,)
    share = singular[singular > singular.max() * 1e-7]  # smaller ones are rounding
    share = share / share.sum()
    rank = float(np.exp(-(share * np.log(share)).sum()))
    pairs = n * (n - 1)
    cosine = float((np.square(unit.sum(0)).sum() - np.square(unit).sum()) / pairs) if pairs else 1.0
    return Spread(rank, most, cosine)


def tie_rate(scores: np.ndarray) -> float:
    """The share of scores that another score of the same row equals, 0..1: (n,), or (rows, n) and the mean of the rows."""
    rows = np.sort(np.atleast_2d(scores), axis=1)
    if rows.size == 0:
        return 0.0
    equal = rows[:, 1:] == rows[:, :-1]  # (rows, n - 1)
    edge = np.zeros((len(rows), 1), bool)
    return float((np.hstack([edge, equal]) | np.hstack([equal, edge])).mean())


def truncated_share(encoder: Any, texts: Sequence[str], side: str = "x") -> float | None:
    """The share of texts with more tokens than the encoder reads on that side, 0..1; None where the encoder cannot tell.

    An encoder that can has `token_count(texts) -> integers`, uncut and with the special ones, and
    `max_length`, the most it reads (None for no limit), or a mapping of sides to that. Of more than 20,000
    texts every so manyth is counted.
    """
    count, limit = getattr(encoder, "token_count", None), token_limit(encoder, side)
    if count is None or not texts:
        return None
    if limit is None:
        return 0.0 if hasattr(encoder, "max_length") else None
    return float((np.asarray(count(sample(list(texts), _TEXTS))) > limit).mean())


def token_limit(encoder: Any, side: str = "x") -> int | None:
    """The most tokens that the encoder reads on that side; None for no limit, or where it does not say."""
    limit = getattr(encoder, "max_length", None)
    return limit.get(side) if isinstance(limit, Mapping) else limit


class SideSwap(NamedTuple):
    """MRR (0..1) of a sample of queries among their own documents: as asked, and with x and y swapped."""

    right: float
    swapped: float
    swapped_is_better: bool


def side_swap(encoder: Any, queries: Sequence[str], documents: Sequence[str], seed: int = 0) -> SideSwap:
    """Encode up to 200 (query, its document) pairs both ways round and compare: better when swapped is a mistake.

    "Better" means that the 95 % interval of the paired difference (10,000 resamples) is above 0.
    queries[i] belongs to documents[i]; documents that are right for two queries should be given once.
    """
    asked, found = sample(list(queries), _SWAP_PAIRS), sample(list(documents), _SWAP_PAIRS)

    def vectors(texts: list[str], side: str) -> np.ndarray:
        return checked(encoder.name, encoder.encode(texts, side), texts)

    right = reciprocal_ranks(vectors(asked, "x"), vectors(found, "y"))
    swapped = reciprocal_ranks(vectors(asked, "y"), vectors(found, "x"))
    _, low, _ = paired_bootstrap(swapped, right, seed)
    return SideSwap(float(right.mean()), float(swapped.mean()), low > 0)


def collapse_warnings(found: Spread) -> list[str]:
    """One line for vectors that nearly coincide."""
    few = max(1.5, COLLAPSED_RANK * found.most)
    if found.mean_cosine <= COLLAPSED_COSINE and found.effective_rank >= few:
        return []
    return [
        f"collapsed vectors: effective rank {found.effective_rank:.1f} of {found.most}, "
        f"mean cosine of two texts {found.mean_cosine:.3f}; the score says little about the texts"
    ]


def tie_warnings(rate: float, what: str = "scores tie with another") -> list[str]:
    """One line for scores that often tie: then the rule for ties decides. what: the rate is a share of."""
    if rate <= MANY_TIES:
        return []
    return [f"{100 * rate:.1f} % of the {what}; the tie rule decides part of this score"]


def truncation_warnings(share: float | None, max_length: int | None) -> list[str]:
    """One line for many cut texts."""
    if share is None or share <= MANY_TRUNCATED:
        return []
    return [
        f"{100 * share:.1f} % of the texts are longer than the encoder's {max_length} tokens and were cut"
    ]


def swap_warnings(found: SideSwap) -> list[str]:
    """One line where the sides look swapped."""
    if not found.swapped_is_better:
        return []
    return [
        f"x and y look swapped: on a sample the MRR is {100 * found.swapped:.1f} with the sides swapped, "
        f"{100 * found.right:.1f} as asked"
    ]


def sample(rows: Any, most: int) -> Any:
    """At most `most` of the rows or texts, evenly spaced: the same ones every time."""
    if len(rows) <= most:
        return rows
    at = np.linspace(0, len(rows) - 1, most).astype(int)
    return rows[at] if isinstance(rows, np.ndarray) else [rows[i] for i in at]
