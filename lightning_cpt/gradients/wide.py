"""Makes code that insists on float32 compute in float64, so that rounding cannot hide a wrong gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_cpt.encoder import TextEncoder
from lightning_cpt.ragged import Ragged


class InFloat64(TorchFunctionMode):
    """Inside, whatever asks for float32 gets float64.

    The norms of Llama and Qwen, rotary positions and CodeGen's attention go to float32 whatever comes in. That
    is right in training, but blurs a comparison in float64 to about 1e-7. Their formulas stay as they are.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.float:
            func = Tensor.double
        wide = {key: _widened(value) for key, value in (kwargs or {}).items()}
        return func(*(_widened(value) for value in args), **wide)


def _widened(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def compute_chunks_in_float64(encoder: TextEncoder) -> None:
    """Let each chunk enter InFloat64 by itself: the backward pass, which computes it again, leaves all modes."""
    encode = encoder._encode_chunk

    def wide(chunk: Ragged) -> Tensor:
        with InFloat64():
            return encode(chunk)

    encoder._encode_chunk = wide  # type: ignore[method-assign]
