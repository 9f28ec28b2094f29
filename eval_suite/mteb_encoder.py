"""An encoder of this package as one of mteb's, under its own name and revision and with both its sides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ScoringFunction
from mteb.types import PromptType

from eval_suite.encoder import Encoder, encode_texts, facts, symmetric_side

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from torch.utils.data import DataLoader

ORGANISATION = "lightning_cpt"  # mteb's names have two parts


class MtebEncoder(AbsEncoder):
    """mteb's EncoderProtocol over an Encoder: queries are side x, documents y, everything else the symmetric side.

    The revision holds the weights' hash. mteb gives every model that lacks one the same place in its cache, so
    that one checkpoint's scores come back as another's.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.model = encoder
        known = facts(encoder)
        step = f"step-{known['step']}-" if "step" in known else ""
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={
                "name": f"{ORGANISATION}/{_safe(encoder.name)}",
                "revision": f"{step}{_safe(encoder.fingerprint)[:16]}",
                "n_parameters": known.get("parameters"),
                "max_tokens": known.get("max_length"),
                "similarity_fn_name": ScoringFunction.COSINE,
                "framework": ["PyTorch"],
            }
        )

    def encode(
        self,
        inputs: DataLoader[Any],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """float32 (n, d): the texts of all batches, in their order."""
        texts = [text for batch in inputs for text in batch["text"]]
        sides = {PromptType.query: "x", PromptType.document: "y"}
        side = sides[prompt_type] if prompt_type is not None else symmetric_side(self.model)
        return encode_texts(self.model, texts, side)


def _safe(name: str) -> str:
    """Letters, digits and -._ only: both become names of folders."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
