"""Made-up input for the benchmark of data preparation: documents, files of text, source files."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

FILE_BYTES = 2_000_000


def documents(rng: random.Random, count: int, *, copied: float = 0.1) -> list[str]:
    """Documents of 50 to 250 words; the last part of them are edited copies of the first."""
    words = vocabulary(rng)
    weights = [1 / (rank + 10) for rank in range(len(words))]
    originals = count - int(copied * count)
    texts = [" ".join(rng.choices(words, weights, k=rng.randrange(50, 250))) for _ in range(originals)]
    for number in range(count - originals):
        copy = texts[number].split()
        for _ in range(rng.randrange(1, max(2, len(copy) // 40))):
            copy[rng.randrange(len(copy))] = rng.choice(words)
        texts.append(" ".join(copy))
    return texts


def vocabulary(rng: random.Random) -> list[str]:
    return [
        f"{rng.choice('bcdfgklmnprst')}{''.join(rng.choices('aeioulmnrst', k=rng.randrange(1, 9)))}"
        for _ in range(20_000)
    ]


def write_texts(folder: Path, megabytes: int) -> None:
    """Files of sentences of 12 words, a blank line after every eight."""
    folder.mkdir(parents=True)
    rng, words = np.random.default_rng(0), np.array(vocabulary(random.Random(0)))
    for number in range(max(2, megabytes * 1_000_000 // FILE_BYTES)):
        size, parts = 0, []
        while size < FILE_BYTES:
            chosen = words[rng.integers(0, len(words), (8, 12))]
            parts.append(" ".join(f"{' '.join(row).capitalize()}." for row in chosen.tolist()))
            size += len(parts[-1])
        (folder / f"t{number:05d}.txt").write_text("\n\n".join(parts))


def write_code(folder: Path, megabytes: int) -> None:
    """Python packages of functions with docstrings."""
    rng, words = random.Random(0), vocabulary(random.Random(0))
    number, size = 0, 0
    while size < megabytes * 1_000_000:
        package = folder / f"p{number:05d}"
        package.mkdir(parents=True)
        functions = []
        for k in range(200):
            a, b, c = rng.choices(words, k=3)
            doc = " ".join(rng.choices(words, k=12)).capitalize()
            lines = "".join(
                f"    {rng.choice((a, b, c))} = {a} + {b} * {rng.randrange(10**6)}\n" for _ in range(12)
            )
            functions.append(f'def {a}_{k}({a}, {b}, {c}):\n    """{doc}."""\n{lines}    return {c}\n')
        text = "\n\n".join(functions)
        (package / "m.py").write_text(text)
        number, size = number + 1, size + len(text)
