"""What a search found, on the terminal: in colours where there are any, and as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lightning_cpt.search.index import Hit

_SHOWN_CHARS = 300
# What is found was written by others: it must not move the cursor or rename the window.
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), "\ufffd")


def as_json(question: str, hits: Sequence[Hit]) -> str:
    """One line: the question, and what was found with its score."""
    found = [
        {"rank": hit.rank, "score": round(hit.score, 6), "id": hit.item.id, **hit.item.meta}
        | ({} if "signature" in hit.item.meta else {"text": hit.item.text})
        for hit in hits
    ]
    return json.dumps({"query": question, "hits": found}, ensure_ascii=False)


def show_texts(console: Console, question: str, hits: Sequence[Hit]) -> None:
    """Rank, cosine, id, and the beginning of each text."""
    console.print(Text(question, style="bold"), soft_wrap=True)
    for hit in hits:
        line = _ranked(hit)
        line.append(hit.item.id.translate(_CONTROLS), style="cyan")
        console.print(line, soft_wrap=True)
        text = " ".join(hit.item.text.split())
        text = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."
        console.print(Text(f"          {text.translate(_CONTROLS)}"), soft_wrap=True)
    console.print()


def show_functions(console: Console, root: Path, question: str, hits: Sequence[Hit]) -> None:
    """Rank, cosine, ``file:line``, the function's head and the first sentences of its documentation."""
    console.print(Text(question, style="bold"), soft_wrap=True)
    for hit in hits:
        meta = hit.item.meta
        base = root if root.is_dir() else root.parent
        line = _ranked(hit)
        line.append(f"{base / meta['path']}:{meta['line']}".translate(_CONTROLS), style="cyan")
        console.print(line, soft_wrap=True)
        console.print(_signature(meta["signature"], meta["name"]), soft_wrap=True)
        if doc := meta["doc"]:
            doc = doc if len(doc) <= _SHOWN_CHARS else doc[: _SHOWN_CHARS - 3] + "..."
            text = " ".join(doc.split()).translate(_CONTROLS)
            console.print(Text(f"          {text}", style="dim"), soft_wrap=True)
    console.print()


def _ranked(hit: Hit) -> Text:
    line = Text(f"{hit.rank:>3}  ", style="dim")
    line.append(f"{hit.score:.3f}", style="green")
    return line.append("  ")


def _signature(signature: str, name: str) -> Text:
    text = Text(f"          {signature.translate(_CONTROLS)}")
    text.highlight_words([name], style="bold yellow")
    return text
