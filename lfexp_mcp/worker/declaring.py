"""What scripts declare of their scores: an evaluator's attributes, an evaluation's metadata, else a score config."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.model import Evaluation, Scale, ScriptMaker
from lfexp_mcp.scores.declared_scale import Declaration, read_declaration, with_direction
from lfexp_mcp.scripts import RunEvaluator, ScriptEvaluator


@dataclass(frozen=True, slots=True)
class ScriptScale:
    """How the makers of an evaluator's scores are told."""

    maker: ScriptMaker
    """Of scores of which nothing else is declared than by the evaluator itself."""
    own: Declaration
    configured: Mapping[str, Scale] = field(default_factory=dict)
    """The scales that score configs state, by name of the score."""

    @classmethod
    def of(
        cls, evaluator: ScriptEvaluator | RunEvaluator, script: ScriptMaker, configured: Mapping[str, Scale]
    ) -> "ScriptScale":
        """Read what an evaluator declares.

        Raises:
            ScriptError: It cannot be read.
        """
        try:
            own = read_declaration(evaluator.declared)
            maker = _declared(replace(script, function=evaluator.name), own.scale, "evaluator", own.lower_is_better)
        except ValueError as error:
            raise ScriptError(f"The evaluator `{evaluator.name}` declares {error}") from None
        return cls(maker, own, configured)

    def maker_of(self, evaluated: Evaluation) -> ScriptMaker:
        """Return the maker of one score.

        Raises:
            ScriptError: What its metadata declares cannot be read.
        """
        configured = self.configured.get(evaluated.name)
        if not evaluated.metadata and (configured is None or self.own.scale is not None):
            return self.maker
        try:
            given = read_declaration(evaluated.metadata)
            lower = self.own.lower_is_better if given.lower_is_better is None else given.lower_is_better
            if given.scale is not None:
                return _declared(self.maker, given.scale, "evaluation metadata", lower)
            if self.own.scale is not None:
                return _declared(self.maker, self.own.scale, "evaluator", lower)
            return _declared(self.maker, configured, "score config", lower)
        except ValueError as error:
            raise ScriptError(f"The evaluator `{self.maker.function}` declares {error}") from None


def _declared(maker: ScriptMaker, scale: Scale | None, source: str, lower: bool | None) -> ScriptMaker:
    if scale is None:
        return replace(maker, scale=None, scale_source=None, lower_is_better=lower)
    return replace(maker, scale=with_direction(scale, lower), scale_source=source, lower_is_better=None)
