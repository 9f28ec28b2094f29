"""Run by itself: encode texts with the Python code of a card, with this project out of reach.

python -I fresh.py FOLDER TEXTS.json VECTORS.npz
"""

import json
import os
import re
import sys
from pathlib import Path

OURS = ("lightning_cpt", "data_prep", "eval_suite")


class Refuse:
    """An import hook: an export that needs this project would be none."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name.partition(".")[0] in OURS:
            raise ImportError(f"the export imports {name}")


def main(folder: str, given: str, made: str) -> None:
    """Read, encode both sides, write."""
    import numpy as np

    sys.meta_path.insert(0, Refuse())
    texts = json.loads(Path(given).read_text(encoding="utf-8"))
    card = Path(folder, "README.md").read_text(encoding="utf-8")
    code = re.search(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    if code is None:
        raise ValueError("the card has no code")
    os.chdir(folder)
    names: dict = {}
    exec(compile(code[1], "README.md", "exec"), names)
    sides: dict = {side: np.asarray(names["encode"](texts, side)) for side in ("query", "document")}
    if any(vectors.dtype != np.float32 for vectors in sides.values()):
        raise ValueError("the vectors are not float32")
    np.savez(made, **sides)


if __name__ == "__main__":
    main(*sys.argv[1:])
