"""Files that a caller names, of every kind that is none."""

import os
import sys
from pathlib import Path

import pytest

from lfexp_mcp.errors import DataFileError, LfexpError, UsageError
from lfexp_mcp.files import MAX_SCRIPT_BYTES, locate, new_file, open_regular
from lfexp_mcp.services.definitions.dataset_files import read_items

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="there are no such files there")
IMPOSSIBLE = ["nul\0.jsonl", "x" * 5_000 + ".jsonl", "y/" * 5_000 + "z.jsonl", "~no-such-user-here/x.jsonl"]


@pytest.mark.parametrize("path", IMPOSSIBLE, ids=["NUL", "long name", "long path", "no such user"])
def test_a_path_that_no_file_can_have_is_refused_in_our_words(path: str) -> None:
    with pytest.raises(DataFileError, match="file of items") as refused:
        list(read_items(Path(path)))
    assert len(str(refused.value)) < 600
    assert "\0" not in str(refused.value)


@pytest.mark.parametrize("path", ["nul\0.html", "y/" * 5_000 + "z.html", "~no-such-user-here/x.html"], ids=range(3))
def test_a_path_to_write_that_no_file_can_have_is_refused_in_our_words(path: str) -> None:
    with pytest.raises(UsageError, match="--output") as refused:
        new_file(path, "--output", overwrite=False)
    assert len(str(refused.value)) < 600


@posix_only
def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "loop.jsonl"
    link.symlink_to(link)
    with pytest.raises(UsageError, match="script"):
        open_regular(link, "script", 10)


@posix_only
def test_a_pipe_a_device_and_a_folder_are_no_files_and_none_of_them_is_read(tmp_path: Path) -> None:
    pipe, folder, zeros = tmp_path / "pipe.jsonl", tmp_path / "folder.jsonl", tmp_path / "zeros.jsonl"
    os.mkfifo(pipe)
    folder.mkdir()
    zeros.symlink_to("/dev/zero")
    for path in (pipe, folder, zeros):
        with pytest.raises(DataFileError, match=rf"{path.name}|/dev/zero"):
            list(read_items(path))


@posix_only
def test_within_folders_no_link_is_followed(tmp_path: Path) -> None:
    allowed, outside = tmp_path / "allowed", tmp_path / "allowed-not"
    for folder in (allowed / "sub", outside):
        folder.mkdir(parents=True)
        (folder / "x.py").write_bytes(b"x")
    (allowed / "x.py").symlink_to(outside / "x.py")
    (allowed / "way-out").symlink_to(outside)
    (allowed / "inside").symlink_to(allowed / "sub")
    os.mkfifo(allowed / "pipe.py")
    with open_regular(allowed / "sub" / "x.py", "script", 10, within=[outside / "none", allowed]) as file:
        assert file.read() == b"x"
    refused = ["x.py", "way-out/x.py", "inside/x.py", "sub", "pipe.py", "absent.py", "../allowed-not/x.py"]
    for path in (*(allowed / each for each in refused), outside / "x.py", Path("x.py")):
        with pytest.raises(UsageError):
            open_regular(path, "script", 10, within=[allowed])


def test_a_file_is_opened_up_to_the_stated_size(tmp_path: Path) -> None:
    path = tmp_path / "task.py"
    path.write_bytes(b"x = 1")
    with open_regular(path, "script", 5) as file:
        assert file.read() == b"x = 1"
    with path.open("r+b") as file:
        file.truncate(MAX_SCRIPT_BYTES + 1)
    with pytest.raises(UsageError, match=f"{MAX_SCRIPT_BYTES:,}"):
        open_regular(path, "script", MAX_SCRIPT_BYTES)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(LfexpError, match="absent"):
        open_regular(tmp_path / "absent", "script", 5)


def test_a_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate(Path("a"), "script") == tmp_path.resolve() / "a"
