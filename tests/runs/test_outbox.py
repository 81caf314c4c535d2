"""The outbox: whole batches survive, refused ones can be taken apart."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from lfexp_mcp.errors import StateError
from lfexp_mcp.runs.outbox import Outbox, count_spans, count_waiting_spans, waiting_files
from lfexp_mcp.runs.span_batches import name_spans, split_batch

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


@pytest.mark.slow
@given(shape=batches, position=st.integers(0, 10_000), bit=st.integers(0, 7), torn=st.booleans())
def test_damage_to_one_batch_costs_no_other(
    tmp_path_factory: pytest.TempPathFactory, shape: list[list[int]], position: int, bit: int, torn: bool
) -> None:
    folder = tmp_path_factory.mktemp("outbox")
    outbox = Outbox(folder)
    sizes = []
    for batch in (make_batch([[3]]), make_batch(shape, 1000), make_batch([[2]], 2000)):
        outbox.append(batch)
        sizes.append((folder / "00000001.spans").stat().st_size)
    outbox.seal()
    content = bytearray((folder / "00000001.spans").read_bytes())
    place = sizes[0] + position % (sizes[1] - sizes[0])
    if torn:
        del content[place : sizes[1]]
    else:
        content[place] ^= 1 << bit
    (folder / "00000001.spans").write_bytes(content)
    taken = Outbox(folder).take()
    assert taken is not None
    found = outbox.read(taken)
    kept = [name for batch in found.contents for _, name in name_spans(batch)]
    assert kept == ["span 1", "span 2", "span 3", "span 2001", "span 2002"]
    assert found.lost_bytes > 0 or (torn and place == sizes[0])


@given(shape=batches)
def test_the_halves_of_a_batch_hold_its_spans_in_order(shape: list[list[int]]) -> None:
    batch = make_batch(shape)
    assert count_spans(batch) == len(name_spans(batch)) == sum(map(sum, shape))
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
    assert [count_spans(batch) for batch in again.read(left).contents] == [4]
    assert again.is_empty()


def test_an_outbox_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "outbox"
    folder.write_text("a file where the folder should be")
    with pytest.raises(StateError) as raised:
        Outbox(folder)
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_of_the_version_before_is_read_as_far_as_it_is_whole(tmp_path: Path, whole: bool) -> None:
    folder = tmp_path / "outbox"
    folder.mkdir()
    before = make_batch([[2]]) if whole else b""
    (folder / "00000001.otlp").write_bytes(before + b"\x0a\x02\xff\xff" + make_batch([[1]], 9)[:7])
    assert count_waiting_spans(folder) == (2 if whole else 0)
    outbox = Outbox(folder)
    outbox.append(make_batch([[1]], 20))
    outbox.seal()
    taken = outbox.take()
    assert taken is not None
    found = outbox.read(taken)
    assert b"".join(found.contents) == before
    assert found.lost_bytes == 11
    following = outbox.take()
    assert following is not None
    assert following.name == "00000002.spans"


def test_a_refused_span_is_kept_apart(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.refuse("abc", make_batch([[1]]))
    assert outbox.is_empty()
    assert count_waiting_spans(tmp_path / "outbox") == 0


def test_what_a_forked_process_writes_is_sent_though_its_parent_has_removed_the_file_that_was_open(
    tmp_path: Path,
) -> None:
    parent, child = Outbox(tmp_path), Outbox(tmp_path)
    parent.append(b"parent's")
    child.start_fork()
    parent.seal()
    first = parent.take()
    assert first is not None
    parent.remove(first)
    assert parent.is_empty()
    child.append(b"child's")
    assert not parent.is_empty()
    second = parent.take()
    assert second is not None
    assert (parent.read(second).contents, parent.take()) == ([b"child's"], None)
    parent.remove(second)
    assert (parent.is_empty(), waiting_files(tmp_path)) == (True, [])


def test_fields_of_any_kind_between_spans_are_not_counted() -> None:
    # A varint, 8 bytes, 4 bytes, and a text, as later versions of the protocol may add them.
    others = bytes([0x78, 0xFF, 0x01, 0x79, *[0x12] * 8, 0x7D, *[0x12] * 4, 0x7A, 0x02, 0x12, 0x12])

    def field(tag: int, content: bytes) -> bytes:
        return bytes([tag, len(content) % 128 + 128, len(content) // 128]) + content

    scope = others + field(0x12, b"") * 2 + others + field(0x12, b"\x2a\x01x")
    batch = others + field(0x0A, others + field(0x12, scope) + field(0x1A, b"\x12\x00")) + others
    assert count_spans(batch) == len(name_spans(batch)) == 3
    assert count_spans(b"") == 0
