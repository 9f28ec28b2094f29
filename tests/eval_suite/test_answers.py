"""DPR's answer matching."""

from __future__ import annotations

import pytest

from eval_suite.answers import Answers, tokens


@pytest.mark.parametrize(
    ("answers", "passage", "found"),
    [
        (["Barack Obama"], "president barack  OBAMA's term", True),
        (["Obama"], "Obamacare passed", False),  # whole tokens only
        (["14 December 1972"], "on 14 December 1972, the", True),
        (["U.S."], "in the U . S . army", True),  # signs are tokens of their own
        (["U.S."], "in the US army", False),
        (["Beyoncé"], "Beyonce\u0301 sang", True),  # the same text, composed and decomposed
        (["Beyoncé"], "Beyonce sang", False),
        (["no", "yes"], "yes", True),
        (["a b"], "a c b", False),
        ([""], "anything", True),  # as in DPR, an answer without a token is in every passage
        ([], "anything", False),
    ],
)
def test_answers(answers: list[str], passage: str, found: bool) -> None:
    assert Answers(answers).are_in(passage) is found


def test_tokens() -> None:
    assert tokens("It's 3.5 km²—\tfine_") == ["it", "'", "s", "3", ".", "5", "km²", "—", "fine", "_"]
