"""What stands in a card is shown as it is, and what must not be public is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lightning_cpt.errors import ConfigError
from lightning_cpt.export.facts import licences
from lightning_cpt.export.markdown import HIDDEN, cell, fenced, plain, without_credentials, without_secrets
from lightning_cpt.export.place import placed


def test_a_name_brings_neither_html_nor_markup_nor_a_second_line() -> None:
    assert plain("a <script>b\n# c") == "a &lt;script&gt;b # c"
    assert plain("[x](y) `z` *w*") == r"\[x\](y) \`z\` \*w\*"
    assert plain("my_run-step7") == "my_run-step7"


def test_a_bar_stays_in_its_cell() -> None:
    row = f"| {cell('`<|x|>`')} | 2 |"
    assert len(re.split(r"(?<!\\)\|", row)) == 4


def test_a_fence_within_does_not_end_the_block() -> None:
    block = fenced("a: |\n  ```\n  ````", "yaml").splitlines()
    assert block[0] == "`````yaml"
    assert [line for line in block if line == block[-1]] == ["`````"]


def test_secrets_are_left_out_and_nothing_else() -> None:
    secrets = {"api_key": "s1", "hub_token": "s2", "deep": [{"db_password": "s3", "token": "s4"}]}
    open_ones = {
        "pad_token": "[P]",
        "tokenizer": "t",
        "chunk_tokens": 9,
        "token_dropout": 0.1,
        "access_key": None,
    }
    text = yaml.safe_dump({**secrets, **open_ones, "url": "s3://me:s5@bucket/a?X-Amz-Signature=s6&b=1"})
    cleaned = without_secrets(text)
    assert not re.search(r"s\d(?!:)", cleaned.replace("s3://", ""))
    found = yaml.safe_load(cleaned)
    assert {key: found[key] for key in open_ones} == open_ones
    assert found["api_key"] == HIDDEN
    assert found["url"].startswith("s3://bucket/a?")
    untouched = "model:   {learning_rate: 1e-4}  # as it was\n"
    assert without_secrets(untouched) == untouched
    assert without_credentials("https://u:p@host/data") == "https://host/data"


@pytest.mark.parametrize(
    ("card", "names"),
    [
        ("#### Licences\n\nnone are known\n", []),
        ("#### Licences\n\n| licence |\n", []),
        (
            "#### Licences\n\n| licence | train |\n| --- | --- |\n| MIT | 3 |\n| GPL | 0 |\n| A \\| B | 1 |\n| C |\n",
            ["MIT", r"A \| B", "C"],
        ),
    ],
)
def test_any_table_of_licences_is_read(card: str, names: list[str]) -> None:
    assert licences(card) == names


def test_overwrite_replaces_no_folder_but_an_export(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.ckpt").write_text("weeks of work")
    (run / "README.md").write_text("my notes on lightning-cpt\n")
    with pytest.raises(ConfigError, match="no former export"), placed(run, overwrite=True):
        pytest.fail("nothing is to be written")
    assert (run / "last.ckpt").read_text() == "weeks of work"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_secrets_that_are_no_strings() -> None:
    lines = ["password: 48151623", "api_key: [abc, def]", "max_token: 128", "token: abc", "secret: null", ""]
    text = without_secrets("\n".join(lines))
    assert "4815" not in text
    assert "abc" not in text
    assert "max_token: 128" in text
    assert text.count(HIDDEN) == 3
