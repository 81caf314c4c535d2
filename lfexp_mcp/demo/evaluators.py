"""How the demo scores an output: a number a line, and words for whoever reads the failures."""

from langfuse import Evaluation


def correct(*, output: float | None, expected_output: float, **_kwargs: object) -> Evaluation:
    """Check that the total is right to the cent."""
    right = output is not None and abs(output - expected_output) < 0.005
    return Evaluation(
        name="correct",
        value=1.0 if right else 0.0,
        comment="right to the cent" if right else f"read {output}, but {expected_output} was asked",
    )


EVALUATORS = [correct]
