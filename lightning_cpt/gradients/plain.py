"""Our loss once more, as plain as can be: the whole matrix, masks pair by pair, torch's cross-entropy, autograd.

The loss of a run takes its gradient by hand. Were that wrong, it would be wrong in the same way on one rank and on
many, so the full batch's gradient has to come from elsewhere.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_cpt.losses import Contrast, InfoNCE, Keys


class PlainInfoNCE(InfoNCE):
    """The loss of one process's pairs.

    Args:
        given: whose parameter and mask to take.
    """

    def __init__(self, given: InfoNCE) -> None:
        super().__init__()
        self.mask, self.log_scale = given.mask, given.log_scale

    def forward(
        self, x: Tensor, y: Tensor, negatives: Tensor | None = None, keys: Keys | None = None
    ) -> Contrast:
        hard = x[:0] if negatives is None else negatives  # (m, d)
        cosines = torch.stack([torch.stack([a @ b for b in [*y, *hard]]) for a in x])  # (n, n + m)
        logits = cosines * self.log_scale.exp()
        if keys is not None:
            logits = logits.masked_fill(_right_answers(keys, self.mask), float("-inf"))
        own = torch.arange(len(x))
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits[:, : len(x)].T, own)) / 2
        return Contrast(loss, *[loss.new_zeros(())] * 4)


def _right_answers(keys: Keys, mask: list[int]) -> Tensor:
    """Where a column is a right answer to a row that is not its own, ``(n, n + m)``."""
    pairs, negatives = keys.pairs.tolist(), keys.negatives.tolist()
    rows = []
    for i, mine in enumerate(pairs):
        same = [
            i != j and any(mine[column] == other[column] for column in mask) for j, other in enumerate(pairs)
        ]
        rows.append(same + [text == mine[1] for text in negatives])
    return torch.tensor(rows)
