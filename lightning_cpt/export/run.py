"""`cpt export`: write a folder beside its place, run its card's code in a fresh process, compare, put it there."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning_cpt.checkpoint import read_checkpoint, recipe, refuse_another_class
from lightning_cpt.console import say
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError
from lightning_cpt.export.card import Card, write_card
from lightning_cpt.export.compare import LIMIT, compare
from lightning_cpt.export.facts import data_card, scores
from lightning_cpt.export.place import placed
from lightning_cpt.export.texts import sample_texts

_WRITERS = {
    "sentence-transformers": "lightning_cpt.export.as_sentence_transformers",
    "transformers": "lightning_cpt.export.as_transformers",
    "onnx": "lightning_cpt.export.as_onnx",
}


def export(
    checkpoint: str,
    to: str,
    out: Path,
    *,
    overwrite: bool = False,
    results: Path | None = None,
    data_card: Path | None = None,
    texts: Path | None = None,
) -> float:
    """Write the encoder of a checkpoint for another tool.

    Args:
        checkpoint: of ``cpt fit``.
        to: ``sentence-transformers``, ``transformers`` or ``onnx``.
        out: the folder; it is there whole at the end, or as it was before.
        overwrite: replace a folder that is there.
        results: folder of ``cpt eval run``; the encoder's own go into the card.
        data_card: ``card.md`` of the training data.
        texts: file of further texts to compare, one a line.

    Returns:
        The largest difference from the checkpoint in any number of any unit vector.

    Raises:
        ConfigError: what cannot be read, written or expressed, or a difference above 1e-5.
    """
    encoder, state, config = _read(checkpoint)
    compared = sample_texts(encoder.tokenization, (config.get("data") or {}).get("folder"), texts)
    card = _card(encoder, state, config, to, results, data_card)
    writer: Callable[[TextEncoder, Path], str] = import_module(_WRITERS[to]).write
    with placed(out, overwrite=overwrite) as folder:
        say(f"writing {card.name} for {to}")
        card.code = writer(encoder, folder)
        write_card(folder, card)
        found = compare(encoder, folder, compared)
        if not found.largest <= LIMIT:
            raise ConfigError(
                f"export: {to} differs from the checkpoint by {found.largest:.1e} at side {found.side}, text {found.text!r}; "
                f"the limit is {LIMIT:.0e}, so nothing was written; this backbone cannot be exported so, try another --to"
            )
        card.comparison = found.line
        write_card(folder, card)
    print(f"{to}: {found.line}")
    print(f"exported: {out}")
    return found.largest


def _read(checkpoint: str) -> tuple[TextEncoder, dict[str, Any], dict[str, Any]]:
    """The encoder, the checkpoint and its recipe."""
    state = read_checkpoint(checkpoint)
    refuse_another_class(checkpoint, state, "what it computes is not known to `cpt export`")
    return TextEncoder.load(checkpoint), state, recipe(checkpoint, state)


def _card(
    encoder: TextEncoder,
    state: dict[str, Any],
    config: dict[str, Any],
    to: str,
    results: Path | None,
    card: Path | None,
) -> Card:
    folders = _data_folders(config)
    return Card(
        name=encoder.name,
        to=to,
        step=int(state.get("global_step", 0)),
        encoder=encoder,
        recipe=str(state.get("config", "")),
        data=data_card(folders, card),
        folders=folders,
        scores=scores(results, encoder.fingerprint) if results else [],
    )


def _data_folders(config: dict[str, Any]) -> list[str]:
    data = config.get("data") or {}
    sources = data.get("sources") or {}
    found = [
        data.get("folder"),
        *(source.get("folder") for source in sources.values() if isinstance(source, dict)),
    ]
    return [folder for folder in found if folder]
