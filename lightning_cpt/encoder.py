"""The encoder of both sides: delimiters, tokenizer, backbone, the end token's last state, a unit vector."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import xxhash
from torch import Tensor, nn
from tqdm.auto import tqdm

from eval_suite.shape import shape_of
from lightning_cpt.attention import check_padding_free, kernel_runs, packed_inputs, padding_free
from lightning_cpt.backbone import (
    Attention,
    blocks,
    build_config,
    build_model,
    check_attention,
    first_position,
    most_positions,
    one_at_a_time,
    output_width,
    restore_config,
)
from lightning_cpt.checkpoint import read_checkpoint, refuse_another_class, run_name
from lightning_cpt.chunks import Forward, Work, encode_in_chunks, plan_chunks
from lightning_cpt.embedding import Lookups, summable
from lightning_cpt.errors import ConfigError
from lightning_cpt.memory import ActivationMemory, storages
from lightning_cpt.ragged import Ragged, moved
from lightning_cpt.recompute import Recompute
from lightning_cpt.start import is_checkpoint, start_from
from lightning_cpt.tail import Tail
from lightning_cpt.tokenization import SIDES, PairTokenizer, Side

_SLICE = 16384  # texts that `encode` holds as token ids at a time
# Keys that say how an encoder computes, not what.
_HOW_DEFAULTS: dict[str, Any] = {
    "chunk_tokens": 16384,
    "activation_memory": "auto",
    "padding_free": "auto",
    "compile": False,
}
HOW = tuple(_HOW_DEFAULTS)
_CPU_TOKENS = 2048  # activations that stay in a CPU's cache: 1.35x as fast as 16384 (MiniLM, one core)


class TextEncoder(nn.Module):
    """One transformer for x and y; the embedding is its last hidden state at the end token (paper, section 2.1).

    Args:
        backbone: hub name or local folder of any transformers decoder or encoder; null builds it from ``config``.
            A checkpoint of ``cpt fit`` (a file ending in ``.ckpt``) starts a new run from its encoder: weights,
            tokenizer and delimiters are the checkpoint's, everything else is this recipe's.
        config: keys laid over the backbone's own configuration, or, without a backbone, all of it, with its
            ``model_type`` (such as ``{model_type: llama, hidden_size: 256}``); ``vocab_size`` comes from the
            tokenizer where it is absent.
        tokenizer: hub name or local folder; null takes the backbone's.
        pretrained: start from the backbone's weights; false starts from fresh ones.
        revision: branch, tag or commit of the backbone's hub repository.
        max_length_x: most tokens of an x, its two delimiters included.
        max_length_y: most tokens of a y, its two delimiters included.
        delimiters: ``{x: [start, end], y: [start, end]}``, each one token; ``auto`` takes ``<x> </x> <y> </y>``
            where the tokenizer has them, else ``[ ] { }``.
        drop_repeats: keep each token of a text once, at its first place, before truncation: shorter inputs in
            which a repeat weighs nothing; for small models and bag-like tasks, not for language as such.
        attention: ``backbone`` as it comes, ``causal`` or ``bidirectional``.
        chunk_tokens: most tokens, padding included, that go through the backbone at once.
        activation_memory: memory for the chunks' activations, which are kept for the backward pass as far as they
            fit and computed again where not: ``8GiB``, ``0`` (recompute all), ``all`` (keep all), or ``auto``:
            what is free, on CUDA measured in the first step.
        padding_free: run the backbone on tokens without padding: ``auto`` does so on CUDA in 16-bit mixed
            precision where the backbone allows it, ``true`` stops a training where it cannot be, ``false`` sorts
            and pads.
        compile: let torch.compile fuse the backbone's kernels: a minute or more at the start, for quicker steps
            where it helps; needs a C++ compiler on CPU. Not with fsdp2.
        trust_remote_code: run model code from the hub's repository.

    Raises:
        ConfigError: a key that cannot work, named, with its cure.
    """

    def __init__(
        self,
        backbone: str | None = None,
        config: dict[str, Any] | None = None,
        tokenizer: str | None = None,
        pretrained: bool = True,
        revision: str | None = None,
        max_length_x: int = 512,
        max_length_y: int = 512,
        delimiters: Literal["auto"] | dict[str, list[str]] = "auto",
        drop_repeats: bool = False,
        attention: Attention = "backbone",
        chunk_tokens: int = 16384,
        activation_memory: Literal["auto", "all"] | int | str = "auto",
        padding_free: Literal["auto"] | bool = "auto",
        compile: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        backbone, tokenizer = (name if name is None else os.fspath(name) for name in (backbone, tokenizer))
        if backbone is not None and is_checkpoint(backbone):
            model, tokenization, name, attention = start_from(
                backbone,
                config=config,
                tokenizer=tokenizer,
                pretrained=pretrained,
                revision=revision,
                max_length={"x": max_length_x, "y": max_length_y},
                delimiters=delimiters,
                drop_repeats=drop_repeats,
                attention=attention,
            )
        else:
            source = tokenizer or backbone
            if source is None:
                raise ConfigError("tokenizer: give a folder (`cpt prep tokenizer` makes one) or a hub name")
            tokenization = PairTokenizer(
                source,
                delimiters=delimiters,
                max_length_x=max_length_x,
                max_length_y=max_length_y,
                drop_repeats=drop_repeats,
                revision=revision if source == backbone else None,
            )
            hub: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
            model_config = build_config(
                backbone, config, vocabulary=len(tokenization), pad_id=tokenization.pad_id, **hub
            )
            model = build_model(model_config, backbone if pretrained else None, attention=attention, **hub)
            name = backbone if backbone and pretrained else f"{model_config.model_type}, untrained"
        self._assemble(
            model,
            tokenization,
            name=name,
            attention=attention,
            chunk_tokens=chunk_tokens,
            activation_memory=activation_memory,
            padding_free=padding_free,
            compile=compile,
        )

    def _assemble(
        self,
        model: nn.Module,
        tokenization: PairTokenizer,
        *,
        name: str,
        attention: Attention,
        chunk_tokens: int,
        activation_memory: Literal["auto", "all"] | int | str,
        padding_free: Literal["auto"] | bool,
        compile: bool,
    ) -> None:
        if chunk_tokens < 1:
            raise ConfigError(f"chunk_tokens: {chunk_tokens} is not a positive number of tokens")
        positions = most_positions(model)
        for side in SIDES:
            if positions is not None and tokenization.max_length[side] > positions:
                raise ConfigError(
                    f"max_length_{side}: {tokenization.max_length[side]} is more than the backbone's {positions} "
                    f"positions; use {positions} or less"
                )
        self.backbone = model
        self.tokenization = tokenization
        self.name = name
        self.attention = attention
        self.chunk_tokens = chunk_tokens
        self.memory = ActivationMemory(activation_memory)
        self.padding_free = padding_free
        self.steps: int | None = None  # optimizer steps behind these weights, where they are a checkpoint's
        self.in_step = False  # whether every rank must run as many chunks
        self.work: Work | None = None  # of the last forward pass
        self.dim = output_width(model)
        # Right padding changes nothing before it under causal attention, so those chunks need no mask. On the
        # meta device nothing can be measured: masked, which is right for both.
        meta = any(p.is_meta for p in model.parameters())
        self._masked = meta or not check_attention(model, attention)
        self._tail = Tail(model) if not meta else Tail(nn.Identity())
        self.compiled = compile
        if compile and not meta:
            model.compile(dynamic=True)
        self._unpadded: bool | None = None  # whether the backbone goes without padding, once it was tried

    def forward(self, batch: Ragged) -> Tensor:
        """Unit vectors of tokenised texts, with gradients, at least float32: ``(n, dim)``."""
        encode: Forward = self._encode_chunk
        if self.in_step:
            encode = one_at_a_time(blocks(self))(encode)
        recompute = None
        if torch.is_grad_enabled() and not (self.compiled or self.in_step) and self.device.type == "cpu":
            lookups = self._lookups()
            encode = lookups.used(encode) if lookups else encode
            recompute = Recompute(self, lookups)
        vectors, self.work = encode_in_chunks(
            encode,
            batch,
            token_budget=self.chunk_tokens,
            memory=self.memory,
            padding_free=self._goes_without_padding(),
            tail=self._tail.part is not None,
            in_step=self.in_step,
            weights=lambda: storages(self.parameters()),
            recompute=recompute,
        )
        return vectors

    def _lookups(self) -> Lookups | None:
        """One table for the gradient of the token embedding, where that is the same."""
        try:
            words = self.backbone.get_input_embeddings()  # type: ignore[operator]
        except (AttributeError, NotImplementedError):  # a backbone of somebody's own
            return None
        return Lookups(words) if summable(words) else None

    def _encode_chunk(self, chunk: Ragged) -> Tensor:
        if self._goes_without_padding():
            ends = moved(chunk.lengths.cumsum(0) - 1, chunk.device)  # (m,) places among all tokens
            inputs = packed_inputs(chunk, causal=not self._masked, first_position=self._first_position)
            with padding_free(self.backbone), self._tail.only(ends):
                states = self.backbone(**inputs).last_hidden_state  # (1, total, dim)
        else:
            tokens = chunk.pad(self.tokenization.pad_id)  # (m, longest)
            ragged = self._masked and tokens.numel() > chunk.ids.numel()
            firsts = torch.arange(0, tokens.numel(), tokens.shape[1])
            ends = moved(firsts + chunk.lengths - 1, chunk.device)  # (m,)
            mask = chunk.mask().long() if ragged else None
            with self._tail.only(ends):
                states = self.backbone(input_ids=tokens, attention_mask=mask).last_hidden_state
        return unit(states.flatten(0, 1)[ends])  # (m, dim)

    def _goes_without_padding(self) -> bool:
        """Whether chunks go through the backbone without padding, here and now; tried out before the first does."""
        # On the CPU only where it is asked for: without the kernel it is slow, and there to be checked.
        asked = self.padding_free is True and self.device.type == "cpu"
        if self.padding_free is False or not (asked or kernel_runs(self.device)):
            if self.padding_free is True and self.training and torch.is_grad_enabled():
                raise ConfigError(
                    "padding_free: true needs 16-bit mixed precision on CUDA; set trainer.precision to bf16-mixed, or "
                    "padding_free to auto"
                )
            return False
        if self._unpadded is None:
            self._unpadded = self._try_without_padding()
        return self._unpadded

    def _try_without_padding(self) -> bool:
        try:
            check_padding_free(
                self.backbone,
                causal=not self._masked,
                first_position=self._first_position,
                longest=most_positions(self.backbone) or 64,
            )
        except ConfigError as reason:
            if self.padding_free is True:
                raise
            warnings.warn(f"{reason} (sorted and padded instead)", stacklevel=2)
            return False
        return True

    @property
    def _first_position(self) -> int:
        return first_position(self.backbone)

    def encode(self, texts: Sequence[str], side: Side = "x", progress: bool = True) -> np.ndarray:
        """Embeddings of texts as one side of a pair, batched by length; mode and random state stay untouched.

        Args:
            texts: any strings, the empty one included.
            side: ``"x"`` or ``"y"``: whose delimiters and maximal length to use.
            progress: show a progress bar.

        Returns:
            Unit vectors, float32 ``(len(texts), dim)``, in the order of ``texts``.

        Raises:
            ConfigError: unknown side, or something that is not a string among the texts.
        """
        if isinstance(texts, str):
            raise ConfigError("texts: a list of strings is needed, not one string")
        out = np.empty((len(texts), self.dim), np.float32)
        with tqdm(total=len(texts), unit="text", disable=not progress) as bar:
            for start in range(0, len(texts), _SLICE):
                batch = self.tokenization(texts[start : start + _SLICE], side)
                out[start : start + len(batch)] = self.encode_tokens(batch, bar.update)
        return out

    def encode_tokens(self, batch: Ragged, done: Callable[[int], Any] = lambda rows: None) -> np.ndarray:
        """:meth:`encode` for texts that :attr:`tokenization` has turned into ids, ``n`` of them, on any device.

        Args:
            batch: the ids.
            done: is told after each chunk how many texts it held.

        Returns:
            Unit vectors, float32 ``(n, dim)``, in the batch's order.
        """
        out = np.empty((len(batch), self.dim), np.float32)
        budget = min(self.chunk_tokens, _CPU_TOKENS) if self.device.type == "cpu" else self.chunk_tokens
        training = [part for part in self.modules() if part.training]
        self.eval()
        try:
            with torch.no_grad():
                for index in plan_chunks(batch.lengths, budget) if len(batch) else []:
                    vectors = self._encode_chunk(batch.select(index).to(self.device))
                    out[index.numpy()] = vectors.float().cpu().numpy()
                    done(len(index))
        finally:
            for part in training:
                part.training = True
        return out

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, the shape, the tokenisation and the attention: equal means the same embeddings."""
        digest = xxhash.xxh3_128(f"{self.tokenization.fingerprint} {self.attention}".encode())
        digest.update(shape_of(self.backbone.config))
        for key, value in sorted(self.state_dict().items()):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain strings and numbers that, with the weights, rebuild this encoder without any other file."""
        return {
            "name": self.name,
            "config": json.dumps(self.backbone.config.to_dict()),  # type: ignore[operator,union-attr]
            "tokenization": self.tokenization.to_dict(),
            "attention": self.attention,
            "chunk_tokens": self.chunk_tokens,
            "activation_memory": self.memory.setting,
            "padding_free": self.padding_free,
            "compile": self.compiled,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> TextEncoder:
        """The encoder of :meth:`to_dict`, with fresh weights; the random state stays untouched.

        Raises:
            ConfigError: a model type that the installed transformers does not know.
        """
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        tokenization = PairTokenizer.from_dict(state["tokenization"])
        config = restore_config(json.loads(state["config"]))
        # Keys that say how, not what, may be younger than the checkpoint.
        how = {key: state.get(key, default) for key, default in _HOW_DEFAULTS.items()}
        options = {"name": state["name"], "attention": state["attention"], **how}
        with torch.random.fork_rng(devices=[]):
            model = build_model(config, None, attention=state["attention"])
            self._assemble(model, tokenization, **options)
        return self

    @classmethod
    def load(cls, path: str | Path) -> TextEncoder:
        """The encoder inside a checkpoint of ``cpt fit``, on the CPU and in eval mode; needs no network.

        Raises:
            ConfigError: no such file, not a checkpoint of this package, or one of a subclass, which loads itself.
        """
        checkpoint = read_checkpoint(path)
        if cls is TextEncoder:
            cure = "load it by that class's own `load`, and hand it to cpt as py:MODULE:FUNCTION"
            refuse_another_class(path, checkpoint, cure)
        # What made the training faster is not asked of whoever reads a few texts.
        asked = checkpoint["encoder"]
        how = {"compile": False, "padding_free": asked.get("padding_free") and "auto"}
        self = cls.from_dict({**asked, **how})
        weights = {
            key.removeprefix("encoder."): value
            for key, value in checkpoint["state_dict"].items()
            if key.startswith("encoder.")
        }
        self.load_state_dict(weights)
        self.name = run_name(Path(path), checkpoint)
        self.steps = checkpoint.get("global_step")
        return self.eval()


def unit(vectors: Tensor) -> Tensor:
    """Rows scaled to length 1 in float32 or float64, outside autocast; a zero row stays zero, its gradient finite."""
    with torch.autocast(vectors.device.type, enabled=False):
        wide = vectors if vectors.dtype == torch.float64 else vectors.float()
        return F.normalize(wide, dim=-1, eps=1e-6)
