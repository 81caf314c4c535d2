"""What the user's code raised, in words."""

import asyncio
import traceback
from pathlib import Path

from lfexp_mcp.errors import LfexpError
from lfexp_mcp.scripts.texts import clean, cut, describe, show

LONGEST_ERROR = 4000
LONGEST_STACK = 20_000
_CALLERS = {__file__, str(Path(__file__).with_name("user_code.py"))}


def error_text(text: str) -> str:
    """Make any text fit to be kept as an error."""
    return cut(clean(text), LONGEST_ERROR)


def describe_error(error: BaseException) -> str:
    """Say what an error was and where it was raised, in one line or a few."""
    try:
        return error_text(_tell(error))
    except BaseException as failure:  # noqa: BLE001 - it is the user's exception that fails to tell of itself
        return f"{type(error).__name__}, whose text fails with {type(failure).__name__}"


def cause_of(error: BaseException) -> BaseException:
    """Return the first error of a group of them, which says more than the group."""
    return cause_of(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def exception_attributes(error: BaseException) -> dict[str, str]:
    """Return the attributes of an exception event, as OpenTelemetry's semantic conventions name them."""
    try:
        stack = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - see `describe_error`
        stack = describe_error(error)
    return {
        "exception.type": clean(type(error).__qualname__),
        "exception.message": error_text(describe(error)),
        "exception.stacktrace": cut(clean(stack), LONGEST_STACK),
    }


def _tell(error: BaseException) -> str:
    if isinstance(error, LfexpError):
        return str(error)
    if isinstance(error, SystemExit):
        text = f"SystemExit: the code called sys.exit({show(error.code)})"
    elif isinstance(error, asyncio.CancelledError):
        text = "CancelledError: the code cancelled its own task, or awaited what was cancelled"
    else:
        text = "".join(traceback.format_exception_only(error)).strip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in _CALLERS]
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else text
