"""An ONNX graph from token ids to unit vectors, and a tokenizer.json for each side, for onnxruntime anywhere."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.export.graph import EachOnce, Graph
from lightning_cpt.export.tokenizers import plain_tokenizer, side_tokenizer
from lightning_cpt.tokenization import SIDES, PairTokenizer

FOLDERS = {"x": "query", "y": "document"}
_OPSET = 18  # the first whose ScatterElements knows "min"
_ONE_FILE = 1_500_000_000  # bytes of weights; a protobuf file holds 2 GB

_USAGE = """\
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder = "."  # where this card lies
session = onnxruntime.InferenceSession(f"{{folder}}/model.onnx")
tokenizers = {{side: Tokenizer.from_file(f"{{folder}}/{{side}}.json") for side in ("query", "document")}}
for tokenizer in tokenizers.values():
    tokenizer.encode_special_tokens = True  # a delimiter spelt in a text is text


def encode(texts, side):  # "query" (side x) or "document" (side y) -> unit vectors, (n, {dim})
    rows = tokenizers[side].encode_batch(list(texts))  # {what}
    batch = {{"input_ids": [row.ids for row in rows], "attention_mask": [row.attention_mask for row in rows]}}
    return session.run(None, {{name: np.array(ids, dtype=np.int64) for name, ids in batch.items()}})[0]
"""


def write(encoder: TextEncoder, folder: Path) -> str:
    """Write the folder; returns the code of its card.

    Raises:
        ConfigError: a package is missing, or the backbone cannot be made a graph.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"export: --to onnx needs: pip install onnx onnxruntime onnxscript ({error})"
        ) from error
    tokens = encoder.tokenization
    once = _once(tokens)
    for side in SIDES:
        fast = side_tokenizer(tokens, side)
        if once is None:
            fast.enable_truncation(tokens.max_length[side])
        fast.enable_padding(pad_id=tokens.pad_id, pad_token=fast.id_to_token(tokens.pad_id))
        fast.save(str(folder / f"{FOLDERS[side]}.json"))
    _write_graph(Graph(encoder.backbone, once).eval(), tokens, folder / "model.onnx")
    what = (
        "padded; the graph drops repeats and truncates" if once else "truncated and padded, as its file says"
    )
    return _USAGE.format(dim=encoder.dim, what=what)


def _once(tokens: PairTokenizer) -> EachOnce | None:
    if not tokens.drop_repeats:
        return None
    if tokens.delimiters["x"] == tokens.delimiters["y"] and tokens.max_length["x"] != tokens.max_length["y"]:
        raise ConfigError(
            "export: with drop_repeats the graph truncates, and tells the sides by their delimiters, which are the same "
            "here while max_length_x and max_length_y differ; take --to transformers"
        )
    fast = plain_tokenizer(tokens)
    ids = {side: tuple(fast.token_to_id(token) for token in tokens.delimiters[side]) for side in SIDES}
    return EachOnce(tokens, ids)  # type: ignore[arg-type]


def _write_graph(graph: Graph, tokens: PairTokenizer, path: Path) -> None:
    size = sum(p.numel() * p.element_size() for p in graph.parameters())
    ids = torch.arange(1, 25).view(2, 12) % len(tokens)
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph,
                (ids, mask),
                str(path),
                input_names=["input_ids", "attention_mask"],
                output_names=["sentence_embedding"],
                dynamic_shapes={"input_ids": dynamic, "attention_mask": dynamic},
                opset_version=_OPSET,
                dynamo=True,
                external_data=size > _ONE_FILE,
                verbose=False,
            )
    except Exception as error:  # as many classes as there are operators
        reason = str(error).strip().splitlines()
        raise ConfigError(
            f"export: this backbone cannot be made an ONNX graph ({reason[-1] if reason else type(error).__name__}); take "
            "--to transformers"
        ) from error
