"""Nothing that is read runs code or writes outside its folder: checkpoints, backbones, tars, recipes."""

from __future__ import annotations

import inspect
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from data_prep.shards import PairShards
from lightning_cpt.checkpoint import read_checkpoint
from lightning_cpt.config import recipes
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.errors import ConfigError

ROOT = Path(__file__).parents[2]
# The one recipe whose backbone has no tags and no commit that we could check; the run names the commit it got.
UNPINNED = {"Salesforce/codegen-350M-multi"}


class Evil:
    """Would write a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path) -> None:
    torch.save({"encoder": {}, "state_dict": {}, "more": Evil(tmp_path / "ran")}, tmp_path / "evil.ckpt")
    with pytest.raises(ConfigError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "evil.ckpt", weights_only=False)  # or the test would show nothing
    assert (tmp_path / "ran").exists()


def test_code_beside_a_backbone_is_not_run(tmp_path: Path, bracket_tokenizer_folder: str) -> None:
    folder = tmp_path / "backbone"
    folder.mkdir()
    own = {"AutoConfig": "mine.MyConfig", "AutoModel": "mine.MyModel"}
    (folder / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": own}))
    (folder / "mine.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    with pytest.raises(ConfigError, match="backbone: cannot load"):
        TextEncoder(backbone=str(folder), tokenizer=bracket_tokenizer_folder)
    assert not (tmp_path / "ran").exists()


def test_code_of_a_repository_is_off_by_default_and_in_all_recipes() -> None:
    assert inspect.signature(TextEncoder).parameters["trust_remote_code"].default is False
    for path in recipes().values():
        assert "trust_remote_code" not in Path(path).read_text()


@pytest.mark.parametrize("path", recipes().values(), ids=recipes().keys())
def test_hub_downloads_are_pinned(path: str) -> None:
    encoder = yaml.safe_load(Path(path).read_text())["model"]["encoder"]
    name = encoder["backbone"] or ""
    on_hub = bool(re.fullmatch(r"[\w.-]+/[\w.-]+", name)) and not name.endswith(".ckpt")
    if on_hub and name not in UNPINNED:
        assert encoder["revision"], f"{name} has no revision"
    if on_hub:
        assert "revision" in encoder


def test_an_unpinned_name_is_said_with_its_commit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bracket_tokenizer_folder: str
) -> None:
    from transformers import GPT2Config

    from lightning_cpt import backbone

    def load(key: str, name: str, revision: str | None, *_: Any, **__: Any) -> GPT2Config:
        config = GPT2Config(vocab_size=300)
        config._commit_hash = "abc123"
        return config

    monkeypatch.setattr(backbone.hub, "load", load)
    backbone.build_config("some/model", None, vocabulary=300, pad_id=0)
    assert "some/model is unpinned and today abc123; `revision: abc123`" in capsys.readouterr().err
    backbone.build_config("some/model", None, vocabulary=300, pad_id=0, revision="v1")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["../out.json", "/tmp/cpt-out.json", "a/../../out.json"])
def test_names_in_a_tar_write_nothing_outside(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    with tarfile.open(folder / "s.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        data = json.dumps({"x": "a", "y": "b"}).encode()
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    assert [(r["x"], r["y"]) for r in PairShards.open(folder)] == [("a", "b")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shards"]
    assert not Path("/tmp/cpt-out.json").exists()


def test_ids_of_a_jsonl_are_never_file_names(tmp_path: Path) -> None:
    from lightning_cpt.embed.inputs import Fields, read_rows
    from lightning_cpt.embed.spool import fill

    (tmp_path / "t.jsonl").write_text('{"id": "../../out", "text": "a"}\n')
    work = tmp_path / "deep" / "work"
    work.parent.mkdir()
    spool = fill(work, read_rows([str(tmp_path / "t.jsonl")], None, Fields("x")), 10)
    assert spool.read(0) == (["../../out"], ["a"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "t.jsonl"]


def test_the_loader_of_pipelines_is_a_safe_one() -> None:
    from data_prep.pipeline.config import _Loader

    assert issubclass(_Loader, yaml.SafeLoader)


def test_no_file_is_unpacked_or_unpickled_where_names_and_code_could_act() -> None:
    """Archives are read member by member in memory; a pickle of the user's is never opened."""
    for package in ("lightning_cpt", "data_prep", "eval_suite"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            assert not re.search(
                r"extractall|unpack_archive|allow_pickle=True|yaml\.load\((?!.*, _Loader\))|\.extract\(", text
            ), path
            for call in re.findall(r"torch\.load\([^)]*\)", text):
                assert "weights_only=True" in call, path
