"""Programs from npm that tests run, installed once per machine as their lock file says."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock
from platformdirs import user_cache_path

REQUIRED = "LFEXP_TEST_CLIENTS"
"""The variable with which programs of others have to be there, as in CI: a test fails that cannot install its own."""


def cache_folder(name: str, *pins: Path) -> Path:
    """Return where programs are installed, by name and by the content of the files that pin their versions."""
    digest = hashlib.sha256(b"".join(pin.read_bytes() for pin in pins)).hexdigest()
    return user_cache_path("lfexp-mcp-tests") / f"{name}-{digest[:16]}"


def install(folder: Path, *commands: list[str]) -> None:
    """Run what installs programs into a folder, unless that has been done; skip the test if it cannot be."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = folder / "installed"
    with FileLock(f"{folder}.lock"):
        if done.exists():
            return
        folder.mkdir(exist_ok=True)
        for command in commands:
            ran = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
            if ran.returncode != 0:
                missing(f"`{' '.join(command)}` failed: {ran.stderr.strip()[-500:]}")
        done.touch()


def missing(reason: str) -> None:
    """Skip the test, or fail it where programs of others have to be there."""
    (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(reason)


def npm_programs(name: str, source: Path) -> Path:
    """Return the folder with the `node_modules` of a `package-lock.json`, and with Node itself.

    Args:
        name: Of the folder.
        source: The folder with `package.json` and `package-lock.json`.
    """
    pins = [source / "package.json", source / "package-lock.json"]
    folder = cache_folder(name, *pins)
    npm = shutil.which("npm")
    if npm is None:
        missing("npm is not installed")
    assert npm is not None
    folder.mkdir(parents=True, exist_ok=True)
    for pin in pins:
        shutil.copy(pin, folder)
    # `npm ci` refuses a lock file without an optional dependency that the registry does not have.
    flags = ["--no-save", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000"]
    install(folder, [npm, "install", *flags])
    return folder


def node(folder: Path) -> str:
    """Return the path of the Node that is installed in a folder of programs."""
    return str(folder / "node_modules" / "node" / "bin" / "node")
