"""Who made a score. A maker is part of its score and never changes: the score of another maker is another score."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, Field, JsonValue

from lfexp_mcp.model.scale import Scale, parse_scale_name

ScoreOrigin = Literal["run", "api", "langfuse", "human"]
"""Where a score comes from: the run's own judges and scripts, others through the API, Langfuse's own evaluators, or
humans. Scores of one name but different origins are different scores."""


@dataclass(frozen=True, slots=True)
class JudgeMaker:
    """A judge: a version of a prompt, the model that answered it, and the scale of its answers."""

    origin: ClassVar[ScoreOrigin] = "run"

    prompt: str
    version: int | None = None
    provider: str | None = None
    model: str | None = None
    scale: Scale | None = None
    """None where version 0.1 recorded only the name of a scale of labels."""
    scale_source: str | None = None
    """Where the scale was found, such as `prompt config`."""
    against: str | None = None
    """Of a pairwise judge: the run whose outputs those that it scored were compared with."""
    kind: Literal["judge"] = "judge"

    @property
    def label(self) -> str:
        """The maker for a reader, such as `judge-tone version 2 (gpt-4o)`."""
        version = f" version {self.version}" if self.version is not None else ""
        against = f" against {self.against}" if self.against else ""
        return f"{self.prompt}{version}{against}" + (f" ({self.model})" if self.model else "")

    def scores_like(self, other: "ScoreMaker") -> bool:
        """Whether another maker's values mean the same: only those of the very same judge do."""
        return isinstance(other, JudgeMaker) and (
            (self.prompt, self.version, self.provider, self.model, self.scale, self.against)
            == (other.prompt, other.version, other.provider, other.model, other.scale, other.against)
        )

    def is_same(self, other: "ScoreMaker | None") -> bool:
        """Whether another maker is this very judge; what version 0.1 did not record is taken to be the same."""
        if not isinstance(other, JudgeMaker) or (self.prompt, self.against) != (other.prompt, other.against):
            return False
        mine = (self.version, self.provider, self.model, self.scale)
        theirs = (other.version, other.provider, other.model, other.scale)
        return all(None in pair or pair[0] == pair[1] for pair in zip(mine, theirs, strict=True))


@dataclass(frozen=True, slots=True)
class ScriptMaker:
    """A function of an evaluator script."""

    origin: ClassVar[ScoreOrigin] = "run"

    function: str | None = None
    """None where version 0.1 did not record it."""
    file: str | None = None
    """The script's name, without its folder."""
    sha256: str | None = None
    """Of the script's content."""
    scale: Scale | None = None
    """As the evaluator, else the score config of that name, declared it when the evaluator ran; None if neither did."""
    scale_source: str | None = None
    lower_is_better: bool | None = None
    """Declared without a scale; with one, it is part of `scale`."""
    unit: str | None = None
    """Of values that have no scale."""
    kind: Literal["script"] = "script"

    @property
    def label(self) -> str:
        """The maker for a reader, such as `exact_match of checks.py (1f0c55aa90b2)`."""
        of = f" of {self.file}" if self.file else ""
        return f"{self.function or 'evaluator script'}{of}" + (f" ({self.sha256[:12]})" if self.sha256 else "")

    def scores_like(self, other: "ScoreMaker") -> bool:
        """Whether another maker's values mean the same: those of an edited script do, on the same scale."""
        return isinstance(other, ScriptMaker) and (
            (self.scale, bool(self.lower_is_better), self.unit)
            == (other.scale, bool(other.lower_is_better), other.unit)
        )

    def is_same(self, other: "ScoreMaker | None") -> bool:
        """Whether another maker is the same function of the same script, whatever scale its scores are on."""
        return isinstance(other, ScriptMaker) and (self.function, self.sha256) == (other.function, other.sha256)


@dataclass(frozen=True, slots=True)
class BuiltInMaker:
    """A built-in evaluator with its options."""

    origin: ClassVar[ScoreOrigin] = "run"

    evaluator: str
    version: int = 1
    options: str | None = None
    """As JSON, without those that have their defaults; a long one is given by its hash."""
    scale: Scale | None = None
    scale_source: str | None = None
    lower_is_better: bool | None = None
    """Declared without a scale; with one, it is part of `scale`."""
    unit: str | None = None
    """Of values that have no scale."""
    kind: Literal["built-in"] = "built-in"

    @property
    def label(self) -> str:
        """The maker for a reader, such as `built-in numeric {"tolerance": 0.01}`."""
        return f"built-in {self.named}"

    @property
    def named(self) -> str:
        """The evaluator with its options."""
        return f"{self.evaluator} {self.options}" if self.options else self.evaluator

    def scores_like(self, other: "ScoreMaker") -> bool:
        """Whether another maker's values mean the same: only those of the very same options do."""
        return self == other

    def is_same(self, other: "ScoreMaker | None") -> bool:
        """Whether another maker is this evaluator with the same options."""
        return isinstance(other, BuiltInMaker) and (
            (self.evaluator, self.version, self.options) == (other.evaluator, other.version, other.options)
        )


@dataclass(frozen=True, slots=True)
class HumanMaker:
    """A human who annotated."""

    origin: ClassVar[ScoreOrigin] = "human"

    author: str | None = None
    config_id: str | None = None
    kind: Literal["human"] = "human"

    @property
    def label(self) -> str:
        """The maker for a reader."""
        return "human annotation"

    def scores_like(self, other: "ScoreMaker") -> bool:
        """Whether another maker's values mean the same."""
        return isinstance(other, HumanMaker)


@dataclass(frozen=True, slots=True)
class OtherMaker:
    """Anyone else, through Langfuse's API or one of its own evaluators."""

    source: Literal["API", "EVAL"] = "API"
    kind: Literal["other"] = "other"

    @property
    def origin(self) -> ScoreOrigin:
        """See `ScoreOrigin`."""
        return "langfuse" if self.source == "EVAL" else "api"

    @property
    def label(self) -> str:
        """The maker for a reader."""
        return "Langfuse evaluator" if self.source == "EVAL" else "written through the API by others"

    def scores_like(self, other: "ScoreMaker") -> bool:
        """Whether another maker's values mean the same."""
        return isinstance(other, OtherMaker) and self.source == other.source


@dataclass(frozen=True, slots=True)
class EvaluatorInfo:
    """An evaluator or judge that scores the run."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    kind: Literal["judge", "script", "run", "built-in"]
    version: Annotated[int | None, Field(description="Version of the judge's prompt.")] = None
    model: Annotated[str | None, Field(description="The judge's model.")] = None
    scale: str | None = None
    scale_source: str | None = None
    made_by: str | None = None
    """A built-in evaluator with its options."""

    @classmethod
    def of_judge(cls, judge: JudgeMaker) -> "EvaluatorInfo":
        """Describe a judge."""
        scale = judge.scale.name if judge.scale else None
        return cls(judge.prompt, "judge", judge.version, judge.model, scale, judge.scale_source)

    @property
    def label(self) -> str:
        """The evaluator for a reader, such as `judge-tone (version 3, gpt-4o, scale 0-10 (prompt config))`."""
        if self.made_by is not None:
            name = "" if self.made_by.split()[0] == self.name else f"{self.name}: "
            return f"{name}{self.made_by} ({self.kind})"
        if self.kind != "judge":
            return f"{self.name} ({'the whole run' if self.kind == 'run' else self.kind})"
        scale = f"scale {self.scale} ({self.scale_source})" if self.scale else ""
        parts = (f"version {self.version}" if self.version is not None else "", self.model or "", scale)
        return f"{self.name} ({', '.join(part for part in parts if part)})"


RUN_MAKERS = JudgeMaker | ScriptMaker | BuiltInMaker
RunMaker: TypeAlias = Annotated[JudgeMaker | ScriptMaker | BuiltInMaker, Field(discriminator="kind")]
"""A maker of the run itself."""
ScoreMaker: TypeAlias = Annotated[
    JudgeMaker | ScriptMaker | BuiltInMaker | HumanMaker | OtherMaker, Field(discriminator="kind")
]
OTHERS = OtherMaker()


def are_mixed(makers: Iterable[ScoreMaker]) -> bool:
    """Tell whether the values of some makers do not mean the same, so that they have no common mean."""
    first, *others = makers
    return not all(first.scores_like(other) for other in others)


def scaled_label(maker: ScoreMaker) -> str:
    """Name a maker with its scale, which may be all that differs from another maker."""
    scale = maker.scale if isinstance(maker, RUN_MAKERS) else None
    return f"{maker.label} on {scale.name}" if scale is not None else maker.label


def recorded_maker(metadata: Mapping[str, JsonValue]) -> JudgeMaker | None:
    """Read the judge that version 0.1 recorded in the metadata of a score.

    Returns:
        None if the metadata names no judge.
    """
    prompt, scale = metadata.get("prompt"), metadata.get("scale")
    if not (isinstance(prompt, str) and isinstance(scale, str) and "prompt_version" in metadata):
        return None
    return JudgeMaker(
        prompt=prompt,
        version=_integer(metadata["prompt_version"]),
        provider=_text(metadata.get("provider")),
        model=_text(metadata.get("model")),
        scale=parse_scale_name(scale),
        scale_source=_text(metadata.get("scale_source")),
    )


def _integer(value: JsonValue) -> int | None:
    try:
        return int(value) if isinstance(value, int | str) else None
    except ValueError:
        return None


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None
