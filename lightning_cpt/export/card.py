"""The model card: what the model is, how to use it, what it was trained on, what it scores; filled from the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.files import write_atomic
from eval_suite.results import Result
from lightning_cpt._version import __version__
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.export.facts import licences
from lightning_cpt.export.markdown import cell, fenced, plain, without_credentials, without_secrets
from lightning_cpt.export.place import TAG

NAME = "README.md"
_LIBRARY = {"sentence-transformers": "sentence-transformers", "transformers": "transformers", "onnx": "onnx"}
_NEEDS = {
    "sentence-transformers": "pip install 'sentence-transformers>=6'",
    "transformers": "pip install 'transformers>=5' torch",
    "onnx": "pip install onnxruntime tokenizers numpy",
}
_CITATION = """\
@article{neelakantan2022text,
  title   = {Text and Code Embeddings by Contrastive Pre-Training},
  author  = {Arvind Neelakantan and Tao Xu and Raul Puri and Alec Radford and Jesse Michael Han and others},
  journal = {arXiv preprint arXiv:2201.10005},
  year    = {2022}
}
@software{lightning_cpt,
  title   = {lightning_cpt: contrastive pre-training of text and code encoders on PyTorch Lightning},
  author  = {{The lightning_cpt developers}},
  version = {VERSION}
}"""


@dataclass
class Card:
    """What the card is made of.

    Args:
        name: the run and its step.
        to: the format.
        step: optimizer steps.
        encoder: the checkpoint's.
        recipe: its configuration as YAML.
        data: the data card's tables; empty without one.
        folders: the recipe's data folders.
        scores: results of this encoder.
        code: how to use the folder; it is what the comparison runs.
        comparison: the outcome of the comparison; empty before it.
    """

    name: str
    to: str
    step: int
    encoder: TextEncoder
    recipe: str
    data: str
    folders: list[str]
    scores: list[Result] = field(default_factory=list)
    code: str = ""
    comparison: str = ""


def write_card(folder: Path, card: Card) -> None:
    """Write the card as README.md, whole."""
    write_atomic(folder / NAME, ("\n".join(_lines(card)).rstrip() + "\n").encode())


def _lines(card: Card) -> Iterator[str]:
    encoder, tokens = card.encoder, card.encoder.tokenization
    weights = sum(p.numel() for p in encoder.parameters())
    kind = encoder.backbone.config.model_type  # type: ignore[union-attr]
    yield from ("---", f"library_name: {_LIBRARY[card.to]}", "pipeline_tag: sentence-similarity", "tags:")
    yield from ("- embeddings", "- contrastive-learning", f"- {TAG}", "---", f"# {plain(card.name)}", "")
    yield (
        f"A {kind} of {weights / 1e6:,.1f} M weights that turns texts into unit vectors of {encoder.dim} numbers, trained by "
        f"contrastive pre-training with lightning_cpt {__version__} for {card.step:,} steps. Similarity is the dot product."
    )
    yield ""
    yield "| side | for | between | most tokens |\n| --- | --- | --- | --- |"
    for side, name, use in (
        ("x", "query", "queries, docstrings; texts compared with their like"),
        ("y", "document", "documents, code"),
    ):
        start, end = (cell(f"`{token}`") for token in tokens.delimiters[side])
        yield f"| {name} (side {side}) | {use} | {start} {end} | {tokens.max_length[side]} |"
    yield ""
    yield "The vector is the last hidden state at the end token, which is appended after truncation, scaled to length 1."
    if tokens.drop_repeats:
        yield "Each token of a text is taken once, at its first place, before truncation."
    yield from ("", "## Usage", "", f"    {_NEEDS[card.to]}", "", "```python", card.code.rstrip(), "```", "")
    if card.comparison:
        yield f"This very code was run after the export: {card.comparison}."
    yield from ("", "## Scores", "", *_scores(card.scores), "", "## Training data", "", *_data(card))
    recipe = without_secrets(card.recipe).rstrip() or "# the checkpoint has none"
    yield from ("", "## Recipe", "", fenced(recipe, "yaml"), "")
    yield from ("## Citation", "", "```bibtex", _CITATION.replace("VERSION", __version__), "```")


def _scores(results: list[Result]) -> Iterator[str]:
    if not results:
        yield "None were given to the export (`--results DIR`)."
        return
    yield "In per cent, with 95 % bootstrap intervals.\n"
    yield "| task | metric | score | interval | protocol | side |\n| --- | --- | --- | --- | --- | --- |"
    for result in results:
        between = f"{result.interval[0]:.2f} to {result.interval[1]:.2f}" if result.interval else "-"
        names = (cell(plain(name)) for name in (result.task, result.metric))
        protocol, side = (cell(plain(name)) for name in (result.protocol, result.side))
        yield f"| {' | '.join(names)} | {result.score:.2f} | {between} | {protocol} | {side} |"


def _data(card: Card) -> Iterator[str]:
    if not card.data:
        where = ", ".join(f"`{without_credentials(folder)}`" for folder in card.folders) or "not stated"
        yield f"Folder: {where}. Its data card was not at hand, so sources and licences are not stated here."
        return
    names = licences(card.data)
    shown = ", ".join(names) if names else "not stated"
    yield f"Licences of the texts it was trained on: {shown}. The model may be bound by them.\n"
    yield card.data
