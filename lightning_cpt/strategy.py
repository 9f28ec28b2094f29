"""FSDP2: weights, gradients and optimizer state in pieces over all ranks, for backbones that fit on no GPU whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from lightning.pytorch.strategies import (
    DDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
    StrategyRegistry,
)
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from lightning_cpt.backbone import blocks
from lightning_cpt.errors import ConfigError

NAME = "fsdp2"


class FSDP2Strategy(ModelParallelStrategy):
    """Lightning's ModelParallelStrategy with all ranks sharing the data, and checkpoints of one file.

    Such a checkpoint holds the whole weights, as one of DDP does: it goes on under any strategy and number of
    ranks, and every command of this package opens it.

    Args:
        process_group_backend: nccl or gloo; null takes what the device needs.
        timeout: Seconds that a rank waits for the others in one exchange.
    """

    def __init__(self, process_group_backend: str | None = None, timeout: float = 1800.0) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
            timeout=timedelta(seconds=timeout),
        )

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def register() -> None:
    """Make the strategy known to `trainer.strategy` by its name."""
    if NAME not in StrategyRegistry.available_strategies():
        StrategyRegistry.register(NAME, FSDP2Strategy, description=FSDP2Strategy.__doc__)


def check_strategy(strategy: Strategy) -> None:
    """Refuse those under which gradient, weight decay or checkpoints would not be what the docs say.

    Raises:
        ConfigError: neither one device, nor DDP, nor FSDP2 with checkpoints of one file.
    """
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy | ModelParallelStrategy):
        raise ConfigError(
            f"trainer.strategy: {type(strategy).__name__} is not known here; use auto, ddp or {NAME}"
        )
    if isinstance(strategy, ModelParallelStrategy) and strategy._save_distributed_checkpoint:
        raise ConfigError(
            f"trainer.strategy: its checkpoints would be folders, which nothing else here opens; use {NAME}, or set "
            "save_distributed_checkpoint: false"
        )


def shard_modules(encoder: nn.Module, loss: nn.Module, mesh: Any) -> None:
    """Cut the weights of encoder and loss over the ranks of ``mesh``: each layer of the backbone gathers its own
    when it runs. Float32 travels, and autocast decides what runs in 16 bits, as under DDP: gathered in 16 bits, what
    autocast leaves in float32, such as the norms' weights, would be rounded too.

    Raises:
        ConfigError: a mesh that splits single layers too.
    """
    if mesh["tensor_parallel"].size() != 1:
        raise ConfigError(f"trainer.strategy: layers cannot be split over ranks here; use {NAME}")
    ranks = mesh["data_parallel"]
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    for layer in blocks(encoder):
        fully_shard(layer, mesh=ranks, mp_policy=policy)
    fully_shard(encoder, mesh=ranks, mp_policy=policy)
    fully_shard(loss, mesh=ranks, mp_policy=policy)
