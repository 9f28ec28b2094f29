"""A tiny twin of a recipe's model: the same classes and options, two narrow layers, a tokenizer of bytes."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_cpt.backbone import restore_config
from lightning_cpt.checkpoint import read_checkpoint
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.tokenization import OWN

LAYERS, WIDTH, HEADS, POSITIONS = 2, 32, 4, 64  # CodeGen needs 4 heads
SPECIAL = ["<pad>", *OWN["x"], *OWN["y"]]
FIRST_ID, LAST_ID = len(SPECIAL), len(SPECIAL) + 255  # ids of the 256 bytes

# Sizes by transformers' common names, which each configuration maps to its own where those differ.
_SIZES = {
    "num_hidden_layers": LAYERS,
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "head_dim": WIDTH // HEADS,
    "embedding_size": WIDTH // 2,
    "rotary_dim": WIDTH // HEADS // 2,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
}
_MIDDLES = (
    "intermediate_size",
    "n_inner",
    "ffn_dim",
    "hidden_dim",
    "ffn_hidden_size",
    "moe_intermediate_size",
)
_KEY_HEADS = ("num_key_value_heads", "num_kv_heads")


@contextmanager
def shrunken_encoders() -> Iterator[None]:
    """Inside, every TextEncoder comes out as its tiny twin, those of a subclass by its own ``__init__`` included."""
    whole = TextEncoder.__init__
    signature = inspect.signature(whole)
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(Path(folder))

        def __init__(self: TextEncoder, *args: Any, **kwargs: Any) -> None:
            given = signature.bind(self, *args, **kwargs)
            given.apply_defaults()
            whole(**_tiny(given.arguments, folder))

        __init__.__signature__ = signature  # type: ignore[attr-defined]
        TextEncoder.__init__ = __init__  # type: ignore[method-assign]
        try:
            yield
        finally:
            TextEncoder.__init__ = whole  # type: ignore[method-assign]


def _tiny(given: Mapping[str, Any], tokenizer: str) -> dict[str, Any]:
    """The arguments of an encoder, changed to those of its twin; what is left out here stays as it was given."""
    values = full_config(given["backbone"], given["config"])
    other = {
        "backbone": None,
        "config": shrink(values),
        "tokenizer": tokenizer,
        "pretrained": False,
        "revision": None,
        "max_length_x": min(given["max_length_x"], WIDTH),
        "max_length_y": min(given["max_length_y"], WIDTH),
        "delimiters": "auto",
        "padding_free": False,  # a matter of CUDA, and compared with padding there
        "compile": False,
        "trust_remote_code": False,
    }
    return dict(given) | {key: value for key, value in other.items() if key in given}


def full_config(backbone: str | None, overlay: Mapping[str, Any] | None) -> dict[str, Any]:
    """Every key of the recipe's backbone, without asking the hub for anything.

    Raises:
        ConfigError: nothing here says what kind of model it is.
    """
    overlay = {key: value for key, value in (overlay or {}).items() if key != "attn_implementation"}
    values = _local_config(backbone) if backbone else None
    if values is not None:
        return values | _own_names({"model_type": values["model_type"], **overlay})
    if "model_type" not in overlay and backbone is None:
        raise ConfigError("backbone: give one, or a `config` with a `model_type` (such as llama)")
    if "model_type" not in overlay:
        raise ConfigError(
            f"config.model_type: missing, and {backbone!r} is not on this machine; add the backbone's type "
            "(such as llama), so that the twin can be built without a download"
        )
    default: dict[str, Any] = restore_config({"model_type": overlay["model_type"]}).to_dict()
    return default | _own_names(overlay)


def _own_names(overlay: dict[str, Any]) -> dict[str, Any]:
    """Common names replaced by those that the model type itself uses."""
    names = restore_config({"model_type": overlay["model_type"]}).attribute_map
    return {names.get(key, key): value for key, value in overlay.items()}


def _local_config(backbone: str) -> dict[str, Any] | None:
    """The configuration of a folder, a checkpoint or a model in the hub's cache; None where there is none."""
    from transformers import AutoConfig

    path = Path(backbone).expanduser()
    if path.suffix == ".ckpt" and path.is_file():
        found: dict[str, Any] = json.loads(read_checkpoint(path)["encoder"]["config"])
        return found
    try:
        found = AutoConfig.from_pretrained(
            str(path) if path.is_dir() else backbone, local_files_only=True
        ).to_dict()
    except (OSError, ValueError):
        return None
    return found


def shrink(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same kind of model, with two narrow layers and without dropout, whose masks ranks cannot share.

    Args:
        values: every key of a transformers configuration, ``model_type`` among them.
    """
    default = restore_config({"model_type": values["model_type"]})
    names, known = default.attribute_map, default.to_dict()
    # Special ids and the size of the table come from the tokenizer.
    tiny = {
        key: value
        for key, value in values.items()
        if key in known and key != "vocab_size" and not key.endswith("_token_id")
    }
    old = {key: tiny.get(names.get(key, key)) for key in _SIZES}
    for key, size in _SIZES.items():
        own = names.get(key, key)
        if tiny.get(own) is not None:
            tiny[own] = size
    if old["embedding_size"] == old["hidden_size"]:
        tiny.update({"embedding_size": WIDTH} if "embedding_size" in tiny else {})
    _shrink_the_rest(tiny, old)
    return {key: 0.0 if _is_dropout(key, value) else value for key, value in tiny.items()}


def _shrink_the_rest(tiny: dict[str, Any], old: Mapping[str, Any]) -> None:
    """Sizes that depend on others, and lists with an entry per layer."""
    for key in _MIDDLES:
        if tiny.get(key) is not None:
            tiny[key] = 2 * WIDTH
    for key in _KEY_HEADS:
        if tiny.get(key) is not None:  # as many as queries have, or fewer
            tiny[key] = HEADS if tiny[key] == old["num_attention_heads"] else 1
    if tiny.get("word_embed_proj_dim") is not None:
        tiny["word_embed_proj_dim"] = (
            WIDTH if tiny["word_embed_proj_dim"] == old["hidden_size"] else WIDTH // 2
        )
    if tiny.get("pooler_hidden_size") is not None:
        tiny["pooler_hidden_size"] = WIDTH
    if kinds := tiny.get("layer_types"):
        tiny["layer_types"] = (list(dict.fromkeys(kinds)) * LAYERS)[:LAYERS]  # one layer of each kind
    if kinds := tiny.pop("attention_layers", None):  # GPT-Neo makes it from the next key
        tiny["attention_types"] = (
            [[list(dict.fromkeys(kinds)), 1]] if len(set(kinds)) > 1 else [[kinds[:1], 2]]
        )


def _is_dropout(key: str, value: Any) -> bool:
    return "drop" in key and isinstance(value, float)


def without_dropout(model: nn.Module) -> nn.Module:
    """The model with the probability of every dropout layer set to 0, a plug-in's too."""
    for part in model.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
    return model


def save_tokenizer(folder: Path) -> None:
    """Write a tokenizer of one token per byte, behind this project's delimiters."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(SPECIAL)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL[0]).save_pretrained(folder)


@contextmanager
def fixed_seed(seed: int = 0) -> Iterator[None]:
    """The same fresh weights each time; the caller's random state stays untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
