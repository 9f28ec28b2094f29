"""A plain transformers folder: the backbone, a tokenizer for each side, and the ten lines that use them."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.export.tokenizers import as_transformers, plain_tokenizer, side_tokenizer
from lightning_cpt.tokenization import SIDES

NEEDS = ("transformers",)
FOLDERS = {"x": "query", "y": "document"}

_USAGE = """\
import torch
from transformers import AutoModel, AutoTokenizer

folder = "."  # where this card lies, or the repository's name
model = AutoModel.from_pretrained(folder{options}).eval()
tokenizers = {{side: AutoTokenizer.from_pretrained(folder, subfolder=side) for side in ("query", "document")}}


@torch.no_grad()
def encode(texts, side):  # "query" (side x) or "document" (side y) -> unit vectors, (n, {dim})
    batch = tokenizers[side](texts, truncation=True, padding=True, return_tensors="pt")
    ends = batch["attention_mask"].sum(1) - 1  # the end token's place
    states = model(**batch).last_hidden_state[torch.arange(len(ends)), ends]
    return torch.nn.functional.normalize(states, dim=-1).numpy()
"""

_USAGE_ONCE = """\
import torch
from transformers import AutoModel, AutoTokenizer

folder = "."  # where this card lies, or the repository's name
model = AutoModel.from_pretrained(folder{options}).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
sides = {sides}  # start token, room, end token


@torch.no_grad()
def encode(texts, side):  # "query" (side x) or "document" (side y) -> unit vectors, (n, {dim})
    start, room, end = sides[side]
    once = [list(dict.fromkeys(ids))[:room] for ids in tokenizer(texts)["input_ids"]]  # each token once
    rows = [torch.tensor([start, *ids, end]) for ids in once]
    ends = torch.tensor([len(row) - 1 for row in rows])  # the end token's place
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value={pad})
    mask = (torch.arange(ids.shape[1]) <= ends[:, None]).long()
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state[torch.arange(len(ends)), ends]
    return torch.nn.functional.normalize(states, dim=-1).numpy()
"""


def write(encoder: TextEncoder, folder: Path) -> str:
    """Write the folder; returns the code of its card."""
    backbone: Any = encoder.backbone
    backbone.save_pretrained(folder)
    tokens = encoder.tokenization
    options = ", add_pooling_layer=False" if makes_pooler(backbone) else ""
    if not tokens.drop_repeats:
        for side in SIDES:
            made = as_transformers(side_tokenizer(tokens, side), tokens, tokens.max_length[side])
            made.save_pretrained(folder / FOLDERS[side])
        as_transformers(side_tokenizer(tokens, "x"), tokens, tokens.max_length["x"]).save_pretrained(folder)
        return _USAGE.format(options=options, dim=encoder.dim)
    fast = plain_tokenizer(tokens)
    as_transformers(fast, tokens, None).save_pretrained(folder)
    sides = {}
    for side in SIDES:
        start, end = (fast.token_to_id(token) for token in tokens.delimiters[side])
        sides[FOLDERS[side]] = (start, tokens.max_length[side] - 2, end)
    shown = json.dumps({key: list(value) for key, value in sides.items()})
    return _USAGE_ONCE.format(options=options, sides=shown, dim=encoder.dim, pad=tokens.pad_id)


def makes_pooler(backbone: Any) -> bool:
    """Whether the class would make a pooler of its own, which is not among our weights and would come out random."""
    return "add_pooling_layer" in inspect.signature(type(backbone).__init__).parameters
