"""The model behind the server: what may share a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("litserve")
from eval_suite.adapters import SentenceTransformerEncoder
from lightning_cpt.serve.model import _SentenceTransformer
from lightning_cpt.serve.rounds import Part, encode_parts


def test_a_router_behind_the_pooling_keeps_the_sides_apart(tiny_transformer: Any) -> None:
    library = pytest.importorskip("sentence_transformers")
    dense = library.sentence_transformer.modules.Dense
    torch.manual_seed(0)
    routes = {side: [dense(32, 16)] for side in ("query", "document")}
    router = library.base.modules.Router(routes, default_route="query")
    model = library.SentenceTransformer(modules=[*tiny_transformer, router], device="cpu").eval()
    served = _SentenceTransformer(SentenceTransformerEncoder(model, "st:x"), "cpu")
    query, document = (
        Part(
            side,
            served.card.ids(["a cat runs"], side),
        )
        for side in ("query", "document")
    )
    (alone,) = encode_parts(served.encode, [document], served.sided)
    asked, both = encode_parts(served.encode, [query, document], served.sided)
    np.testing.assert_allclose(both, alone, atol=1e-6)
    assert np.abs(asked - both).max() > 0.01  # the routes differ, or this test says nothing
