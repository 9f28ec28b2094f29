"""Builds the transformers model inside an encoder, and finds out which way its attention looks."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from lightning_cpt import hub
from lightning_cpt.errors import ConfigError

Attention = Literal["backbone", "causal", "bidirectional"]

# Keys that transformers takes beside a configuration's own fields when it builds one.
_EXTRA_KEYS = {"model_type", "rope_theta", "rope_scaling", "attn_implementation", "is_causal", "is_decoder"}


def build_config(
    backbone: str | None,
    overlay: Mapping[str, Any] | None,
    *,
    vocabulary: int,
    pad_id: int,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """The transformers configuration: the backbone's with ``overlay`` on it, or ``overlay`` alone.

    Args:
        vocabulary: rows that the tokenizer needs; becomes ``vocab_size`` where a config built here has none.
        pad_id: becomes ``pad_token_id`` there, where the model type has one.

    Raises:
        ConfigError: neither given, an unknown model type or key, or fewer rows than the tokenizer has ids.
    """
    from transformers import AutoConfig

    overlay = dict(overlay or {})
    if backbone is not None:
        config = hub.load(
            "backbone", backbone, revision, AutoConfig.from_pretrained, trust_remote_code=trust_remote_code
        )
        if revision is None:
            _note_commit(backbone, getattr(config, "_commit_hash", None))
        if overlay.pop("model_type", config.model_type) != config.model_type:
            raise ConfigError(
                f"config.model_type: {backbone!r} is a {config.model_type}; write that, or nothing"
            )
        _check_keys(config, overlay)
        for key, value in overlay.items():
            setattr(config, key, value)
    else:
        config = _config_from_values(overlay, vocabulary, pad_id)
    if config.is_encoder_decoder:
        raise ConfigError(
            f"config.model_type: {config.model_type} is an encoder-decoder; use a decoder or an encoder"
        )
    if config.vocab_size < vocabulary:
        raise ConfigError(
            f"config.vocab_size: {config.vocab_size} rows for a tokenizer of {vocabulary} tokens; "
            "write that many or more, or take the tokenizer that belongs to the backbone"
        )
    config.use_cache = False  # a cache of keys is for generating
    return config


def _note_commit(backbone: str, commit: str | None) -> None:
    """Say which commit of the hub's repository an unpinned name has led to, so that it can be pinned."""
    if commit is None:  # a folder
        return
    from lightning_cpt.console import say  # lightning takes seconds to import

    say(f"{backbone} is unpinned and today {commit}; `revision: {commit}` gets the same again")


def _config_from_values(values: dict[str, Any], vocabulary: int, pad_id: int) -> Any:

    if "model_type" not in values:
        raise ConfigError(
            "backbone: give a hub name or a folder, or a `config` with a `model_type` (such as llama)"
        )
    default = restore_config({"model_type": values["model_type"]})
    _check_keys(default, values, _EXTRA_KEYS)
    rows = values.setdefault("vocab_size", vocabulary)
    for key, value in default.to_dict().items():  # the model type's own special ids mean nothing in our table
        if key == "pad_token_id" and value is not None:
            values.setdefault(key, pad_id)
        elif key.endswith("_token_id") and isinstance(value, int) and value >= rows:
            values.setdefault(key, None)
    return restore_config(values)


def restore_config(values: Mapping[str, Any]) -> Any:
    """The configuration of ``values`` alone, its ``model_type`` among them.

    Raises:
        ConfigError: a model type that transformers does not know, or values that it refuses.
    """
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = str(values["model_type"])
    if model_type not in CONFIG_MAPPING:
        near = difflib.get_close_matches(model_type, list(CONFIG_MAPPING.keys()), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"config.model_type: transformers knows no {model_type!r}{hint}")
    try:
        return AutoConfig.for_model(**values)
    except Exception as error:  # its checks of types and of divisibility have many classes
        raise ConfigError(f"config: {' '.join(str(error).split())}") from error


def _check_keys(config: Any, values: Mapping[str, Any], extra: Set[str] = frozenset()) -> None:
    known = set(config.to_dict()) | set(config.attribute_map) | extra
    for key in values:
        if key not in known and not hasattr(config, key):
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"config.{key}: {config.model_type} has no such key{hint}")


def build_model(
    config: Any,
    backbone: str | None,
    *,
    attention: Attention,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> nn.Module:
    """The float32 model without head or pooler, weights from ``backbone`` or fresh where that is None.

    Raises:
        ConfigError: weights that cannot be loaded or do not fit the configuration.
    """
    from transformers import AutoModel

    if type(config).__module__.partition(".")[0] == "transformers_modules":
        raise ConfigError(
            f"backbone: {config.model_type} is code of its own repository, not of transformers; its checkpoints could "
            "not be opened again, so it is not supported yet"
        )
    if attention != "backbone":
        # Decoders look at `is_causal`, encoders at `is_decoder`; `looks_ahead` checks what came of it.
        config.is_causal = attention == "causal"
        config.is_decoder = attention == "causal"
    options: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": trust_remote_code}
    if backbone is None:
        try:
            model = AutoModel.from_config(config, **options)
        except (ValueError, AssertionError, TypeError, ZeroDivisionError) as error:
            raise ConfigError(f"config: {config.model_type} cannot be built so: {error}") from error
    else:
        model, report = hub.load(
            "backbone",
            backbone,
            revision,
            AutoModel.from_pretrained,
            config=config,
            output_loading_info=True,
            **options,
        )
        _check_complete(backbone, report["missing_keys"])
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # not on the way to the end token's state: DDP would wait for its gradients
    return model.train()  # from_pretrained leaves it in eval mode, and Lightning keeps what it finds


def _check_complete(backbone: str, missing: Iterable[str]) -> None:
    absent = sorted(key for key in missing if not key.startswith("pooler."))
    if absent:
        raise ConfigError(
            f"backbone: {backbone!r} has no weights for {len(absent)} of the model's tensors ({absent[0]}, ...); "
            "make `config` agree with it, or set pretrained: false"
        )


def most_positions(model: nn.Module) -> int | None:
    """Longest sequence that the model has positions for, None where nothing limits it."""
    config: Any = model.config
    limit: int | None = getattr(config, "max_position_embeddings", None)
    table = _offset_positions(model)
    return limit if table is None else table.num_embeddings - first_position(model)


def first_position(model: nn.Module) -> int:
    """Number of a sequence's first place: RoBERTa counts from behind its padding index."""
    table = _offset_positions(model)
    return 0 if table is None else int(table.padding_idx or 0) + 1


def _offset_positions(model: nn.Module) -> nn.Embedding | None:
    for name, part in model.named_modules():
        embeds = name.endswith("position_embeddings") and isinstance(part, nn.Embedding)
        if embeds and part.padding_idx is not None:
            return part
    return None


def output_width(model: nn.Module) -> int:
    """Numbers in one hidden state of the last layer."""
    config: Any = model.config
    # OPT's smallest model leaves its decoder through a projection.
    return int(getattr(config, "word_embed_proj_dim", config.hidden_size))


@torch.no_grad()
def looks_ahead(model: nn.Module) -> bool:
    """Whether a later token changes an earlier one's state, measured on four tokens."""
    training = model.training
    device = next(model.parameters()).device
    vocabulary: int = model.config.vocab_size  # type: ignore[union-attr,assignment]
    pad = getattr(model.config, "pad_token_id", None)
    ids = [i for i in range(vocabulary) if i != pad][:5]
    tokens = torch.tensor([ids[:4], [*ids[:3], ids[-1]]], device=device)  # (2, 4) apart in the last token
    try:
        states = model.eval()(input_ids=tokens).last_hidden_state[:, :3]  # (2, 3, dim)
    finally:
        model.train(training)
    return bool((states[0] - states[1]).abs().max() > 1e-5 * states.abs().max())


def check_attention(model: nn.Module, attention: Attention) -> bool:
    """True where the attention is causal, after checking that it is what was asked for.

    Raises:
        ConfigError: the backbone ignores the option.
    """
    causal = not looks_ahead(model)
    if attention != "backbone" and causal != (attention == "causal"):
        kind: str = model.config.model_type  # type: ignore[union-attr,assignment]
        raise ConfigError(
            f"attention: {kind} stays {'causal' if causal else 'bidirectional'} whatever is asked of it; "
            "use attention: backbone, or another backbone"
        )
    return causal


def blocks(model: nn.Module) -> list[nn.Module]:
    """The model's layers: the members of its largest list of modules."""
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    largest = max(lists, key=lambda part: sum(p.numel() for p in part.parameters()), default=None)
    return [] if largest is None else list(largest)


@contextmanager
def one_at_a_time(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Free each of these layers' gathered weights as soon as it has run.

    FSDP2 does so by itself but for what runs within a backward pass, where it takes a layer that is computed again
    for one whose own backward pass comes next. A chunk that is computed again runs through all layers first.

    Args:
        layers: of a backbone; those that ``fully_shard`` has not cut stay as they are.
    """
    cut = [layer for layer in layers if isinstance(layer, FSDPModule)]
    handles = [layer.register_forward_hook(_free, with_kwargs=True) for layer in cut]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _free(layer: Any, inputs: tuple[Any, ...], named: dict[str, Any], outputs: Any) -> None:
    # Behind frozen layers FSDP2 is not told of a layer's backward pass, and holds it for gathered until the last one.
    made = outputs if isinstance(outputs, tuple) else (outputs,)
    told = _learns(inputs) or _learns(named.values())
    if told or not _learns(made):
        layer.reshard()


def _learns(values: Iterable[Any]) -> bool:
    return any(isinstance(one, Tensor) and one.requires_grad for one in values)
