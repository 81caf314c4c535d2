"""What scripts are given: a dataset item, and the result of one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

from pydantic import JsonValue

from lfexp_mcp.model import Evaluation


@dataclass(frozen=True, slots=True, eq=False)
class ScriptItem(Mapping[str, JsonValue]):
    """A dataset item with the attributes of the SDK's, as `item.input` or `item["input"]`."""

    id: str
    input: JsonValue
    expected_output: JsonValue = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    dataset_id: str = ""
    dataset_name: str = ""
    source_trace_id: str | None = None

    def __getitem__(self, key: str) -> JsonValue:
        if key not in _FIELDS:
            raise KeyError(key)
        value: JsonValue = getattr(self, key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)


_FIELDS = tuple(spec.name for spec in fields(ScriptItem))


@dataclass(frozen=True, slots=True)
class ScriptItemResult:
    """The result of one item with the attributes of the SDK's `ExperimentItemResult`, for run evaluators."""

    item: ScriptItem
    output: object
    evaluations: list[Evaluation]
    trace_id: str | None
