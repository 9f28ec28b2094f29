"""What a run says of its plug-in sources: which promises of the order hold for them, and where validation comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lightning_cpt.data.items import SAMPLE, ItemPairs
from lightning_cpt.data.sources import Pairs, Source
from lightning_cpt.data.streams import StreamPairs


def promises(source: Source, splits: Mapping[str, Pairs], readers: int) -> Iterator[str]:
    """Lines for the log; none for shards, for which everything holds.

    Args:
        source: What the recipe says of it.
        splits: What came of it.
        readers: Workers of all ranks.
    """
    train = splits["train"]
    if isinstance(train, ItemPairs):
        yield (
            f"{source.key}: {train.count:,} pairs by number, in the order that shards would have; that they change is "
            f"noticed by their number and {min(SAMPLE, train.count)} of them, and ranks are not balanced by tokens"
        )
    if isinstance(train, StreamPairs):
        yield f"{source.key}: has no length: {_order(readers)}; {_resume(train)}; ranks are not balanced by tokens"
    if source.class_path and "validation" not in splits:
        yield (
            f"{source.key}: no validation split, so val/ has no scores of it; hold pairs out ({source.key}.held_out), or "
            f"name its arguments under {source.key}.splits.validation"
        )


def _order(readers: int) -> str:
    if readers == 1:
        return "its pairs are trained on in its own order, unshuffled"
    return (
        f"its pairs are trained on in its own order, unshuffled, and each of {readers} workers goes through all of them "
        f"to tokenise every {readers}th"
    )


def _resume(stream: StreamPairs) -> str:
    if stream.stateful:
        return "a resumed run goes on from its state"
    return "a resumed run reads again what came before, and is the same if it yields the same again"
