"""The outbox: whole batches survive, refused ones can be taken apart."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from lfexp_mcp.errors import StateError
from lfexp_mcp.runs.otlp import count_spans, name_spans, split_batch
from lfexp_mcp.runs.outbox import Outbox, complete_length, count_waiting_spans

batches = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3), min_size=1, max_size=3)


def make_batch(shape: list[list[int]], start: int = 0) -> bytes:
    """A batch of resources, each with scopes of so many spans."""
    number = start
    resources = []
    for scopes in shape:
        scope_spans = []
        for count in scopes:
            spans = []
            for _ in range(count):
                number += 1
                spans.append(Span(span_id=number.to_bytes(8), name=f"span {number}"))
            scope_spans.append(ScopeSpans(scope=InstrumentationScope(name="langfuse-sdk"), spans=spans))
        resources.append(ResourceSpans(scope_spans=scope_spans))
    return bytes(ExportTraceServiceRequest(resource_spans=resources).SerializeToString())


@given(first=batches, second=batches)
def test_batches_one_after_the_other_are_one_batch(first: list[list[int]], second: list[list[int]]) -> None:
    both = make_batch(first) + make_batch(second, 1000)
    assert name_spans(both) == name_spans(make_batch(first)) + name_spans(make_batch(second, 1000))
    assert complete_length(both) == len(both)


@given(shape=batches, cut=st.integers(1, 60))
def test_a_torn_batch_is_cut_to_whole_records(shape: list[list[int]], cut: int) -> None:
    whole = make_batch([[3]])
    torn = make_batch(shape, 1000)
    content = whole + torn[: max(len(torn) - cut, 0)]
    kept = content[: complete_length(content)]
    assert name_spans(kept)[:3] == name_spans(whole)
    assert count_spans(kept) <= count_spans(whole + torn)


@given(shape=batches)
def test_the_halves_of_a_batch_hold_its_spans_in_order(shape: list[list[int]]) -> None:
    batch = make_batch(shape)
    if count_spans(batch) < 2:
        return
    first, second = split_batch(batch)
    assert name_spans(first) + name_spans(second) == name_spans(batch)
    assert abs(count_spans(first) - count_spans(second)) <= 1
    scopes = [scope for part in (first, second) for scope in ExportTraceServiceRequest.FromString(part).resource_spans]
    assert {spans.scope_spans[0].scope.name for spans in scopes} == {"langfuse-sdk"}


def test_what_was_not_acknowledged_is_there_for_the_next_worker(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.append(make_batch([[2]]))
    outbox.append(make_batch([[1]], 10))
    outbox.seal()
    outbox.append(make_batch([[4]], 20))
    assert count_waiting_spans(tmp_path / "outbox") == 7
    taken = outbox.take()
    assert taken is not None
    outbox.remove(taken)
    outbox.sync()
    outbox.seal()
    again = Outbox(tmp_path / "outbox")
    left = again.take()
    assert left is not None
    assert count_spans(left.read_bytes()) == 4
    assert again.is_empty()


def test_an_outbox_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "outbox"
    folder.write_text("a file where the folder should be")
    with pytest.raises(StateError, match="cannot be used") as raised:
        Outbox(folder)
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize("left", [0, 5])
def test_a_file_torn_by_a_kill_is_mended_when_it_is_opened_again(tmp_path: Path, left: int) -> None:
    folder = tmp_path / "outbox"
    folder.mkdir()
    whole = make_batch([[2]])
    (folder / "00000001.otlp").write_bytes((whole if left else b"") + make_batch([[1]], 9)[:7])
    outbox = Outbox(folder)
    taken = outbox.take()
    if left:
        assert taken is not None
        assert taken.read_bytes() == whole
    else:
        assert taken is None


def test_a_refused_span_is_kept_apart(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.refuse("abc", make_batch([[1]]))
    assert outbox.is_empty()
    assert count_waiting_spans(tmp_path / "outbox") == 0
