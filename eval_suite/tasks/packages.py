"""A classification task on texts that the caller hands in, such as: which package does this docstring come from?"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from eval_suite import probe
from eval_suite.encoder import Encoder, encode_texts, symmetric_side
from eval_suite.results import Result
from eval_suite.rng import rng_kept
from eval_suite.run import texts_sha256
from eval_suite.tasks.linear_probe import Measured, record

FOLDS = 5
C = 32.0  # unit vectors are small numbers: a weaker penalty than SentEval's for features of any size


def classification_task(
    encoder: Encoder,
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    name: str = "packages",
    seed: int = probe.SEED,
    workers: int | None = None,
) -> Result:
    """Accuracy of logistic regression on the encoder's vectors, the mean of 5 stratified shuffled folds.

    texts, labels: n of each, at least five texts a label. The global random generators are left as they were.
    Raises EvalError for lists of different length or a label with fewer texts than folds.
    """
    sha256 = texts_sha256(texts, labels)
    _, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)  # (n,)
    with rng_kept():
        start = time.perf_counter()
        vectors = encode_texts(encoder, [text or "." for text in texts], symmetric_side(encoder))
        encoded = time.perf_counter()
        found = probe.stratified(probe.Labelled(vectors, codes), c=C, kfold=FOLDS, seed=seed, workers=workers)
    seconds = {"encode": round(encoded - start, 2), "probe": round(time.perf_counter() - encoded, 2)}
    measured = Measured(found, codes, vectors.shape[1], {"all": len(texts)}, seconds)
    return record(
        encoder, name, f"texts/stratified{FOLDS}/logreg/raw", measured, data_sha256=sha256, seed=seed
    )
