"""Attention over sequences that lie one behind the other without padding, for backbones of transformers.

Registered with transformers' attention interface, so that a backbone runs on ``(1, total)`` tokens as it is: on CUDA
through torch's varlen kernel (no flash-attn package), elsewhere sequence by sequence, which is slow and for checks.
What the kernel does not know (windows, soft caps, sinks, dropout) is refused, never approximated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_cpt.errors import ConfigError
from lightning_cpt.ragged import Ragged, moved

NAME = "cpt_padding_free"
_CHECKED = f"{NAME}_checked"
_HALF = (torch.bfloat16, torch.float16)
_TOLERANCE = 1e-4  # float32, relative
_KERNEL_TOLERANCE = 1e-2  # bfloat16, relative
# What models hand to their attention function beside the tensors, and what changes nothing here.
_HARMLESS = {
    "cache_position",
    "cu_seq_lens_k",
    "is_causal",  # measured on the model and handed over as packed_causal
    "max_length_k",
    "output_attentions",
    "output_hidden_states",
    "position_embeddings",
    "position_ids",
    "return_dict",
    "use_cache",
}


def packed_inputs(batch: Ragged, *, causal: bool, first_position: int = 0) -> dict[str, Any]:
    """A backbone's inputs for sequences without padding.

    Args:
        batch: n sequences, ``total`` tokens.
        causal: whether a token sees only those before it.
        first_position: number of a sequence's first place (RoBERTa begins behind its padding index).
    """
    lengths = batch.lengths
    starts = lengths.cumsum(0) - lengths  # (n,)
    places = torch.arange(batch.ids.numel()) - starts.repeat_interleave(lengths) + first_position  # (total,)
    ends = moved(F.pad(lengths.cumsum(0), (1, 0)).to(torch.int32), batch.device)  # (n + 1,)
    longest = int(lengths.max())
    return {
        "input_ids": batch.ids[None],  # (1, total)
        "position_ids": moved(places, batch.device)[None],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": longest,
        "max_length_k": longest,
        "packed_causal": causal,
    }


@contextmanager
def padding_free(model: nn.Module, shapes: list[tuple[int, int, int]] | None = None) -> Iterator[None]:
    """Let the backbone call :func:`attend` meanwhile.

    Args:
        shapes: takes heads, key heads and width of each call.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    def watched(module: nn.Module, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
        assert shapes is not None
        shapes.append((query.shape[1], key.shape[1], query.shape[3]))
        return attend(module, query, key, *args, **kwargs)

    name = NAME if shapes is None else _CHECKED
    AttentionInterface.register(name, attend if shapes is None else watched)
    if shapes is not None:  # without it transformers makes no mask, and does not look for packed sequences
        AttentionMaskInterface.register(name, _no_mask)
    config: Any = model.config
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def _no_mask(*args: Any, local_size: int | None = None, use_vmap: bool = False, **kwargs: Any) -> None:
    """No mask: the bounds of the sequences say all. By transformers' interface of masks.

    Raises:
        ConfigError: the model asks for more than causal or full attention; some models say so only here.
    """
    if local_size is not None or use_vmap:
        what = "attention of its own shape" if local_size is None else f"attention within {local_size} tokens"
        raise ConfigError(
            f"padding_free: the backbone asks for {what}, which attention without padding does not know; "
            "set model.encoder.padding_free: false"
        )


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    packed_causal: bool | None = None,
    **further: Any,
) -> tuple[Tensor, None]:
    """Attention within each sequence, by transformers' attention interface.

    Args:
        query: ``(1, heads, total, width)``.
        key: ``(1, key heads, total, width)``.
        value: ``(1, key heads, total, width)``.

    Returns:
        ``(1, total, heads, width)``, and no weights.

    Raises:
        ConfigError: the model asks for something that is not known here, or swallows what tells the sequences apart.
    """
    _check(
        module,
        attention_mask,
        cu_seq_lens_q,
        packed_causal,
        dropout,
        value.shape[-1] != query.shape[-1],
        further,
    )
    assert cu_seq_lens_q is not None
    assert max_length_q is not None
    q, k, v = (part.squeeze(0).transpose(0, 1) for part in (query, key, value))  # (total, heads, width)
    run = _kernel if q.device.type == "cuda" and _half(q) is not None else _one_by_one
    return run(q, k, v, cu_seq_lens_q, max_length_q, scaling, bool(packed_causal))[None], None


def kernel_runs(device: torch.device) -> bool:
    """Whether the kernel can serve a backbone here and now: on CUDA, inside autocast to 16 bits."""
    cast = torch.get_autocast_dtype(device.type)
    return device.type == "cuda" and torch.is_autocast_enabled(device.type) and cast in _HALF


def _half(q: Tensor) -> torch.dtype | None:
    """The 16-bit type in which the kernel would run: the tensor's, or autocast's (rotary positions leave it)."""
    if q.dtype in _HALF:
        return q.dtype
    cast = torch.get_autocast_dtype(q.device.type)
    return cast if torch.is_autocast_enabled(q.device.type) and cast in _HALF else None


def _check(
    module: nn.Module,
    mask: Tensor | None,
    ends: Tensor | None,
    causal: bool | None,
    dropout: float,
    uneven: bool,
    further: dict[str, Any],
) -> None:
    asked = [name for name, value in further.items() if value is not None and name not in _HARMLESS]
    if dropout:
        asked.append("attention dropout")
    if uneven:
        asked.append("values of another width than queries")
    if ends is None or causal is None:
        asked.append("attention without the sequences' bounds")
    elif mask is not None:
        asked.append("a mask of its own")
    if asked:
        raise ConfigError(
            f"padding_free: {type(module).__name__} asks for {', '.join(asked)}, which attention without padding does "
            "not know; set model.encoder.padding_free: false"
        )


def _kernel(
    q: Tensor, k: Tensor, v: Tensor, ends: Tensor, longest: int, scale: float | None, causal: bool
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    half = _half(q)
    q, k, v = q.to(half), k.to(half), v.to(half)
    window = (-1, 0) if causal else (-1, -1)
    options: dict[str, Any] = {"scale": scale, "window_size": window, "enable_gqa": q.shape[1] != k.shape[1]}
    out = varlen_attn(q, k, v, ends, ends, longest, longest, **options)
    assert isinstance(out, Tensor)
    return out


def _one_by_one(
    q: Tensor, k: Tensor, v: Tensor, ends: Tensor, longest: int, scale: float | None, causal: bool
) -> Tensor:
    sizes = ends.diff().tolist()
    options: dict[str, Any] = {"scale": scale, "is_causal": causal, "enable_gqa": q.shape[1] != k.shape[1]}
    out = []
    for row in zip(*(part.split(sizes) for part in (q, k, v)), strict=True):
        heads = (part.transpose(0, 1)[None] for part in row)  # (1, heads, length, width) each
        out.append(F.scaled_dot_product_attention(*heads, **options)[0].transpose(0, 1))
    return torch.cat(out)


@torch.no_grad()
def check_padding_free(model: nn.Module, *, causal: bool, first_position: int, longest: int) -> None:
    """Compare the backbone without padding with itself on one sequence at a time (design: packed equals single).

    In float32, where a wrong place or a neighbour's token cannot hide in rounding; the CUDA kernel is compared
    alone, on random tensors of the backbone's own shape. Weights, mode and random state stay untouched.

    Args:
        model: a backbone of transformers.
        causal: which way its attention looks.
        first_position: number of a sequence's first place.
        longest: most positions of the backbone.

    Raises:
        ConfigError: the two differ, or the model asks for what is not known here.
    """
    device = next(model.parameters()).device
    batch = _few_sequences(model, longest).to(device)
    training, shapes = model.training, list[tuple[int, int, int]]()
    inputs = packed_inputs(batch, causal=causal, first_position=first_position)
    cuda = [device] if device.type == "cuda" else []
    run = model._call_impl  # not the compiled one, which would be compiled for each of these cases
    try:
        with torch.autocast(device.type, enabled=False), torch.random.fork_rng(devices=cuda):
            with padding_free(model, shapes):
                model.train()
                run(**inputs)  # its dropout is known only here
                model.eval()
                found = run(**inputs).last_hidden_state[0]  # (total, dim)
            single = torch.cat(
                [
                    run(input_ids=row[None]).last_hidden_state[0]
                    for row in batch.ids.split(batch.lengths.tolist())
                ]
            )
    except ConfigError:
        raise
    except Exception as error:  # whatever a model says to inputs that it was not written for
        raise ConfigError(
            f"padding_free: {type(model).__name__} does not run without padding ({type(error).__name__}: {error}); "
            "set model.encoder.padding_free: false"
        ) from error
    finally:
        model.train(training)
    difference = float((found - single).norm() / single.norm())
    if not difference < _TOLERANCE:
        raise ConfigError(
            f"padding_free: without padding {type(model).__name__} differs from one sequence at a time by "
            f"{difference:.1e}; set model.encoder.padding_free: false"
        )
    if not shapes:
        raise ConfigError(
            f"padding_free: {type(model).__name__} has an attention of its own, which nothing can stand in for; "
            "set model.encoder.padding_free: false"
        )
    if device.type == "cuda":
        _check_kernel(batch, causal, shapes[0])


def _few_sequences(model: nn.Module, longest: int) -> Ragged:
    """Sequences of several lengths, of ids that no model takes for padding."""
    config: Any = model.config
    pad = getattr(config, "pad_token_id", None)
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([min(length, longest) for length in (3, 31, 1, 64, 17)])
    ids = torch.randint(1, config.vocab_size, (int(lengths.sum()),), generator=generator)
    ids[ids == pad] = 0 if pad else 1
    return Ragged(ids, lengths)


def _check_kernel(batch: Ragged, causal: bool, shape: tuple[int, int, int]) -> None:
    """The kernel against plain attention, on random tensors.

    Raises:
        ConfigError: they differ by more than the rounding of 16 bits.
    """
    heads, groups, width = shape
    total, ends = batch.ids.numel(), F.pad(batch.lengths.cumsum(0), (1, 0)).to(torch.int32).to(batch.device)
    generator = torch.Generator(batch.device).manual_seed(0)
    q, k, v = (
        torch.randn(total, n, width, generator=generator, device=batch.device).bfloat16()
        for n in (heads, groups, groups)
    )
    longest = int(batch.lengths.max())
    with torch.autocast(batch.device.type, enabled=False):  # it would be another kernel's 16 bits
        exact = _one_by_one(q.float(), k.float(), v.float(), ends, longest, None, causal)
    try:
        found = _kernel(q, k, v, ends, longest, None, causal).float()
    except (
        RuntimeError,
        ValueError,
        ImportError,
    ) as error:  # widths of heads and chips that it does not serve
        raise ConfigError(
            f"padding_free: this GPU's attention kernel does not take {heads} heads of {width} ({error}); "
            "set model.encoder.padding_free: false"
        ) from error
    difference = float((found - exact).norm() / exact.norm())
    if not difference < _KERNEL_TOLERANCE:
        raise ConfigError(
            f"padding_free: this GPU's attention kernel differs from plain attention by {difference:.1e} on "
            f"{heads} heads of {width}; set model.encoder.padding_free: false"
        )
