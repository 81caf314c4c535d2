"""The scripts' folders as they travel to the nodes of a cluster, and what a node makes of them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from lfexp_mcp.errors import UsageError

pytest.importorskip("fcntl", reason="Ray has no Windows")
pytest.importorskip("pathspec", reason="pip install 'lfexp-mcp[ray]'")

from lfexp_mcp.worker.on_ray import archive
from lfexp_mcp.worker.on_ray.archive import PREFIX, pack, unpack_once
from lfexp_mcp.worker.on_ray.package import Package
from tests.runs.test_folder import make_run_spec


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The folder that travels."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    return folder


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The node's temporary folder."""
    folder = tmp_path / "node"
    folder.mkdir()
    return folder


def write(folder: Path, *names: str, text: str = "") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or name, encoding="utf-8")


def travelled(scripts: Path, node: Path, excludes: Sequence[str] = ()) -> set[str]:
    """What arrives of a folder."""
    data, arrived = pack({"0": scripts}, excludes, {}), node / f"{PREFIX}1"
    unpack_once(arrived, lambda: data)
    return {path.relative_to(arrived / "0").as_posix() for path in (arrived / "0").rglob("*")}


def test_all_of_a_folder_travels_but_secrets_and_what_is_ignored(scripts: Path, node: Path) -> None:
    sent = ["task.py", "data/a.txt", "data/kept.log", "package/build/x.py", "prompts/ü ö.md"]
    write(scripts, *sent, ".env", ".env.local", "sub/.env", "key.pem", ".git/config", ".venv/x", "a/__pycache__/b.pyc")
    write(scripts, "data/b.log", "build/x.py", "outputs/deep/1.json", "weights.bin", "sub/notes.md")
    write(scripts, ".gitignore", text="*.log\n!kept.log\n/build/\n!.env\n")
    write(scripts, "outputs/.gitignore", text="/deep\n")
    write(scripts, ".rayignore", text="weights.bin\n")
    (scripts / "empty").mkdir()
    arrived = travelled(scripts, node, ["notes.md"])
    ignoring = [".gitignore", ".rayignore", "outputs/.gitignore"]
    folders = ["a", "data", "empty", "outputs", "package", "package/build", "prompts", "sub"]
    assert arrived == {*sent, *ignoring, *folders}


def test_links_are_followed_but_not_in_circles_and_what_is_no_file_stays(
    scripts: Path, node: Path, tmp_path: Path
) -> None:
    write(tmp_path / "elsewhere", "shared.py")
    write(scripts, "task.py")
    (scripts / "linked").symlink_to(tmp_path / "elsewhere")
    (scripts / "again.py").symlink_to("task.py")
    (scripts / "circle").symlink_to(".")
    (scripts / "broken").symlink_to("nowhere")
    os.mkfifo(scripts / "pipe")
    assert travelled(scripts, node) == {"task.py", "again.py", "linked", "linked/shared.py", "circle"}
    assert (node / f"{PREFIX}1/0/linked/shared.py").read_text() == "shared.py"


def test_modes_and_times_of_files_are_no_obstacle(scripts: Path, node: Path) -> None:
    write(scripts, "run.sh", "old.txt", "read_only.txt")
    (scripts / "run.sh").chmod(0o755)
    (scripts / "read_only.txt").chmod(0o444)
    # ZIP knows no time before 1980.
    os.utime(scripts / "old.txt", (0, 0))
    assert travelled(scripts, node) == {"run.sh", "old.txt", "read_only.txt"}
    assert os.access(node / f"{PREFIX}1/0/run.sh", os.X_OK)
    assert (node / f"{PREFIX}1").stat().st_mode & 0o077 == 0


def test_what_is_kept_of_a_file_travels_in_its_place_even_if_the_file_is_gone_or_ignored(
    scripts: Path, node: Path, tmp_path: Path
) -> None:
    write(scripts, "task.py", text="new")
    write(scripts, ".gitignore", text="ignored.py\n")
    write(tmp_path / "kept", "1.py", text="old")
    kept = dict.fromkeys(("0/task.py", "0/gone.py", "0/ignored.py"), tmp_path / "kept/1.py")
    data = pack({"0": scripts}, [], kept)
    unpack_once(node / f"{PREFIX}1", lambda: data)
    assert {(node / f"{PREFIX}1" / place).read_text() for place in kept} == {"old"}


@pytest.mark.parametrize("how", ["large", "name", "pattern"])
def test_what_cannot_be_sent_is_refused_by_name(scripts: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "name" and sys.platform == "darwin":
        pytest.skip("no file can have such a name")
    write(scripts, "odd\udcff" if how == "name" else "big.bin", text="large")
    monkeypatch.setattr(archive, "MAX_BYTES", 3 if how == "large" else 1000)
    named = {"large": r"big\.bin", "name": "odd", "pattern": "excludes"}[how]
    with pytest.raises(UsageError, match=named):
        pack({"0": scripts}, ["!"] if how == "pattern" else [], {})


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_is_refused_by_name(scripts: Path) -> None:
    write(scripts, "secret.txt")
    (scripts / "secret.txt").chmod(0)
    with pytest.raises(UsageError, match=r"secret\.txt"):
        pack({"0": scripts}, [], {})


@pytest.mark.parametrize(("folder", "is_refused"), [("", True), ("me", True), ("me/scripts", False), ("mean", False)])
def test_a_folder_that_holds_the_home_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, is_refused: bool
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    run_spec = make_run_spec(task_script=tmp_path / folder / "task.py")
    with pytest.raises(UsageError, match="folder of their own") if is_refused else nullcontext():
        Package.of(run_spec)


UNPACK = """
import sys
from pathlib import Path
from lfexp_mcp.worker.on_ray.archive import unpack_once

folder, data = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
unpack_once(folder, lambda: data)
print(sorted(path.name for path in folder.rglob("*.py")), flush=True)
sys.stdin.read()
"""


def start(folder: Path, data: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", UNPACK, str(folder), str(data)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_of_a_run_share_one_copy_which_stays_until_they_have_ended(
    scripts: Path, node: Path, tmp_path: Path
) -> None:
    write(scripts, "task.py", "other.py")
    data = tmp_path / "data"
    data.write_bytes(pack({"0": scripts}, [], {}))
    processes = [start(node / f"{PREFIX}1", data) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "['other.py', 'task.py']\n"
    assert [path.name for path in node.iterdir()] == [f"{PREFIX}1"]
    other = start(node / f"{PREFIX}2", data)
    assert other.stdout is not None
    other.stdout.readline()
    assert sorted(path.name for path in node.iterdir()) == [f"{PREFIX}1", f"{PREFIX}2"]
    for process in (*processes, other):
        process.kill()
        process.communicate()
    unpack_once(node / f"{PREFIX}3", data.read_bytes)
    assert [path.name for path in node.iterdir()] == [f"{PREFIX}3"]


def test_nothing_is_left_of_an_archive_that_cannot_be_unpacked(node: Path) -> None:
    (node / f"{PREFIX}1").write_text("no folder")
    with pytest.raises(OSError, match=PREFIX):
        unpack_once(node / f"{PREFIX}1", lambda: pack({}, [], {}))
    assert [path.name for path in node.iterdir()] == [f"{PREFIX}1"]
