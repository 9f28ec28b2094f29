"""Pairs out of a Hugging Face data set, streamed or whole; what a recipe names as class_path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from data_prep.errors import DataError
from lightning_cpt.errors import ConfigError


class Rows:
    """Which columns of a row make a pair.

    Args:
        x, y: Columns of the two sides.
        names: Columns of id, negatives and document, where there are.
    """

    def __init__(self, x: str, y: str, **names: str | None) -> None:
        self._columns = {"x": x, "y": y, **{field: column for field, column in names.items() if column}}

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The pair in a row.

        Raises:
            DataError: a column that the row does not have.
        """
        for column in self._columns.values():
            if column not in row:
                raise DataError(f"no column {column!r}; there are {', '.join(map(str, row))}")
        return {field: row[column] for field, column in self._columns.items()}


class Table:
    """The pairs of a data set that has a length."""

    def __init__(self, data: Any, rows: Rows) -> None:
        self._data, self._rows = data, rows
        self.fingerprint = str(data._fingerprint)  # of the rows and of what was done to them

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self._rows(self._data[number])


class Shuffled:
    """The pairs of a streamed data set that is shuffled: another order each pass; its buffer is no part of a state."""

    def __init__(self, data: Any, rows: Rows) -> None:
        self._data, self._rows = data, rows

    def set_epoch(self, number: int) -> None:
        self._data.set_epoch(number)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self._rows(row) for row in self._data)


class Streamed(Shuffled):
    """The pairs of a streamed data set in its own order, which can be taken up where it was left."""

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self._data.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._data.load_state_dict(state)


def pairs(
    path: str,
    *,
    x: str = "x",
    y: str = "y",
    id: str | None = None,
    negatives: str | None = None,
    document: str | None = None,
    split: str = "train",
    name: str | None = None,
    data_files: str | list[str] | None = None,
    revision: str | None = None,
    streaming: bool = True,
    shuffle_buffer: int = 0,
    seed: int = 0,
) -> Table | Shuffled:
    """The pairs of a data set of the hub, or of local files (``path: json``, ``parquet`` or ``csv`` and ``data_files``).

    Args:
        path: Name on the hub, a folder, or a kind of file.
        x, y: Columns of the two sides.
        id, negatives, document: Columns of these fields of a record, where there are.
        split: Of the data set.
        name: Of its configuration.
        data_files: Files, where ``path`` is their kind.
        revision: Branch, tag or commit on the hub.
        streaming: Read it as it comes, without a length; false downloads and converts it first, and then it has one.
        shuffle_buffer: Records among which a streamed one is shuffled; then a resume reads again what came before.
        seed: Of that shuffling.

    Raises:
        ConfigError: the package is not installed, or the data set cannot be opened.
    """
    try:
        from datasets import disable_progress_bars, load_dataset
    except ModuleNotFoundError:
        raise ConfigError("datasets is not installed; `pip install 'lightning-cpt[hf]'`") from None
    disable_progress_bars()
    try:
        data = load_dataset(
            path, name, split=split, data_files=data_files, revision=revision, streaming=streaming
        )
    except Exception as error:  # it has as many classes of errors as ways to fail
        what = " ".join(str(error).split())[:300]
        raise ConfigError(f"init_args: {path}: cannot be opened: {type(error).__name__}: {what}") from error
    rows = Rows(x, y, id=id, negatives=negatives, document=document)
    if not streaming:
        return Table(data, rows)
    if shuffle_buffer:
        return Shuffled(data.shuffle(seed=seed, buffer_size=shuffle_buffer), rows)
    return Streamed(data, rows)
