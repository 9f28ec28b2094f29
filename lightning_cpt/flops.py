"""Floating-point operations of training a transformer, counted from its matrix multiplications, and what follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from torch import nn

from lightning_cpt.tail import feed_forward


class Costs(NamedTuple):
    """FLOPs of one forward pass: ``per_token`` for each token, ``per_square`` for each length squared, less
    ``per_skipped`` for each token that the last layer's feed-forward leaves out.

    A multiplication and its addition are 2 FLOPs. Counted are the matrix multiplications: the layers' weights,
    and the attention's two products of length x length (scores, and scores times values). Looking up embeddings,
    norms, activations, softmax and rotary positions are not, nor are the loss's products (n x N x d: under a per
    cent of a backbone's). Attention counts in full also where it is causal or sliding, as in PaLM (appendix B),
    so that numbers compare; a causal kernel that skips the upper triangle does about half of ``per_square``.
    """

    per_token: int
    per_square: int
    per_skipped: int = 0

    def forward(self, tokens: int, squares: int, skipped: int = 0) -> int:
        return self.per_token * tokens + self.per_square * squares - self.per_skipped * skipped


def count_costs(model: Any) -> Costs | None:
    """The costs of a transformers backbone, None where they cannot be known.

    Counted are ``nn.Linear``, transformers' ``Conv1D``, and experts by the share of them that a token passes
    through. Any other kind of layer (convolutions, state spaces, a router of its own) is left out.
    """
    config = getattr(model, "config", None)
    if config is None or not isinstance(model, nn.Module):
        return None
    weights = _weights_passed(model, config)
    if not weights:
        return None
    part = feed_forward(model)
    skipped = (_weights_passed(part, config) or 0.0) if part is not None else 0.0
    return Costs(round(2 * weights), 4 * _attention_width(config), round(2 * skipped))


def _weights_passed(model: nn.Module, config: Any) -> float | None:
    """Weights of the matrices that a token is multiplied by, None where they cannot be known."""
    shares = [(weights, _share(name, config)) for name, weights in _matrices(model)]
    if any(share is None for _, share in shares):
        return None
    return sum(count * share for count, share in shares if share is not None)


def _matrices(model: nn.Module) -> Iterator[tuple[str, float]]:
    """Name and number of weights of each matrix that multiplies; of a stack of experts, of one of them."""
    from transformers.pytorch_utils import Conv1D

    for name, part in model.named_modules():
        if isinstance(part, nn.Linear):  # the features, as a sharded weight may be flat
            yield name, part.in_features * part.out_features / _siblings(model, name)
        elif isinstance(part, Conv1D):
            yield name, part.nx * part.nf
        elif name.rpartition(".")[2] == "experts":
            for key, weight in part.named_parameters(recurse=False):
                if weight.dim() == 3:  # (experts, rows, columns)
                    yield f"{name}.{key}", weight.numel() / len(weight)


def _siblings(model: nn.Module, name: str) -> int:
    """Number of experts among which the layer's own expert stands, 1 outside of them."""
    before, found, _ = name.partition(".experts.")
    experts = model.get_submodule(f"{before}.experts") if found else None
    return len(experts) if isinstance(experts, nn.ModuleList) else 1


def _share(name: str, config: Any) -> float | None:
    """How often a token passes through the matrix, None where nothing says so."""
    if ".experts." in name:
        return getattr(config, "num_experts_per_tok", None)
    if "albert_layer_groups." in name:  # its layers share their weights
        return float(config.num_hidden_layers / config.num_hidden_groups)
    return 1


def _attention_width(config: Any) -> int:
    """Width of all heads of all layers that attend by softmax."""
    heads, width = (getattr(config, key, None) for key in ("num_attention_heads", "hidden_size"))
    if not heads or not width:
        return 0
    # As a list where layers differ, or absent.
    kinds = getattr(config, "layer_types", None) or ["attention"] * getattr(config, "num_hidden_layers", 0)
    layers = sum("attention" in kind and "linear" not in kind for kind in kinds)
    per_head = getattr(config, "head_dim", None) or width // heads
    return int(layers * getattr(config, "inner_group_num", 1) * heads * per_head)


@dataclass
class Totals:
    """What was done over some steps, and how long it took: integers, to be summed over ranks exactly.

    ``nanoseconds`` is the wall time of one rank; ``rank_nanoseconds`` and ``waited`` add up over ranks. The last
    two count batches of which the work or the waiting is unknown.
    """

    steps: int = 0
    pairs: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    recomputed_tokens: int = 0
    squares: int = 0
    padded_squares: int = 0
    recomputed_squares: int = 0
    skipped_tokens: int = 0
    padded_skipped_tokens: int = 0
    recomputed_skipped_tokens: int = 0
    nanoseconds: int = 0
    rank_nanoseconds: int = 0
    waited: int = 0
    unreported: int = 0
    unwatched: int = 0

    def values(self) -> list[int]:
        return [getattr(self, field.name) for field in fields(self)]

    def __add__(self, later: Totals) -> Totals:
        return Totals(*(a + b for a, b in zip(self.values(), later.values(), strict=True)))


def over_ranks(ranks: Sequence[Totals]) -> Totals:
    """The sum over the ranks of the same steps.

    The time is the shortest of the ranks': what is no training on one of them (rank 0 writes a checkpoint, say)
    the others spend waiting for it.
    """
    total = sum(ranks[1:], start=ranks[0])
    total.steps = ranks[0].steps
    total.nanoseconds = min(rank.nanoseconds for rank in ranks)
    return total


def model_flops(done: Totals, costs: Costs) -> int:
    """Forward and backward (twice the forward) of the real tokens: no padding, nothing twice."""
    return 3 * costs.forward(done.tokens, done.squares, done.skipped_tokens)


def recomputed_flops(done: Totals, costs: Costs) -> int:
    return costs.forward(done.recomputed_tokens, done.recomputed_squares, done.recomputed_skipped_tokens)


def hardware_flops(done: Totals, costs: Costs) -> int:
    """All that was computed: padding, and the forward passes that the backward pass repeats."""
    forth = costs.forward(done.padded_tokens, done.padded_squares, done.padded_skipped_tokens)
    return 3 * forth + recomputed_flops(done, costs)


def rates(done: Totals, costs: Costs | None, peak: float | None) -> dict[str, float | None]:
    """The numbers that one looks at; None is unknown, never 0.

    Args:
        done: Of all ranks.
        costs: Of the backbone.
        peak: FLOP/s of all ranks' devices together.
    """
    seconds = done.nanoseconds / 1e9
    work = done if done.padded_tokens and not done.unreported else None
    flops = (model_flops(work, costs), hardware_flops(work, costs)) if work and costs else (None, None)
    most = peak * seconds if peak else None
    return {
        "pairs_per_second": _over(done.pairs, seconds),
        "tokens_per_second": _over(done.tokens, seconds),
        "mfu": _over(flops[0], most),
        "hfu": _over(flops[1], most),
        "padding": 1 - work.tokens / work.padded_tokens if work else None,
        "recomputed": _over(recomputed_flops(work, costs), flops[1]) if work and costs else None,
        "waiting": None if done.unwatched else _over(done.waited, done.rank_nanoseconds),
    }


def _over(amount: float | None, whole: float | None) -> float | None:
    return amount / whole if amount is not None and whole else None
