"""The encoder of both sides: delimiters, tokenizer, backbone, the end token's last state, a unit vector."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import xxhash
from torch import Tensor, nn
from tqdm.auto import tqdm

from lightning_cpt.backbone import (
    Attention,
    build_config,
    build_model,
    check_attention,
    most_positions,
    output_width,
    restore_config,
)
from lightning_cpt.checkpoint import read_checkpoint, run_name
from lightning_cpt.chunks import encode_in_chunks, plan_chunks
from lightning_cpt.errors import ConfigError
from lightning_cpt.ragged import Ragged
from lightning_cpt.tokenization import SIDES, PairTokenizer, Side

_SLICE = 16384  # texts that `encode` holds as token ids at a time
_CPU_TOKENS = 2048  # activations that stay in a CPU's cache: 1.35x as fast as 16384 (MiniLM, one core)


class TextEncoder(nn.Module):
    """One transformer for x and y; the embedding is its last hidden state at the end token (paper, section 2.1).

    Args:
        backbone: hub name or local folder of any transformers decoder or encoder; null builds it from ``config``.
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
        recompute: free each chunk's activations and compute them again in the backward pass: memory for time.
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
        recompute: bool = True,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
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
        self._assemble(
            model,
            tokenization,
            name=backbone if backbone and pretrained else f"{model_config.model_type}, untrained",
            attention=attention,
            chunk_tokens=chunk_tokens,
            recompute=recompute,
        )

    def _assemble(
        self,
        model: nn.Module,
        tokenization: PairTokenizer,
        *,
        name: str,
        attention: Attention,
        chunk_tokens: int,
        recompute: bool,
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
        self.recompute = recompute
        self.dim = output_width(model)
        # Right padding changes nothing before it under causal attention, so those chunks need no mask. On the
        # meta device nothing can be measured: masked, which is right for both.
        meta = any(p.is_meta for p in model.parameters())
        self._masked = meta or not check_attention(model, attention)

    def forward(self, batch: Ragged) -> Tensor:
        """Unit vectors of tokenised texts, with gradients, at least float32: ``(n, dim)``."""
        return encode_in_chunks(
            self._encode_chunk, batch, token_budget=self.chunk_tokens, recompute=self.recompute
        )

    def _encode_chunk(self, chunk: Ragged) -> Tensor:
        tokens = chunk.pad(self.tokenization.pad_id)  # (m, longest)
        ragged = self._masked and len(tokens) * tokens.shape[1] > chunk.ids.numel()
        states = self.backbone(input_ids=tokens, attention_mask=chunk.mask().long() if ragged else None)
        ends = (chunk.lengths - 1).to(tokens.device)  # (m,)
        return unit(states.last_hidden_state[torch.arange(len(ends), device=tokens.device), ends])  # (m, dim)

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
        budget = min(self.chunk_tokens, _CPU_TOKENS) if self.device.type == "cpu" else self.chunk_tokens
        training = [part for part in self.modules() if part.training]
        self.eval()
        try:
            with torch.no_grad(), tqdm(total=len(texts), unit="text", disable=not progress) as bar:
                for start in range(0, len(texts), _SLICE):
                    batch = self.tokenization(texts[start : start + _SLICE], side)
                    for index in plan_chunks(batch.lengths, budget):
                        vectors = self._encode_chunk(batch.select(index).to(self.device))
                        out[start + index.numpy()] = vectors.float().cpu().numpy()
                        bar.update(len(index))
        finally:
            for part in training:
                part.training = True
        return out

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, the tokenisation and the attention: equal means the same embeddings."""
        digest = xxhash.xxh3_128(f"{self.tokenization.fingerprint} {self.attention}".encode())
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
            "recompute": self.recompute,
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
        options = {key: state[key] for key in ("name", "attention", "chunk_tokens", "recompute")}
        with torch.random.fork_rng(devices=[]):
            model = build_model(config, None, attention=state["attention"])
            self._assemble(model, tokenization, **options)
        return self

    @classmethod
    def load(cls, path: str | Path) -> TextEncoder:
        """The encoder inside a checkpoint of ``cpt fit``, on the CPU and in eval mode; needs no network.

        Raises:
            ConfigError: no such file, or not a checkpoint of this package.
        """
        checkpoint = read_checkpoint(path)
        self = cls.from_dict(checkpoint["encoder"])
        weights = {
            key.removeprefix("encoder."): value
            for key, value in checkpoint["state_dict"].items()
            if key.startswith("encoder.")
        }
        self.load_state_dict(weights)
        self.name = run_name(Path(path), checkpoint)
        return self.eval()


def unit(vectors: Tensor) -> Tensor:
    """Rows scaled to length 1 in float32 or float64, outside autocast; a zero row stays zero, its gradient finite."""
    with torch.autocast(vectors.device.type, enabled=False):
        wide = vectors if vectors.dtype == torch.float64 else vectors.float()
        return F.normalize(wide, dim=-1, eps=1e-6)


@dataclass(frozen=True)
class QuietEncoder:
    """A TextEncoder by eval_suite's protocol, without a progress bar of its own: eval_suite has one.

    Args:
        encoder: What encodes.
        name: Its name in results.
        fingerprint: What stands for its weights in results and caches.
    """

    encoder: TextEncoder
    name: str
    fingerprint: str

    def encode(self, texts: list[str], side: Side) -> np.ndarray:
        return self.encoder.encode(texts, side, progress=False)


def quiet(encoder: TextEncoder) -> QuietEncoder:
    """The encoder under its own name and the hash of its weights as they are now."""
    return QuietEncoder(encoder, encoder.name, encoder.fingerprint)


def checkpoint_encoder(rest: str) -> QuietEncoder:
    """What eval_suite loads for ``ckpt:PATH``: the encoder named after its run's folder and step."""
    return quiet(TextEncoder.load(rest))
