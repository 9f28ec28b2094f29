"""One pool of ranks for all tests here, and plug-ins that break the law in known ways."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lightning_cpt.gradients.cases import Case
from lightning_cpt.gradients.check import Found, build_twin, check, finds_unused, pickled
from lightning_cpt.gradients.ranks import Ranks

PLUGINS = """
import os, time
import torch
import torch.distributed as dist
from torch import nn
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.gather import all_gather_with_grad, rank_and_world_size
from lightning_cpt.losses import InfoNCE, info_nce

def put_back(local):
    rank, world_size = rank_and_world_size()
    rows = list(all_gather_with_grad(local).detach().chunk(world_size))
    rows[rank] = local
    return torch.cat(rows)

class TimesWorldSize(InfoNCE):
    def forward(self, x, y, negatives=None, keys=None):
        contrast = super().forward(x, y, negatives, keys)
        return contrast._replace(loss=contrast.loss * rank_and_world_size()[1])

class DetachedColumns(InfoNCE):
    def forward(self, x, y, negatives=None, keys=None):
        rank, world_size = rank_and_world_size()
        rows = {"all_x": put_back(x), "all_y": put_back(y)}
        return info_nce(x, y, self.scale, rank=rank, world_size=world_size, **rows)

class OwnSlicePutBack(InfoNCE):
    def forward(self, x, y, negatives=None, keys=None):
        x, y = put_back(x), put_back(y)
        return info_nce(x, y, self.scale, rank=0, world_size=1, all_x=x, all_y=y)

class WithHead(InfoNCE):
    def __init__(self, width: int = 32, initial_temperature: float = 0.07):
        super().__init__(initial_temperature)
        self.head = nn.Sequential(nn.Linear(width, 16), nn.Dropout(0.5))
        self.bias = nn.Parameter(torch.zeros(1))  # on all logits: changes nothing
    def forward(self, x, y, negatives=None, keys=None):
        x, y = (nn.functional.normalize(self.head(side), dim=1) for side in (x, y))
        contrast = super().forward(x, y)
        return contrast._replace(loss=contrast.loss + self.bias.sum() - self.bias.sum())

class Dies(InfoNCE):
    def forward(self, x, y, negatives=None, keys=None):
        if rank_and_world_size() == (1, 2):
            os._exit(3)
        return super().forward(x, y)

class Hangs(InfoNCE):
    def forward(self, x, y, negatives=None, keys=None):
        if rank_and_world_size() == (1, 2):
            time.sleep(1000)
        return super().forward(x, y)

class Fails(InfoNCE):
    def forward(self, x, y, negatives=None, keys=None):
        raise ValueError("no such thing\\nas this")

class Large(TextEncoder):
    def __init__(self, width: int = 4096):
        super().__init__(backbone=None, config={"model_type": "llama", "hidden_size": width}, tokenizer="no/such")
        self.projection = nn.Linear(self.dim, 8)
    def forward(self, batch):
        return nn.functional.normalize(self.projection(super().forward(batch)), dim=1)
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the module with the plug-ins above."""
    (tmp_path / "plugins.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "plugins", raising=False)
    return "plugins"


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    with Ranks(2) as pool:
        yield pool


@pytest.fixture
def found(ranks: Ranks) -> Callable[..., Found]:
    """What a small check of the quickstart with ``arguments`` finds."""

    def run(arguments: Sequence[str], cases: Sequence[Case] = (Case("one chunk"),)) -> Found:
        step, strategy = build_twin(["--config", "quickstart", *arguments])
        ranks.load(pickled(step))
        return check(ranks, (1, 2), unused=finds_unused(strategy), cases=cases, sequences=16)

    return run
