"""Reading a repository from its objects: the same pairs as from disk, at any revision, without checking anything out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.code import git, mine
from data_prep.code.sources import find_sources
from data_prep.errors import DataError
from data_prep.filters import CodeRules
from data_prep.report import Report

FUNCTION = "/** Does {doc} with it. */\nfunction f(a) {{\n  return g(a);\n}}\n"
IDENTITY = {
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@b",
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
}  # fmt: skip


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | IDENTITY,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: ``a.js`` says one thing, then another; a link, a hidden folder and a vendored file beside it."""
    folder = tmp_path / "repo"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "vendor/x").mkdir(parents=True)
    run(tmp_path, "init", "-q", "-b", "main", "repo")
    for name in ("a.js", ".hidden/b.js", "vendor/x/c.js", "sub/é.js"):
        (folder / name).write_text(FUNCTION.format(doc=f"one ({name})"))
    (folder / "LICENSE").write_text("MIT")
    (folder / "link.js").symlink_to("a.js")
    run(folder, "add", "-A")
    run(folder, "commit", "-q", "-m", "one")
    run(folder, "tag", "v1")
    (folder / "a.js").write_text(FUNCTION.format(doc="two"))
    run(folder, "commit", "-q", "-a", "-m", "two")
    return folder


def texts(pairs: list) -> dict[str, str]:  # type: ignore[type-arg]
    return {pair.meta["path"]: pair.x for pair in pairs}


def mined(root: Path | str, **options: object) -> list:  # type: ignore[type-arg]
    return list(mine([Path(root)], processes=1, **options))  # type: ignore[arg-type]


def test_at_a_revision(repository: Path) -> None:
    old = mined(f"{repository}@v1")
    assert texts(old) == {
        "repo/a.js": "Does one (a.js) with it.",
        "repo/sub/é.js": "Does one (sub/é.js) with it.",
    }
    assert old[0].meta == {
        "document": "repo/a.js", "package": "repo", "path": "repo/a.js", "name": "f", "lang": "javascript",
        "span": [2, 4], "licence": "LICENSE", "commit": run(repository, "rev-parse", "v1"),
    }  # fmt: skip
    new = mined(f"{repository}@main")
    assert texts(new)["repo/a.js"] == "Does two with it."
    assert texts(mined(f"{repository}@HEAD~1")) == texts(old)


def test_the_same_as_from_disk(repository: Path) -> None:
    (repository / "link.js").unlink()
    disk, objects = mined(repository), mined(f"{repository}@HEAD")
    assert "commit" not in disk[0].meta
    for pair in objects:
        del pair.meta["commit"]
    assert disk == objects


def test_a_bare_repository(repository: Path, tmp_path: Path) -> None:
    run(tmp_path, "clone", "-q", "--bare", "repo", "bare/repo.git")
    bare = tmp_path / "bare/repo.git"
    assert mined(bare) == mined(f"{repository}@HEAD")
    assert mined(f"{bare}@v1") == mined(f"{repository}@v1")
    assert {source.package for source in find_sources([repository / ".git"])} == {"repo"}


def test_two_processes_give_the_same(repository: Path) -> None:
    for i in range(150):
        (repository / f"m{i}.js").write_text(FUNCTION.format(doc=f"number {i}"))
    run(repository, "add", "-A")
    run(repository, "commit", "-q", "-m", "many")
    root = Path(f"{repository}@HEAD")
    one = list(mine([root], processes=1))
    assert len(one) == 152
    assert list(mine([root], processes=2)) == one


def test_reasons_and_limits(repository: Path) -> None:
    report = Report()
    assert mined(f"{repository}@v1", report=report, rules=CodeRules(max_file_bytes=10)) == []
    assert dict(report.dropped) == {"vendored file": 1, "file over 10 bytes": 2}
    assert sorted(name for _, name in report.named) == ["repo/a.js", "repo/sub/é.js"]
    # The reader is still in step after what it passed over.
    assert len(mined(f"{repository}@v1")) == 2


def test_a_missing_object_is_counted_and_named(repository: Path) -> None:
    blob = run(repository, "rev-parse", "v1:a.js")
    (repository / ".git/objects" / blob[:2] / blob[2:]).unlink()
    report = Report()
    assert list(texts(mined(f"{repository}@v1", report=report))) == ["repo/sub/é.js"]
    assert report.named == [("file not readable", "repo/a.js")]


def test_mistakes(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError, match=r"repo@v9: the repository has no such revision; git -C .* lists them"
    ):
        mined(f"{repository}@v9")
    with pytest.raises(DataError, match="absent@v1: no such file or folder"):
        mined(tmp_path / "absent@v1")
    with pytest.raises(
        DataError, match="sub: a folder inside a repository; name the repository's own folder"
    ):
        mined(f"{repository}/sub@v1")
    (tmp_path / "plain").mkdir()
    with pytest.raises(DataError, match="plain: git rev-parse: fatal: not a git repository"):
        mined(f"{tmp_path}/plain@v1")
    with pytest.raises(DataError, match=r"repo@v1: no \.go files"):
        mined(f"{repository}@v1", languages=["go"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="reading a revision needs the git command; install git"):
        mined(f"{repository}@v1")


@pytest.mark.parametrize(
    ("words", "expected"),
    [("repo@v1", ("repo", "v1")), ("repo@HEAD@{1}", ("repo", "HEAD@{1}")), ("repo@a/b", ("repo", "a/b"))],
)
def test_revisions(
    words: str, expected: tuple[str, str], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.parent)
    assert git.at_revision(Path(words)) == (Path(expected[0]), expected[1])


def test_what_is_there_is_no_revision(tmp_path: Path, make_folder: Callable[[str], Path]) -> None:
    assert git.at_revision(make_folder("node@18")) is None
    assert git.at_revision(tmp_path / "node@18") is None


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        (tmp_path / name).mkdir()
        return tmp_path / name

    return make
