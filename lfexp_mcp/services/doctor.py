"""Looking for what keeps lfexp-mcp from working: keys, server, providers of judges, home folder, interpreter."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio.to_thread

from lfexp_mcp import __version__
from lfexp_mcp.answers.doctor import Check, Diagnosis
from lfexp_mcp.errors import CredentialsError, JudgeError, LfexpError
from lfexp_mcp.gateway.connection import connect
from lfexp_mcp.judges.models import KEY_VARIABLES, open_provider
from lfexp_mcp.judges.providers.messages import ProviderName
from lfexp_mcp.settings import Settings

TITLES: dict[ProviderName, str] = {"openai": "OpenAI", "anthropic": "Anthropic"}
PROVIDER_TIMEOUT_S = 15.0
INTERPRETER_TIMEOUT_S = 60.0
ENOUGH_ROOM_BYTES = 200_000_000
LEAST_ROOM_BYTES = 10_000_000
SCORE_LISTS = (4, 59)
"""The Langfuse server from which several scores go into one request."""


async def diagnose(settings: Settings) -> Diagnosis:
    """Look at everything that a run needs.

    Args:
        settings: What the environment says.

    Returns:
        One check per thing, also for those that cannot be looked at because another is broken.
    """
    checks = [await anyio.to_thread.run_sync(_home, settings), _keys(settings)]
    if all(check.status != "broken" for check in checks):
        checks += await _server(settings)
    checks += [await _provider(settings, name) for name in TITLES]
    checks.append(await anyio.to_thread.run_sync(_interpreter, settings))
    return Diagnosis(healthy=all(check.status != "broken" for check in checks), checks=checks)


def _home(settings: Settings) -> Check:
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        return Check(
            name="home folder",
            status="broken",
            found=f"{settings.home} cannot be written: {error.strerror}",
            advice="Make it writable, or set LFEXP_HOME to a folder that is.",
        )
    free = shutil.disk_usage(settings.home).free
    found = f"{settings.home} is writable, {free / 1e6:.0f} MB are free"
    if free >= ENOUGH_ROOM_BYTES:
        return Check(name="home folder", status="ok", found=found)
    return Check(
        name="home folder",
        status="broken" if free < LEAST_ROOM_BYTES else "warning",
        found=found,
        advice="Make room, or set LFEXP_HOME to a folder on another disk: a run keeps its results there until they "
        "are sent.",
    )


def _keys(settings: Settings) -> Check:
    try:
        embedded = settings.embedded
    except CredentialsError as error:
        return Check(name="Langfuse keys", status="broken", found="one of two", advice=str(error))
    if embedded:
        return Check(name="Langfuse keys", status="ok", found="none set: the embedded store is used")
    return Check(name="Langfuse keys", status="ok", found=f"set, public key {settings.langfuse_public_key}")


async def _server(settings: Settings) -> list[Check]:
    try:
        async with connect(settings) as gateway:
            version = await gateway.health()
            where = f"{gateway.backend.kind} Langfuse {version} at {gateway.backend.url}"
            reached = Check(name="Langfuse server", status="ok", found=where)
            try:
                await gateway.project_id()
            except LfexpError as error:
                return [reached, Check(name="keys accepted", status="broken", found="refused", advice=str(error))]
    except LfexpError as error:
        return [Check(name="Langfuse server", status="broken", found="not reached", advice=str(error))]
    if _is_older(version):
        reached.found += ", which takes one score a request"
        reached.status = "warning"
        reached.advice = "Runs work, but store their scores slowly; Langfuse 4.59 or newer takes many at once."
    return [reached, Check(name="keys accepted", status="ok", found="the server knows the project")]


def _is_older(version: str) -> bool:
    parts = version.split(".")[:2]
    return all(part.isdecimal() for part in parts) and tuple(map(int, parts)) < SCORE_LISTS


async def _provider(settings: Settings, name: ProviderName) -> Check:
    title, variable = TITLES[name], KEY_VARIABLES[name]
    check = Check(name=f"judges on {title}", status="ok", found=f"{variable} is set and accepted")
    if (settings.openai_api_key if name == "openai" else settings.anthropic_api_key) is None:
        check.status, check.found = "warning", f"{variable} is not set"
        check.advice = f"Set it if judges or tasks use {title}; evaluator scripts need no model."
        return check
    try:
        provider = open_provider(name, settings, PROVIDER_TIMEOUT_S)
    except JudgeError as error:
        check.status, check.found, check.advice = "broken", f"{variable} is set, but there is no way to it", str(error)
        return check
    try:
        key = await provider.check()
    finally:
        await provider.close()
    if key.verdict == "refused":
        check.status, check.found = "broken", f"{variable} is set, and refused by the provider"
        check.advice = "Set a key that is valid there."
    elif key.verdict == "unknown":
        check.status = "warning"
        check.found = f"{variable} is set; whether it is valid could not be checked ({key.why})"
        check.advice = "Check the network and the provider's base URL, if one is set."
    return check


def _interpreter(settings: Settings) -> Check:
    python = settings.python or Path(sys.executable)
    program = "import lfexp_mcp; print(lfexp_mcp.__version__)"
    advice = "Install lfexp-mcp there, or let LFEXP_PYTHON name an interpreter that has it."
    try:
        ran = subprocess.run(  # noqa: S603
            [python, "-c", program], capture_output=True, encoding="utf-8", timeout=INTERPRETER_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        found = f"{python} does not run: {error}"
        return Check(name="interpreter of scripts", status="broken", found=found, advice=advice)
    if ran.returncode != 0:
        found = f"{python} has no lfexp-mcp"
        return Check(name="interpreter of scripts", status="broken", found=found, advice=advice)
    version = ran.stdout.strip()
    if version != __version__:
        found = f"{python} has lfexp-mcp {version}, but this is {__version__}"
        return Check(name="interpreter of scripts", status="warning", found=found, advice="Install the same version.")
    return Check(name="interpreter of scripts", status="ok", found=f"{python} has lfexp-mcp {version}")
