"""Signatures of the user's functions: they get only the arguments they take, and are checked before the run."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lfexp_mcp.scripts.texts import clean

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a callable."""

    named: frozenset[str]
    """Those that can be passed by name."""
    required: tuple[str, ...]
    """Those without a default, in order, positional-only ones included."""
    takes_any: bool
    """Whether it has `**kwargs`; assumed of a callable without a readable signature."""

    def not_in(self, arguments: Sequence[str]) -> list[str]:
        """Return the required parameters that a call with these keyword arguments would miss."""
        return [
            name if name in self.named else f"{name} by position"
            for name in self.required
            if name not in arguments or name not in self.named
        ]

    def select(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Keep the arguments that the callable takes."""
        return {key: value for key, value in arguments.items() if self.takes_any or key in self.named}


def signature_of(function: Callable[..., object]) -> Signature:
    """Read the signature of a function, method, partial or callable object."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # Functions written in C may have none.
        return Signature(frozenset(), (), takes_any=True)
    variable = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return Signature(
        frozenset(parameter.name for parameter in parameters if parameter.kind in _NAMED),
        tuple(p.name for p in parameters if p.default is p.empty and p.kind not in variable),
        any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters),
    )


def unwrapped(function: Callable[..., object]) -> Callable[..., object]:
    """Return what a partial, or a partial of one, calls in the end."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def is_async(function: Callable[..., object]) -> bool:
    """Whether a call returns a coroutine: an `async def`, a partial of one, or an object's async `__call__`."""
    function = unwrapped(function)
    method = getattr(type(function), "__call__", None)  # noqa: B004 (the method is inspected, not tested for)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(method)


def name_of(function: Callable[..., object]) -> str:
    """Return the name of a function, of a partial's function, or of an object's class."""
    function = unwrapped(function)
    name = getattr(function, "__name__", None)
    return clean(name) if isinstance(name, str) else type(function).__name__
