"""Hands every rank the bytes that the others have for it; what went wrong on one rank ends the step on all."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from data_prep.errors import DataError
from lightning_cpt.data.part import Part

_GOOD, _BAD = b"\0", b"\1"


class Exchange:
    """The exchange of parts of batches between the ranks of the default process group, over gloo.

    Made, and called, by every rank in the same order: both are collective.
    """

    def __init__(self) -> None:
        self.world_size = dist.get_world_size()
        # Token ids lie in the host's memory, which nccl does not reach.
        backend = str(dist.get_backend())
        self._group: Any = None if backend == "gloo" else dist.new_group(backend="gloo")

    def __call__(self, outgoing: Sequence[Part] | DataError) -> list[Part]:
        """Send one part to each rank, and get one from each.

        Raises:
            DataError: the lowest failed rank's, on every rank.
        """
        if isinstance(outgoing, DataError):
            messages = [_BAD + pickle.dumps(outgoing)] * self.world_size
        else:
            messages = [_GOOD + part.to_bytes() for part in outgoing]
        incoming = self._swap(messages)
        for message in incoming:
            if message[:1] == _BAD:
                error: DataError = pickle.loads(message[1:])
                error.on_all_ranks = True  # type: ignore[attr-defined]
                raise error
        return [Part.from_bytes(message[1:]) for message in incoming]

    def check_same(self, identity: dict[str, Any]) -> None:
        """Compare what each rank takes the data to be: with other records, or in another order, no batch would be whole.

        Args:
            identity: By field; plain values.

        Raises:
            DataError: on every rank, naming the first rank that differs from rank 0, and in what.
        """
        incoming = self._swap([pickle.dumps(identity)] * self.world_size)
        first, *others = (pickle.loads(message) for message in incoming)
        for rank, other in enumerate(others, 1):
            if other != first:
                field = next(name for name in first if other.get(name) != first[name])
                raise DataError(
                    f"data: rank {rank} has {field} {other.get(field)}, rank 0 has {first[field]}; every rank needs the same "
                    "data: copy the folder again, or make the class give each process the same records"
                )

    def _swap(self, messages: Sequence[bytes]) -> list[bytes]:
        sizes = torch.tensor([len(message) for message in messages])  # (world,)
        theirs = torch.empty_like(sizes)
        dist.all_to_all_single(theirs, sizes, group=self._group)
        sent = torch.frombuffer(bytearray(b"".join(messages)), dtype=torch.uint8)
        got = torch.empty(int(theirs.sum()), dtype=torch.uint8)
        dist.all_to_all_single(got, sent, theirs.tolist(), sizes.tolist(), group=self._group)
        return [part.numpy().tobytes() for part in got.split(theirs.tolist())]
