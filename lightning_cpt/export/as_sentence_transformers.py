"""A sentence-transformers folder: a route for each side with a tokenizer of its own, and one backbone for both.

Prompts of sentence-transformers are prefixes; our sides differ in their end token too, so each side needs a tokenizer
of its own, and in sentence-transformers a tokenizer lives in a Transformer module. Two whole ones would double the
weights on disk and in memory. So each route begins with a Transformer that has the side's tokenizer and a model one
number wide without layers, whose output nobody reads; behind it both routes share one and the same backbone.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.export.as_transformers import makes_pooler
from lightning_cpt.export.tokenizers import as_transformers, side_tokenizer
from lightning_cpt.tokenization import SIDES, Side

NEEDS = ("sentence_transformers",)
ROUTES: dict[Side, str] = {"x": "query", "y": "document"}
# Where the small model's output goes: a key that no backbone is handed.
_NOWHERE = "offset_mapping"

# Else a model of BERT's kind gets a pooler with random weights, and says so each time it is loaded.
_NO_POOLER = {"add_pooling_layer": False}

_USAGE = """\
from sentence_transformers import SentenceTransformer

folder = "."  # where this card lies, or the repository's name
model = SentenceTransformer(folder)


def encode(texts, side):  # "query" (side x) or "document" (side y) -> unit vectors, (n, {dim})
    encode_side = model.encode_query if side == "query" else model.encode_document
    return encode_side(texts)
"""


def write(encoder: TextEncoder, folder: Path) -> str:
    """Write the folder; returns the code of its card.

    Raises:
        ConfigError: sentence-transformers is missing or too old, or the encoder cannot be expressed in it.
    """
    if encoder.tokenization.drop_repeats:
        raise ConfigError(
            "export: the encoder takes each token of a text once (drop_repeats), which no tokenizer.json can say and so "
            "no sentence-transformers folder without code; take --to onnx (the graph drops them) or --to transformers "
            "(the card's ten lines do), or train with drop_repeats: false"
        )
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize, Router, Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling
    except ImportError as error:
        raise ConfigError(
            f"export: --to sentence-transformers needs: pip install 'sentence-transformers>=6' ({error})"
        ) from error
    with TemporaryDirectory() as parts:
        options = _NO_POOLER if makes_pooler(encoder.backbone) else {}
        backbone = Transformer(_save_backbone(encoder, Path(parts) / "backbone"), model_kwargs=dict(options))
        pooling = Pooling(encoder.dim, pooling_mode="lasttoken")
        routes = {}
        for side in SIDES:
            small = _save_small(encoder, side, Path(parts) / ROUTES[side])
            text = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
            own = Transformer(
                small, modality_config=text, module_output_name=_NOWHERE, model_kwargs=dict(_NO_POOLER)
            )
            routes[ROUTES[side]] = [own, backbone, pooling]
        # Symmetric tasks encode side x, and so does a plain `encode`.
        router = Router(routes, default_route=ROUTES["x"])
        model = SentenceTransformer(
            modules=[router, Normalize()], similarity_fn_name="cosine", device="cpu"
        ).eval()
        model.save_pretrained(str(folder), create_model_card=False)
    for path in folder.rglob("sentence_bert_config.json"):
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        _keep_without_pooler(path, _NO_POOLER if config.get("hidden_size") == 1 else options)
    return _USAGE.format(dim=encoder.dim)


def _keep_without_pooler(path: Path, options: dict[str, bool]) -> None:
    """Have sentence-transformers load a module as it was made; it saves no arguments of the model itself."""
    if options:
        settings = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**settings, "model_kwargs": options}, indent=4), encoding="utf-8")


def _save_backbone(encoder: TextEncoder, folder: Path) -> str:
    backbone: Any = encoder.backbone
    backbone.save_pretrained(folder)
    tokens = encoder.tokenization
    longest = max(tokens.max_length.values())
    as_transformers(side_tokenizer(tokens, "x"), tokens, longest).save_pretrained(folder)
    return str(folder)


def _save_small(encoder: TextEncoder, side: Side, folder: Path) -> str:
    """A side's tokenizer with a model of one number per token of the vocabulary."""
    from transformers import BertConfig, BertModel

    tokens = encoder.tokenization
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=1,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=1,
        max_position_embeddings=tokens.max_length[side],
        pad_token_id=tokens.pad_id,
    )
    with torch.random.fork_rng(devices=[]):
        small = BertModel(config, **_NO_POOLER)
    torch.nn.init.zeros_(small.get_input_embeddings().weight)  # it packs well, and is the same each time
    small.save_pretrained(folder)
    as_transformers(side_tokenizer(tokens, side), tokens, tokens.max_length[side]).save_pretrained(folder)
    return str(folder)
