"""What fails alike: errors by message, failing results by expected and actual value, comment and look of the output."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lfexp_mcp.answers.analysis import FailureGroup
from lfexp_mcp.masking import mask
from lfexp_mcp.model import ItemResult, ResultKey, RunRecord
from lfexp_mcp.services.analysis.expected_actual import (
    NOT_A_LABEL,
    OTHERS,
    LabelledResult,
    expected_fields,
    group_by_expected,
    label_of,
)
from lfexp_mcp.services.analysis.notable_items import Failure
from lfexp_mcp.services.analysis.output_shapes import OutputLook, output_shapes
from lfexp_mcp.services.answer_size import AnswerSize, truncate_text
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.themes.templates import exception_name, first_sentence, group_texts, message_of

By = Literal["error", "expected and actual", "comment", "output"]
MIN_SHARE = 0.04
"""Fewer of the failing results than this are no group; neither is a single one, unless it is an error."""
MIN_WITHOUT_PATTERN = 5
"""Results of which no two fail alike, from which they are worth a line."""
MIN_REPEATED_CHARS = 20
"""Shorter outputs may well be the same for different inputs, unless they are `MIN_REPEATED_SHARE` of the failing."""
MIN_REPEATED_SHARE = 0.2
MAX_GROUPS = 10
"""Of those that an answer shows."""
MAX_KEY_CHARS = 160
MAX_COMPARED = 100
"""Results of a group whose outputs are read to find two examples that differ."""
MAX_WHERE = 3


@dataclass(frozen=True, slots=True)
class Group:
    """Results that fail alike."""

    key: str
    items: tuple[ItemResult, ...]
    of: int
    where: str | None = None
    text: str | None = None
    """What the first of them says."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """One way to group results; each is in one group at most."""

    by: By
    groups: tuple[Group, ...]
    whole: tuple[ItemResult, ...] = ()
    """All that could be in a group; empty where the results in none are of no interest."""
    where: str | None = None


@dataclass(frozen=True, slots=True)
class _Output:
    """A succeeded result, and what there is to say of its output."""

    result: ItemResult
    is_scored: bool
    """Whether it has a value that passes or fails, not only text, a label without a value, or a number in a unit."""
    labels: LabelledResult
    look: OutputLook

    @property
    def repetition(self) -> str:
        """The key of the results with the same output."""
        return f"same output: {self.labels.output}"


def find_groups(
    values: ScoredRun, scores: Sequence[str], commented: Sequence[Failure], others: Sequence[Failure] = ()
) -> list[Grouping]:
    """Group the errors and the failing results of a run.

    Args:
        scores: The scores that results fail by.
        commented: The failing results whose scores have their comments.
        others: Further ones, whose comments were not read.
    """
    failures = [failure for failure in (*commented, *others) if failure.item.status == "succeeded"]
    outputs = _read_outputs(values, scores, failures)
    labels = {one.result.key: one.labels for one in outputs}
    confusions = group_by_expected([one.labels for one in outputs], [labels[failure.item.key] for failure in failures])
    expected = [
        Grouping(
            "expected and actual",
            tuple(
                Group(cell.key, alike, cell.of, _failing_by(failures, alike))
                for cell in confusion.cells
                if (alike := tuple(failures[index].item for index in cell.indices))
            ),
            tuple(failures[index].item for index in confusion.indices) if confusion.labels else (),
        )
        for confusion in confusions
    ]
    by_output = _by_output(outputs, failures, has_labels=any(one.labels for one in confusions))
    told = {
        _keys(failures[index].item for index in cell.indices): cell.labels
        for confusion in confusions
        for cell in confusion.cells
    }
    by_output = [group for group in by_output if NOT_A_LABEL in told.get(_keys(group.items), (NOT_A_LABEL,))]
    return [
        *_errors(values.record.items),
        *expected,
        *(_without_told(grouping, told) for grouping in _comments(values, commented)),
        Grouping("output", tuple(by_output)),
    ]


def _without_told(comments: Grouping, told: Mapping[frozenset[ResultKey], tuple[str, ...]]) -> Grouping:
    """Leave out comments that only repeat an expected and an actual output that are a group already."""
    left = []
    for group in comments.groups:
        labels = told.get(_keys(group.items), ())
        if not labels or not all(label.strip('"') in group.key for label in labels):
            left.append(group)
    repeated = _keys(item for group in comments.groups if group not in left for item in group.items)
    whole = tuple(item for item in comments.whole if item.key not in repeated)
    return replace(comments, groups=tuple(left), whole=whole)


def _keys(items: Iterable[ItemResult]) -> frozenset[ResultKey]:
    return frozenset(item.key for item in items)


def show_groups(groupings: Sequence[Grouping], record: RunRecord, size: AnswerSize) -> list[FailureGroup]:
    """Show the largest groups at a given size, and count the results that are in none of those shown."""
    worth = [(one, group) for one in groupings for group in one.groups if _is_worth_showing(one, group)]
    worth.sort(key=lambda found: (-len(found[1].items), found[0].by, found[1].where or "", found[1].key))
    most = min(size.rows, MAX_GROUPS)
    shown = worth[:most]
    rests: list[tuple[Grouping, Group]] = []
    for one in groupings:
        inside = {id(item) for grouping, group in shown if grouping is one for item in group.items}
        left = tuple(item for item in one.whole if id(item) not in inside)
        if inside and left:
            rests.append((one, Group(OTHERS, left, len(one.whole), one.where)))
        elif len(left) >= MIN_WITHOUT_PATTERN and not any(grouping is one for grouping, _ in worth):
            rests.append((one, Group("(no pattern)", left, len(one.whole), one.where)))
    return [_show(one, group, record, size) for one, group in (*shown, *rests[:most])]


def _is_worth_showing(grouping: Grouping, group: Group) -> bool:
    if group.key == OTHERS:
        return False
    return grouping.by == "error" or len(group.items) >= max(2, MIN_SHARE * len(grouping.whole))


def _show(grouping: Grouping, group: Group, record: RunRecord, size: AnswerSize) -> FailureGroup:
    items = len({item.item_id for item in group.items})
    text = None if group.text is None else truncate_text(mask(group.text), min(size.text_chars, MAX_KEY_CHARS))
    key = truncate_text(mask(group.key), MAX_KEY_CHARS)
    return FailureGroup(
        by=grouping.by,
        where=group.where,
        key=key,
        count=len(group.items),
        of=group.of,
        items=items if len(record.experiment_ids) > 1 else None,
        examples=_examples(group.items),
        text=None if text == key else text,
    )


def _examples(items: Sequence[ItemResult]) -> list[str]:
    """Two items, with different outputs if there are among the first."""
    first = items[0]
    others = [item for item in items[:MAX_COMPARED] if item.item_id != first.item_id]
    second = next((item for item in others if item.output != first.output), next(iter(others), None))
    return [first.item_id, *([second.item_id] if second is not None else [])]


def _failing_by(failures: Sequence[Failure], items: Iterable[ItemResult]) -> str | None:
    """The scores that results fail by, the most frequent first."""
    alike = {id(item) for item in items}
    names = Counter(name for failure in failures if id(failure.item) in alike for _, name in failure.scores)
    return ", ".join(sorted(names, key=lambda name: (-names[name], name))[:MAX_WHERE]) or None


def _errors(items: Sequence[ItemResult]) -> list[Grouping]:
    found: dict[str, list[tuple[str, ItemResult]]] = {}
    for item in items:
        if item.status == "failed":
            found.setdefault("task", []).append((item.error or "", item))
        for missing in item.unscored:
            found.setdefault(missing.name, []).append((missing.error, item))
    return [_by_text("error", where, errors) for where, errors in found.items()]


def _comments(values: ScoredRun, failures: Sequence[Failure]) -> list[Grouping]:
    found: dict[str, list[tuple[str, ItemResult]]] = {}
    for failure in failures:
        for _, name in failure.scores:
            score = values.score_of(failure.item, name)
            comment = score.comment if score is not None else None
            found.setdefault(name, []).append(((comment or "").strip(), failure.item))
    return [
        _by_text("comment", where, comments) for where, comments in found.items() if any(text for text, _ in comments)
    ]


def _by_text(by: Literal["error", "comment"], where: str, said: Sequence[tuple[str, ItemResult]]) -> Grouping:
    levels = (message_of, exception_name) if by == "error" else (str, first_sentence)
    groups = [
        Group(
            group.template or "no message",
            tuple(said[index][1] for index in group.indices),
            len(said),
            where,
            said[group.indices[0]][0] or None,
        )
        for group in group_texts([text for text, _ in said], levels)
        if by == "error" or group.says_more_than_a_score
    ]
    return Grouping(by, tuple(groups), tuple(item for _, item in said), where)


def _read_outputs(values: ScoredRun, scores: Sequence[str], failures: Sequence[Failure]) -> list[_Output]:
    """Read the outputs of a run's succeeded results, each once; none if there is nothing to group."""
    succeeded = [item for item in values.record.items if item.status == "succeeded"]
    on_scale = [name for name in scores if values.has_scale(name)]
    scored = [any(values.value_of(item, name) is not None for name in on_scale) for item in succeeded]
    if not failures and all(scored):
        return []
    fields = expected_fields(succeeded)
    return [
        _Output(item, is_scored, LabelledResult.of(item, fields), OutputLook.of(item))
        for item, is_scored in zip(succeeded, scored, strict=True)
    ]


def _by_output(outputs: Sequence[_Output], failures: Sequence[Failure], *, has_labels: bool) -> list[Group]:
    """Group failing results, and those without a value, whose outputs look wrong more often than passing ones do."""
    failing = {failure.item.key: failure.item for failure in failures}
    shapes = output_shapes([one.look for one in outputs])
    found: dict[str, list[_Output]] = {}
    plain, passing = list[_Output](), Counter[str]()
    for one, shape in zip(outputs, shapes, strict=True):
        failed = failing.get(one.result.key)
        if one.is_scored and failed is None:
            passing[shape or one.repetition] += 1
            continue
        suspect = replace(one, result=failed or one.result)
        (plain if shape is None else found.setdefault(shape, [])).append(suspect)
    suspects, passed = len(plain) + sum(map(len, found.values())), passing.total()
    if not has_labels:
        found |= _repeated(plain, suspects)
    groups = []
    for key, alike in found.items():
        # As often among passing outputs, it says nothing about failures.
        if len(alike) * passed > passing[key] * suspects or not passed:
            items = tuple(one.result for one in alike)
            groups.append(Group(key, items, suspects, _failing_by(failures, items), alike[0].labels.output))
    return groups


def _repeated(outputs: Iterable[_Output], suspects: int) -> dict[str, list[_Output]]:
    """Group results with the same output for different inputs."""
    alike: dict[str, list[_Output]] = {}
    for one in outputs:
        alike.setdefault(one.repetition, []).append(one)
    return {
        key: group
        for key, group in alike.items()
        if (len(group[0].labels.output) >= MIN_REPEATED_CHARS or len(group) >= MIN_REPEATED_SHARE * suspects + 1)
        and len(group) > 1
        and len({label_of(one.result.input) for one in group}) > 1
    }
