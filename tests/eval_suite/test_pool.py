"""Code search on a pool, by vectors and by words."""

from __future__ import annotations

import numpy as np

from eval_suite.pool import code_search, lexical_search


def test_code_search_is_the_mean_of_its_reciprocal_ranks() -> None:
    codes = np.eye(4, dtype=np.float32)
    found = code_search(codes[[0, 1, 3, 2]], codes)
    # queries 2 and 3 tie their own code with the other wrong ones, behind the one they match
    assert found.reciprocal_ranks.tolist() == [1, 1, 1 / 4, 1 / 4]
    assert found.mrr == 0.625


def test_lexical_search_counts_ties_against_itself() -> None:
    found = lexical_search(["sort list", "nothing known"], ["def sort(list): ...", "def read_file(): ..."])
    assert found.reciprocal_ranks.tolist() == [1, 1 / 2]
