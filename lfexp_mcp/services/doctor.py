"""Checks of everything that a run needs: keys, server, model providers, home folder, interpreter."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio.to_thread

from lfexp_mcp import __version__
from lfexp_mcp.answers.clients import Check, Diagnosis
from lfexp_mcp.errors import CredentialsError, JudgeError, LfexpError
from lfexp_mcp.gateway import connect
from lfexp_mcp.judges.model_client import open_provider
from lfexp_mcp.judges.providers.messages import KEY_VARIABLES, PROVIDER_TITLES
from lfexp_mcp.model import ProviderName, cluster_address
from lfexp_mcp.settings import Settings

PROVIDER_TIMEOUT_S = 15.0
INTERPRETER_TIMEOUT_S = 60.0
"""A first import from a cold disk, or one that a virus scanner reads, takes tens of seconds."""
MAX_NODES = 20
"""Of a Ray cluster, listed by name."""
MAX_ERROR_CHARS = 400
_MISSING = re.compile(r"No module named '(ray|pathspec)'")
"""What the extra for Ray brings."""
MIN_FREE_BYTES = 10_000_000
"""Below this a run cannot be expected to work; below `LOW_FREE_BYTES` the user is warned."""
LOW_FREE_BYTES = 200_000_000
BULK_SCORES_VERSION = (4, 59)
"""The first Langfuse server that accepts several scores in one request."""


async def diagnose(settings: Settings) -> Diagnosis:
    """Check everything that a run needs.

    Returns:
        One check per thing; the server is left out where the home folder or the keys are broken.
    """
    checks = [await anyio.to_thread.run_sync(_home, settings), _keys(settings)]
    if all(check.status != "broken" for check in checks):
        checks += await _server(settings)
    checks += [await _provider(settings, name) for name in PROVIDER_TITLES]
    checks.append(await anyio.to_thread.run_sync(_interpreter, settings))
    if settings.ray_address is not None:
        checks.append(await anyio.to_thread.run_sync(_ray, settings))
    return Diagnosis(healthy=all(check.status != "broken" for check in checks), checks=checks)


def _home(settings: Settings) -> Check:
    check = Check(name="home folder", status="ok", found="")
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        check.status, check.found = "broken", f"{settings.home} cannot be written: {error.strerror}"
        check.advice = "Make it writable, or set LFEXP_HOME to a folder that is."
        return check
    free = shutil.disk_usage(settings.home).free
    check.found = f"{settings.home} is writable, {free / 1e6:.0f} MB are free"
    if free < LOW_FREE_BYTES:
        check.status = "broken" if free < MIN_FREE_BYTES else "warning"
        check.advice = (
            "Free some space, or set LFEXP_HOME to a folder on another disk: runs keep their results there until "
            "Langfuse has them."
        )
    return check


def _keys(settings: Settings) -> Check:
    try:
        found = (
            "none set: the embedded store is used"
            if settings.embedded
            else f"set, public key {settings.langfuse_public_key}"
        )
    except CredentialsError as error:
        return Check(name="Langfuse keys", status="broken", found="one of two", advice=str(error))
    return Check(name="Langfuse keys", status="ok", found=found)


async def _server(settings: Settings) -> list[Check]:
    try:
        async with connect(settings) as gateway:
            version = await gateway.health()
            where = f"{gateway.backend.kind} Langfuse {version} at {gateway.backend.url}"
            server = Check(name="Langfuse server", status="ok", found=where)
            try:
                await gateway.project_id()
            except LfexpError as error:
                return [server, Check(name="keys accepted", status="broken", found="rejected", advice=str(error))]
    except LfexpError as error:
        return [Check(name="Langfuse server", status="broken", found="not reached", advice=str(error))]
    parts = version.split(".")[:2]
    if all(part.isdecimal() for part in parts) and tuple(map(int, parts)) < BULK_SCORES_VERSION:
        server.status, server.found = "warning", f"{where}, which takes one score per request"
        server.advice = "Runs work, but store their scores slowly; Langfuse 4.59 or newer takes many at once."
    return [server, Check(name="keys accepted", status="ok", found="the server knows the project")]


async def _provider(settings: Settings, name: ProviderName) -> Check:
    title, variable = PROVIDER_TITLES[name], KEY_VARIABLES[name]
    check = Check(name=f"judges on {title}", status="ok", found=f"{variable} is set and accepted")
    if (settings.openai_api_key if name == "openai" else settings.anthropic_api_key) is None:
        check.status, check.found = "warning", f"{variable} is not set"
        check.advice = f"Set it if judges or tasks use {title}; evaluator scripts need no model."
        return check
    try:
        provider = open_provider(name, settings, PROVIDER_TIMEOUT_S)
    except JudgeError as error:
        check.status, check.found, check.advice = "broken", f"{variable} is set, but cannot be used", str(error)
        return check
    try:
        failure = await provider.check()
    finally:
        await provider.close()
    if failure is None:
        return check
    if failure.kind == "refused":
        check.status, check.found = "broken", f"{variable} is set, but refused by the provider"
        check.advice = "Set a valid key."
    else:
        check.status = "warning"
        check.found = f"{variable} is set; whether it is valid could not be checked: {failure.message}"
        check.advice = "Check the network, and the provider's base URL if one is set."
    return check


def _interpreter(settings: Settings) -> Check:
    python = _python(settings)
    check = Check(name="interpreter of scripts", status="broken", found="")
    check.advice = "Install lfexp-mcp there, or set LFEXP_PYTHON to an interpreter that has it."
    try:
        ran = _run(python, "-c", "import lfexp_mcp; print(lfexp_mcp.__version__)")
    except (OSError, subprocess.TimeoutExpired) as error:
        check.found = f"{python} does not run: {error}"
        return check
    version = ran.stdout.strip()
    if ran.returncode != 0:
        check.found = f"{python} has no lfexp-mcp"
    elif version != __version__:
        check.status, check.advice = "warning", "Install the same version."
        check.found = f"{python} has lfexp-mcp {version}, but this is {__version__}"
    else:
        check.status, check.advice = "ok", None
        check.found = f"{python} has lfexp-mcp {version}"
    return check


def _ray(settings: Settings) -> Check:
    """Check the cluster of the settings, as a worker sees it."""
    check = Check(name="Ray cluster", status="broken", found="")
    try:
        address = cluster_address(str(settings.ray_address))
    except ValueError as error:
        check.found, check.advice = "LFEXP_RAY_ADDRESS names no cluster", f"Correct it: {error}."
        return check
    check.found = f"{address}: "
    check.advice = "Start it, and with nodes that have this Python, Ray and lfexp-mcp; or unset LFEXP_RAY_ADDRESS."
    try:
        ran = _run(_python(settings), "-m", "lfexp_mcp.worker.on_ray.check", address)
    except (OSError, subprocess.TimeoutExpired) as error:
        check.found += f"it cannot be checked: {error}"
        return check
    lines = ran.stdout.splitlines()[:MAX_NODES]
    if ran.returncode == 0:
        check.status, check.advice = "ok", None
    elif missing := _MISSING.search(ran.stderr):
        lines = [f"{missing[1]} is not installed"]
        check.advice = "pip install 'lfexp-mcp[ray]' for the interpreter of scripts."
    check.found += "; ".join(lines) or ran.stderr.strip()[-MAX_ERROR_CHARS:]
    return check


def _python(settings: Settings) -> Path:
    return settings.python or Path(sys.executable)


def _run(python: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603
        [python, *arguments], capture_output=True, encoding="utf-8", timeout=INTERPRETER_TIMEOUT_S, check=False
    )
