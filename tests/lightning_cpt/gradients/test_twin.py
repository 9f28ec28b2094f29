"""The twin: small, of the same kind, without dropout, and exact in float64 whatever its norms insist on."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from lightning_cpt.config import recipes
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.gradients.cases import Case
from lightning_cpt.gradients.measure import Job, Step, distances, gradients
from lightning_cpt.gradients.twin import WIDTH, fixed_seed, full_config, shrink, shrunken_encoders
from lightning_cpt.losses import InfoNCE

FURTHER = {"llama", "qwen3", "gpt2", "gpt_neox", "opt", "codegen", "bert", "roberta"}


def shipped() -> set[str]:
    configs = [yaml.safe_load(Path(path).read_text())["model"]["encoder"] for path in recipes().values()]
    return {encoder["config"]["model_type"] for encoder in configs if encoder.get("config")}


def twin(**keys: Any) -> TextEncoder:
    with fixed_seed(), shrunken_encoders():
        return TextEncoder(**keys)


@pytest.mark.parametrize("model_type", sorted(shipped() | FURTHER))
def test_every_model_type(model_type: str) -> None:
    """Tiny, and in float64 chunks that are computed again give the gradient of the undivided batch."""
    encoder = twin(backbone="no/such", config={"model_type": model_type, "vocab_size": 99999})
    assert encoder.dim == WIDTH
    assert sum(p.numel() for p in encoder.parameters()) < 60_000
    assert encoder.backbone.config.num_hidden_layers == 2  # type: ignore[union-attr]
    step = pickle.dumps(Step(encoder, InfoNCE()))
    chunks = Case("chunks", chunk_tokens=100, recompute=True, longest=16)
    whole, cut = (
        gradients(pickle.loads(step), Job(case, "float64", 8)) for case in (Case("", longest=16), chunks)
    )
    found = distances(cut, whole, 1e-14)
    assert 0 < found["encoder"].relative_error < 1e-13
    assert found["scale"].relative_error < 1e-13


@pytest.mark.parametrize(
    ("values", "key", "expected"),
    [
        ({"model_type": "llama", "num_key_value_heads": 8}, "num_key_value_heads", 1),
        ({"model_type": "llama"}, "num_key_value_heads", 4),
        ({"model_type": "gpt2", "num_attention_heads": 16}, "n_head", 4),
        ({"model_type": "gpt2", "resid_pdrop": 0.3}, "resid_pdrop", 0.0),
        ({"model_type": "opt", "hidden_size": 1024, "word_embed_proj_dim": 512}, "word_embed_proj_dim", 16),
        (
            {"model_type": "gpt_neox", "rope_parameters": {"rope_theta": 5.0}},
            "rope_parameters.rope_theta",
            5.0,
        ),
        ({"model_type": "gemma2"}, "layer_types", ["sliding_attention", "full_attention"]),
    ],
)
def test_what_is_kept_and_what_shrinks(values: dict[str, Any], key: str, expected: Any) -> None:
    tiny: Any = shrink(full_config(None, values))
    for part in key.split("."):
        tiny = tiny[part]
    assert tiny == expected


def test_a_local_folders_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 384}))
    assert full_config(str(tmp_path), {"hidden_act": "relu"})["hidden_size"] == 384
    assert full_config(str(tmp_path), {"hidden_act": "relu"})["hidden_act"] == "relu"


def test_a_backbone_of_the_hub_needs_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"^config.model_type: missing, and 'no/such' is not on this machine"
    ):
        full_config("no/such", {"hidden_size": 8})


def test_the_other_options_stay() -> None:
    encoder = twin(config={"model_type": "bert"}, attention="causal", drop_repeats=True, max_length_x=9)
    assert encoder.attention == "causal"
    assert encoder.tokenization.drop_repeats
    assert encoder.tokenization.max_length["x"] == 9
    assert not any(part.p for part in encoder.modules() if isinstance(part, nn.Dropout))


def test_the_class_is_itself_again_and_the_random_state_untouched() -> None:
    before, state = TextEncoder.__init__, torch.get_rng_state()
    first, second = (twin(config={"model_type": "gpt2"}) for _ in "ab")
    assert TextEncoder.__init__ is before
    assert torch.equal(torch.get_rng_state(), state)
    assert first.fingerprint == second.fingerprint
