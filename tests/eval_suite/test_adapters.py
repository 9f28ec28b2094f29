"""Fingerprints and limits of sentence-transformers models, whose Routers say nothing of what lies in them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from eval_suite.adapters import SentenceTransformerEncoder
from eval_suite.diagnostics import token_limit


def routed(tiny: Any, *, pooling: str = "mean", document_tokens: int = 10) -> SentenceTransformerEncoder:
    """Both sides by the same weights, each behind a Transformer and a pooling of its own."""
    library = pytest.importorskip("sentence_transformers")
    modules = library.sentence_transformer.modules
    router = library.base.modules.Router
    routes = {}
    for route, most in (("query", 10), ("document", document_tokens)):
        transformer = deepcopy(tiny[0])
        transformer.max_seq_length = most
        routes[route] = [transformer, modules.Pooling(32, pooling_mode=pooling)]
    model = library.SentenceTransformer(modules=[router(routes, default_route="query")], device="cpu")
    return SentenceTransformerEncoder(model.eval(), "st:routed")


def test_the_fingerprint_sees_inside_a_router(tiny_transformer: Any) -> None:
    one, again = routed(tiny_transformer), routed(tiny_transformer)
    assert one.fingerprint == again.fingerprint
    assert one.fingerprint != routed(tiny_transformer, pooling="cls").fingerprint
    assert one.fingerprint != routed(tiny_transformer, document_tokens=5).fingerprint


def test_the_fingerprint_sees_the_shape(tiny_transformer: Any) -> None:
    other = deepcopy(tiny_transformer)
    next(module for module in other.modules() if hasattr(module, "config")).config.layer_norm_eps = 0.1
    found = [SentenceTransformerEncoder(model, "st").fingerprint for model in (tiny_transformer, other)]
    assert found[0] != found[1]


def test_each_route_has_its_own_limit(tiny_transformer: Any) -> None:
    encoder = routed(tiny_transformer, document_tokens=5)
    assert [token_limit(encoder, side) for side in ("x", "y", "plain")] == [10, 5, 10]
    assert token_limit(routed(tiny_transformer), "y") == 10
