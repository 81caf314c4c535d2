"""How an evaluator script declares its scores; imports nothing, so that scripts may run anywhere."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Evaluator = TypeVar("Evaluator", bound=Callable[..., object])


def evaluator(
    *,
    scale: str | Sequence[float] | Mapping[str, float] | None = None,
    lower_is_better: bool | None = None,
    unit: str | None = None,
) -> Callable[[Evaluator], Evaluator]:
    """Declare the scale of an evaluator's scores, and whether lower values are better.

    Attributes declare the same, as in `word_errors.lower_is_better = True`, and so does the metadata of a single
    `Evaluation`, which takes precedence.

    Args:
        scale: Such as `"1-5"`, `"percent"`, `[0, 100]`, or labels with their values, `{"good": 1, "bad": 0}`. Defaults
            to the Langfuse score config with the score's name, else 0-1.
        lower_is_better: True for error rates, for example.
        unit: Instead of a scale, for what has no best and no worst value, such as `"s"` or `"words"`: the values are
            shown and compared as they are, and kept out of gates.

    Example:
        ```python
        @evaluator(scale="0-100", lower_is_better=True)
        def word_errors(*, output, expected_output, **kwargs): ...
        ```
    """

    def declare(function: Evaluator) -> Evaluator:
        if scale is not None:
            setattr(function, "scale", scale)  # noqa: B010 (a function's type has no such attribute)
        if lower_is_better is not None:
            setattr(function, "lower_is_better", lower_is_better)  # noqa: B010
        if unit is not None:
            setattr(function, "unit", unit)  # noqa: B010
        return function

    return declare
