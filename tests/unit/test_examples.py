"""Example databases for campaigns, from the text after ``--database``."""

import datetime
import re
import zipfile

import pytest
from hypothesis.database import (
    DirectoryBasedExampleDatabase,
    GitHubArtifactDatabase,
)

from chaos.errors import UsageError
from harness import examples
from harness.examples import database_of


@pytest.fixture
def token(monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_TOKEN", "not-a-real-one")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_directory_is_made_and_keeps_examples_for_the_next_night(tmp_path):
    database_of(f"dir:{tmp_path}/a/b").save(b"key", b"example")
    assert set(database_of(f"dir:{tmp_path}/a/b").fetch(b"key")) == {b"example"}


def test_of_several_the_first_is_written_to_and_all_are_read(tmp_path):
    DirectoryBasedExampleDatabase(tmp_path / "shared").save(b"key", b"theirs")
    both = database_of(f"dir:{tmp_path}/mine, dir:{tmp_path}/shared")
    both.save(b"key", b"ours")
    assert set(both.fetch(b"key")) == {b"ours", b"theirs"}
    assert set(DirectoryBasedExampleDatabase(tmp_path / "mine").fetch(b"key")) == {b"ours"}
    both.delete(b"key", b"theirs")
    assert set(DirectoryBasedExampleDatabase(tmp_path / "shared").fetch(b"key")) == {b"theirs"}


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    ("text", "artifact"),
    [("github:some-one/a.repo", "mcp-chaos-examples"), ("github:some-one/a.repo/night", "night")],
)
def test_an_artifact_is_read_alone(tmp_path, text, artifact):
    database = database_of(f"dir:{tmp_path}/mine,{text}")
    assert repr(GitHubArtifactDatabase("some-one", "a.repo", artifact_name=artifact)) in repr(database)
    _cached_artifact(tmp_path / "cache/mcp-chaos/examples/some-one/a.repo" / artifact, b"key", b"theirs")
    database.save(b"key", b"ours")
    assert set(database.fetch(b"key")) == {b"ours", b"theirs"}


def _cached_artifact(directory, key, value):
    """What a workflow uploaded of a directory, as if it had been downloaded just now."""
    directory.mkdir(parents=True)
    own = directory.parent / "uploaded"
    DirectoryBasedExampleDatabase(own).save(key, value)
    stamp = datetime.datetime.now(datetime.UTC).isoformat().replace(":", "_")
    with zipfile.ZipFile(directory / f"{stamp}.zip", "w") as archive:
        for path in own.rglob("*"):
            archive.write(path, path.relative_to(own))


WRONG = [
    ("", "an empty part"),
    ("dir:a,,dir:b", "an empty part"),
    ("dir:", "'dir:'"),
    ("some/where", "'some/where'"),
    ("redis:host", "'redis:host'"),
    ("github:owner", "'github:owner'"),
    ("github:owner/repo/artifact/more", "'github:owner/repo/artifact/more'"),
    ("github:-owner/repo", "'github:-owner/repo'"),
    ("github:owner/repo", "can only be read in the first place"),
]


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(("text", "found"), WRONG)
def test_a_wrong_text_is_answered_with_what_was_expected(monkeypatch, tmp_path, text, found):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=re.escape(found)) as caught:
        database_of(text)
    assert str(caught.value).startswith(f"--database {text}: found ")
    assert examples.EXPECTED in str(caught.value)


def test_the_same_database_twice_is_a_mistake(tmp_path):
    with pytest.raises(UsageError, match="the same database twice"):
        database_of(f"dir:{tmp_path},dir:{tmp_path}")


def test_a_file_is_no_database(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="a file, expected dir:PATH"):
        database_of(f"dir:{tmp_path}/file")
    with pytest.raises(UsageError, match="cannot be made: Not a directory"):
        database_of(f"dir:{tmp_path}/file/below")


def test_without_a_token_github_is_not_asked(monkeypatch, tmp_path):
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    with pytest.raises(UsageError, match="found no GITHUB_TOKEN in the environment"):
        database_of(f"dir:{tmp_path},github:owner/repo")
