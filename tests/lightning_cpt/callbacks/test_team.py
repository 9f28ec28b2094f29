"""What rank 0 is asked for comes back whole from all ranks, and an error on one of them reaches all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from lightning_cpt.callbacks.team import OutOfTime, Team, TeamEncoder, TokenCache, portable
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.ragged import Ragged
from lightning_cpt.tokenization import PairTokenizer

TEXTS = ["a", "def f(x): return x", "the quick brown fox", "", "one two three four five", "x" * 40, "b c"]


@pytest.fixture(scope="module")
def encoder(tiny_encoder: dict[str, Any]) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(**tiny_encoder).eval()


def test_one_process_is_its_own_team(encoder: TextEncoder) -> None:
    team = Team(None, TokenCache())
    for side in ("x", "y"):
        found = team.encode(encoder, TEXTS, side)
        assert np.array_equal(found, encoder.encode(TEXTS, side, progress=False))


def test_texts_are_tokenised_once(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], str]] = []
    real = PairTokenizer.__call__

    def counted(self: PairTokenizer, texts: list[str], side: Any) -> Ragged:
        asked.append((texts, side))
        return real(self, texts, side)

    monkeypatch.setattr(PairTokenizer, "__call__", counted)
    team = Team(None, TokenCache())
    first = team.encode(encoder, TEXTS, "x")
    assert np.array_equal(team.encode(encoder, TEXTS, "x"), first)
    team.encode(encoder, TEXTS, "y")
    team.encode(encoder, TEXTS[:2], "x")
    assert asked == [(TEXTS, "x"), (TEXTS, "y"), (TEXTS[:2], "x")]


def test_a_full_cache_keeps_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_cpt.callbacks.team._CACHED_BYTES", 40)
    cache, made = TokenCache(), []

    def make(key: str) -> Callable[[], Ragged]:
        def make() -> Ragged:
            made.append(key)
            return Ragged.from_lists([[1, 2, 3]])  # 24 bytes

        return make

    for key in ("a", "b", "a", "b"):
        cache(key, make(key))
    assert made == ["a", "b", "b"]


def test_the_deadline_stops_encoding(encoder: TextEncoder) -> None:
    late = TeamEncoder(encoder, Team(None, TokenCache()), name="n", fingerprint="f", facts={}, deadline=0.0)
    with pytest.raises(OutOfTime):
        late.encode(TEXTS, "x")


def _lead_and_follow(folder: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(**options).eval()
    team = Team(dist.new_group(backend="gloo"), TokenCache())
    if team.rank:
        found = team.follow(encoder)
    else:
        rows = [team.encode(encoder, TEXTS[:n], "y") for n in (7, 1, 7)]
        found = team.finish("the result")
        np.savez(Path(folder) / "rows.npz", *rows)
    assert found == "the result"
    if team.rank:  # now this rank alone fails
        encoder.encode_tokens = _broken  # type: ignore[method-assign]
        assert team.follow(encoder) == "heard"
    else:
        with pytest.raises(RuntimeError, match="out of memory here"):
            team.encode(encoder, TEXTS, "y")
        team.finish("heard")


def _broken(batch: Any, done: Any = None) -> Any:
    raise RuntimeError("out of memory here")


def test_two_ranks_are_as_one(
    gloo_pool: Any, tmp_path: Path, tiny_encoder: dict[str, Any], encoder: TextEncoder
) -> None:
    gloo_pool.run(2, _lead_and_follow, str(tmp_path), tiny_encoder)
    rows = np.load(tmp_path / "rows.npz")
    alone = encoder.encode(TEXTS, "y", progress=False)
    for name, n in zip(rows.files, (7, 1, 7), strict=True):
        np.testing.assert_allclose(rows[name], alone[:n], atol=1e-6)


class _Unsendable(Exception):
    """Cannot be pickled."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.lock = threading.Lock()


class _Unreadable(Exception):
    """Can be pickled, and not be put together again."""

    def __init__(self, one: str, *, other: str) -> None:
        super().__init__(f"{one} {other}")


def test_an_error_that_cannot_be_sent_goes_as_its_words() -> None:
    assert str(portable(_Unsendable("broken"))) == "_Unsendable: broken"
    assert str(portable(_Unreadable("broken", other="pipe"))) == "_Unreadable: broken pipe"
    error = KeyError("a")
    assert portable(error) is error


def _one_rank_fails(options: dict[str, Any], in_step: bool) -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(**options).eval()
    encoder.in_step = in_step
    team = Team(dist.new_group(backend="gloo"), TokenCache())
    if team.rank:  # this rank's share cannot be tokenised, and the error cannot be sent
        encoder.tokenization = _unsendable  # type: ignore[assignment]
        assert team.follow(encoder) == "heard"
        return
    with pytest.raises(RuntimeError, match="_Unsendable: no ids here"):
        team.encode(encoder, TEXTS, "y")
    assert team.finish("heard") == "heard"


def _unsendable(texts: Any, side: Any) -> Any:
    raise _Unsendable("no ids here")


@pytest.mark.parametrize("in_step", [False, True])
def test_a_rank_that_cannot_tokenise_leaves_no_other_waiting(
    gloo_pool: Any, tiny_encoder: dict[str, Any], in_step: bool
) -> None:
    gloo_pool.run(2, _one_rank_fails, tiny_encoder, in_step)


def test_in_step_every_rank_encodes_its_share(
    gloo_pool: Any, tmp_path: Path, tiny_encoder: dict[str, Any], encoder: TextEncoder
) -> None:
    gloo_pool.run(2, _in_step, str(tmp_path), tiny_encoder)
    found = np.load(tmp_path / "rows.npz")
    alone = encoder.encode(TEXTS, "y", progress=False)
    for name, n in zip(found.files, (7, 1), strict=True):
        np.testing.assert_allclose(found[name], alone[:n], atol=1e-6)


def _in_step(folder: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(**options).eval()
    encoder.in_step = True
    team = Team(dist.new_group(backend="gloo"), TokenCache())
    if team.rank:
        team.follow(encoder)
        return
    np.savez(Path(folder) / "rows.npz", *[team.encode(encoder, TEXTS[:n], "y") for n in (7, 1)])
    team.finish(None)
