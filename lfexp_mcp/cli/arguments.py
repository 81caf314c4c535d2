"""Flags that take several values after one another, as the specification prints them."""

from collections.abc import Sequence

MANY_VALUED = frozenset({"--judges", "--runs", "--fail-if", "--trace-ids", "--labels"})


def spread(arguments: Sequence[str]) -> list[str]:
    """Repeat a flag before each of its values: `--runs a b` becomes `--runs a --runs b`.

    Values end at the next flag; the first value may start with a dash only as `--runs=-a`.
    """
    spread_out: list[str] = []
    flag: str | None = None
    has_value = False
    for argument in arguments:
        if argument.startswith("-") and argument != "-":
            name, equals, _ = argument.partition("=")
            flag, has_value = (name if name in MANY_VALUED else None), bool(equals)
        elif flag is not None:
            if has_value:
                spread_out.append(flag)
            has_value = True
        spread_out.append(argument)
    return spread_out
