"""nDCG, MRR, recall and average precision from where the judged documents stand, each the expectation over ties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval_suite.errors import EvalError

TIES = "expected"  # every order of documents with equal scores is as likely
_PAIRS_AT_ONCE = 8192
_QUERIES_AT_ONCE = 512
_TABLE = 1 << 20


@dataclass(frozen=True)
class Judgements:
    """Who is relevant to whom, each pair once. query, row: int64 (pairs,); gain: (pairs,), relevant where above 0.

    queries: how many there are, those without a pair included. row: of the document in the corpus or run,
    -1 for a judged document that is not there: it cannot be found, and still counts in recall and ideal gain.
    """

    query: np.ndarray
    row: np.ndarray
    gain: np.ndarray
    queries: int


@dataclass(frozen=True)
class Places:
    """Where each judged document stands. above: int64 (pairs,), documents that score more; level: int64 (pairs,),
    those that score the same, itself included; level 0 for a document that was not retrieved."""

    judged: Judgements
    above: np.ndarray
    level: np.ndarray


def places_in_run(
    scores: np.ndarray, rows: np.ndarray, judged: Judgements, order: np.ndarray | None = None
) -> Places:
    """The places in a run that need not be sorted.

    scores, rows: (queries, k), row -1 for an empty place. order: (queries, k), decides between equal scores,
    the lowest first; without it equal scores stay level. With the order of the documents' ids falling this is
    the rule of trec_eval.
    """
    above, level = np.zeros(len(judged.row), np.int64), np.zeros(len(judged.row), np.int64)
    for start in range(
        0, len(rows), _QUERIES_AT_ONCE
    ):  # so that what is sorted stays in the processor's cache
        part = slice(start, start + _QUERIES_AT_ONCE)
        pairs = np.flatnonzero((judged.query >= start) & (judged.query < start + _QUERIES_AT_ONCE))
        some = Judgements(judged.query[pairs] - start, judged.row[pairs], judged.gain[pairs], len(rows[part]))
        of_part = None if order is None else order[part]
        above[pairs], level[pairs] = _places(
            np.where(rows[part] < 0, -np.inf, scores[part]), rows[part], some, of_part
        )
    return Places(judged, above, level)


def places_of_scores(scores: np.ndarray, beyond: np.ndarray, own: np.ndarray, judged: Judgements) -> Places:
    """The places when the score of every judged document is known, retrieved or not.

    scores: float32 (queries, k), falling; beyond: (queries,), documents outside that tie with the last one;
    own: float32 (pairs,), -inf where the document is not in the corpus. A document under the bound counts as
    not retrieved, so no metric may look deeper than k.
    """
    above, level = _above_and_level(scores[:, ::-1], judged.query, own)
    level += np.where(own == scores[judged.query, -1], beyond[judged.query], 0)
    return Places(judged, above, np.where(np.isfinite(own), level, 0))


def ndcg(places: Places, k: int) -> np.ndarray:
    """Normalised discounted cumulative gain at k, (queries,) in 0..1: the gain itself over log2(rank + 1), as trec_eval.

    0 for a query without a relevant document. Over ties: McSherry and Najork 2008.
    """
    judged = places.judged
    cumulative = np.concatenate([[0.0], np.cumsum(_discounts(k))])  # (k + 1,)
    top, bottom = _cut(places, k)
    expected = (cumulative[bottom] - cumulative[top]) / np.maximum(places.level, 1)
    gain = np.maximum(judged.gain, 0).astype(np.float64)
    reached = np.bincount(judged.query, gain * expected, judged.queries)
    return _share(reached, _ideal(judged, gain, k))


def recall(places: Places, k: int) -> np.ndarray:
    """Share of the relevant documents within the first k, (queries,) in 0..1; 0 for a query without any."""
    judged, relevant = places.judged, places.judged.gain > 0
    top, bottom = _cut(places, k)
    inside = relevant * (bottom - top) / np.maximum(places.level, 1)
    found = np.bincount(judged.query, inside, judged.queries)
    return _share(found, np.bincount(judged.query, relevant, judged.queries))


def reciprocal_rank(places: Places, k: int) -> np.ndarray:
    """1 / rank of the first relevant document where it is within k, else 0: (queries,)."""
    query, above, level, relevant, _ = _groups(places)
    first = np.unique(query, return_index=True)[1]  # the groups stand by query, then by place
    query, above, level, relevant = query[first], above[first], level[first], relevant[first]
    value = np.where(above < k, 1 / (above + 1), 0.0)  # right for groups of one
    tied = np.flatnonzero((level > 1) & (above < k))
    above, level, relevant = above[tied], level[tied], relevant[tied]
    value[tied], none_yet = 0.0, np.ones(len(tied))
    for j in range(
        1, min(k, level.max(initial=0)) + 1
    ):  # the first relevant one of the group is its j-th document
        left = level - j + 1
        chance = none_yet * np.minimum(1.0, relevant / np.maximum(left, 1)) * (left > 0)
        value[tied] += np.where(above + j <= k, chance / (above + j), 0.0)
        none_yet -= chance
    found = np.zeros(places.judged.queries)
    found[query] = value
    return found


def average_precision(places: Places, k: int) -> np.ndarray:
    """Mean over the relevant documents of the precision at their ranks, 0 beyond k: (queries,), trec_eval's map_cut."""
    judged = places.judged
    query, above, level, relevant, before = _groups(places)
    value = np.where(above < k, (before + 1) / (above + 1), 0.0)  # right for groups of one
    for i in np.flatnonzero((level > 1) & (above < k)):
        j = np.arange(min(level[i], k - above[i]))  # documents of the group in front of this one
        among = 1 + before[i] + j * (relevant[i] - 1) / (level[i] - 1)
        value[i] = relevant[i] / level[i] * (among / (above[i] + j + 1)).sum()
    summed = np.bincount(query, value, judged.queries)
    return _share(summed, np.bincount(judged.query, judged.gain > 0, judged.queries))


def tie_rate(scores: np.ndarray, k: int) -> float:
    """Share of the queries, 0..1, with two equal scores among their first k and the next: scores falling, (queries, >= 1)."""
    top = scores[:, : k + 1]
    equal = (top[:, 1:] == top[:, :-1]) & np.isfinite(top[:, 1:])
    return float(equal.any(1).mean())


def _places(
    scores: np.ndarray, rows: np.ndarray, judged: Judgements, order: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """above and level of some queries' pairs, see `Places`."""
    found, column = _columns(rows, judged)
    above, level = _above_and_level(np.sort(scores, axis=1), judged.query, scores[judged.query, column])
    if order is not None:
        above += _ahead(scores, order, judged.query, column, np.flatnonzero(level > 1))
        level = np.ones_like(level)
    return above, np.where(found, level, 0)


def _columns(rows: np.ndarray, judged: Judgements) -> tuple[np.ndarray, np.ndarray]:
    """Whether each judged document is in its query's run, and in which column (0 where not): (pairs,) each.

    A table of bits throws out nearly all places of the run at once; the few that are left are looked up.
    """
    found, column = np.zeros(len(judged.row), bool), np.zeros(len(judged.row), np.int64)
    there = np.flatnonzero(judged.row >= 0)
    if not len(there):
        return found, column
    span = int(judged.row.max()) + 1
    key = judged.query[there] * span + judged.row[there]
    by_key = np.argsort(key)
    key, there = key[by_key], there[by_key]
    table = np.zeros(_TABLE, bool)
    table[key & (_TABLE - 1)] = True
    run = rows + np.arange(len(rows))[:, None] * span  # (queries, k)
    query, at = np.nonzero(table[run & (_TABLE - 1)] & (rows >= 0) & (rows < span))
    place = np.minimum(np.searchsorted(key, run[query, at]), len(key) - 1)
    right = key[place] == run[query, at]
    found[there[place[right]]], column[there[place[right]]] = True, at[right]
    return found, column


def _above_and_level(rising: np.ndarray, query: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many scores of the query's are more than `own`, and how many equal it. rising: (queries, k)."""
    k = rising.shape[1]
    left = _bisect(rising, query, own)
    right = left + ((left < k) & (rising[query, np.minimum(left, k - 1)] == own))
    more = np.flatnonzero((right > left) & (right < k) & (rising[query, np.minimum(right, k - 1)] == own))
    right[more] = _bisect(rising, query[more], own[more], after=True)
    return k - right, right - left


def _bisect(rising: np.ndarray, query: np.ndarray, value: np.ndarray, *, after: bool = False) -> np.ndarray:
    """Where in its query's row each value belongs, in front of its equals or after them: (pairs,)."""
    k = rising.shape[1]
    flat, base = np.ascontiguousarray(rising).ravel(), query * k - 1
    place, step = np.zeros(len(query), np.int64), 1 << (k.bit_length() - 1)
    while step:
        there = flat.take(base + np.minimum(place + step, k))  # the last of those that would be passed
        passed = (there <= value) if after else (there < value)
        passed &= place + step <= k
        place += step * passed
        step >>= 1
    return place


def _ahead(
    scores: np.ndarray, order: np.ndarray, query: np.ndarray, column: np.ndarray, tied: np.ndarray
) -> np.ndarray:
    """How many documents of the same score the order puts in front, (pairs,); asked for the pairs `tied`."""
    ahead = np.zeros(len(query), np.int64)
    for start in range(0, len(tied), _PAIRS_AT_ONCE):
        pairs = tied[start : start + _PAIRS_AT_ONCE]
        q, c = query[pairs], column[pairs]
        same = scores[q] == scores[q, c][:, None]  # (some pairs, k)
        ahead[pairs] = (same & (order[q] < order[q, c][:, None])).sum(1)
    return ahead


def _groups(places: Places) -> tuple[np.ndarray, ...]:
    """Retrieved relevant documents by groups of equal score: query, above, level, relevant ones inside and before."""
    kept = (places.judged.gain > 0) & (places.level > 0)
    key = np.stack([places.judged.query[kept], places.above[kept]])  # (2, relevant)
    by_place = np.lexsort((key[1], key[0]))
    key = key[:, by_place]
    new = np.ones(key.shape[1], bool)
    new[1:] = (key[:, 1:] != key[:, :-1]).any(0)
    start = np.flatnonzero(new)
    relevant = np.diff([*start, key.shape[1]])
    query, above = key[0, start], key[1, start]
    done = np.cumsum(relevant) - relevant
    of_query = np.searchsorted(query, query)  # the first group of the same query
    before = done - done[of_query]
    return query, above, places.level[kept][by_place][start], relevant, before


def _cut(places: Places, k: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last place of each group within k, both counted from the top of the list: (pairs,) each."""
    return np.minimum(places.above, k), np.minimum(places.above + places.level, k)


def _ideal(judged: Judgements, gain: np.ndarray, k: int) -> np.ndarray:
    """The discounted gain of the best order, (queries,)."""
    order = np.lexsort((-gain, judged.query))
    query = judged.query[order]
    rank = np.arange(len(order)) - np.searchsorted(query, query)  # from 0, within the query
    inside = rank < k
    weighted = gain[order][inside] * _discounts(k)[rank[inside]]
    return np.bincount(query[inside], weighted, judged.queries)


def _discounts(k: int) -> np.ndarray:
    if k < 1:
        raise EvalError(f"a cut of {k}: must be 1 or more")
    return 1 / np.log2(np.arange(2, k + 2))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
