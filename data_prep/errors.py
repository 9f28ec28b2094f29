"""The errors of data_prep: each is one line that names the file or record and the cure."""

from __future__ import annotations


class DataError(ValueError):
    """Something is wrong with the user's data or arguments."""


class CorruptChunk(DataError):
    """A chunk's bytes are not those that were written.

    Attributes: ``shard`` is the tar's file name, ``chunk`` the chunk's number in the whole folder.
    """

    def __init__(self, shard: str, chunk: int, message: str) -> None:
        super().__init__(message)
        self.shard = shard
        self.chunk = chunk

    def __reduce__(self) -> tuple[type[CorruptChunk], tuple[str, int, str]]:
        # A worker process hands its exception over by pickling it.
        return type(self), (self.shard, self.chunk, str(self))
