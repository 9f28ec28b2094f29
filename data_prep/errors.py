"""The errors of data_prep: each is one line that names the file or record and the cure."""

from __future__ import annotations


class DataError(ValueError):
    """Something is wrong with the user's data or arguments."""


class CorruptChunk(DataError):
    """A chunk's bytes are not those that were written.

    Attributes:
        shard: The tar's file name.
        chunk: The chunk's number in the folder as it was opened, the one that ``read_chunk`` was called with.
        number: Its number in the shard, which is that of its member in the tar.
        cure: The command that leaves the chunk out.
    """

    def __init__(self, shard: str, chunk: int, message: str, number: int = -1, cure: str = "") -> None:
        super().__init__(message)
        self.shard = shard
        self.chunk = chunk
        self.number = number
        self.cure = cure

    def __reduce__(self) -> tuple[type[CorruptChunk], tuple[str, int, str, int, str]]:
        # A worker process hands its exception over by pickling it.
        return type(self), (self.shard, self.chunk, str(self), self.number, self.cure)
