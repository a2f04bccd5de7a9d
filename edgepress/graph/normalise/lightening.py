"""The bytes of a file's large weights, found before the file is parsed, so that parsing does not copy them.

The file is walked as protobuf's wire format has it (protobuf.dev/programming-guides/encoding): through the
fields of the model, its graph and its initializers. What is not as an exporter would write it stays as it is.
"""

from collections.abc import Iterator
from typing import NamedTuple

import onnx

from edgepress.graph.aside import LARGE
from edgepress.graph.normalise.bulk import Content, varint
from edgepress.graph.normalise.limits import MAX_NODES

_MOST_FIELDS = 4 * MAX_NODES
_BYTES = 2
"""The wire type of messages, text and bytes."""

_FIXED = {1: 8, 5: 4}

_GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
_RAW_DATA = onnx.TensorProto.RAW_DATA_FIELD_NUMBER


class _Field(NamedTuple):
    """A field from `begin` to `end`, its content from `inner` on."""

    number: int
    begin: int
    inner: int
    end: int


def lightened(content: Content) -> tuple[Content, dict[int, memoryview]]:
    """The file without the raw data of its large initializers, and these bytes by the initializer's place.

    A file that is not in the wire format, or in a form that no exporter writes, comes back whole.
    """
    try:
        graphs = [field for field in _fields(content, 0, len(content)) if field.number == _GRAPH]
        if len(graphs) != 1:
            return content, {}
        pieces, heavy = _graph_in_pieces(content, graphs[0])
    except ValueError:
        return content, {}
    if not heavy:
        return content, {}
    graph = graphs[0]
    parts = [content[: graph.begin], *_message(_GRAPH, pieces), content[graph.end :]]
    return b"".join(parts), heavy


def _graph_in_pieces(content: Content, graph: _Field) -> tuple[list[Content], dict[int, memoryview]]:
    """The graph's content without its large weights, and these."""
    pieces, heavy, place, count = list[Content](), dict[int, memoryview](), graph.inner, 0
    for field in _fields(content, graph.inner, graph.end):
        if field.number != _INITIALIZER:
            continue
        count += 1
        if field.end - field.inner <= 4 * LARGE:
            continue
        raw = [each for each in _fields(content, field.inner, field.end) if each.number == _RAW_DATA]
        if len(raw) != 1 or raw[0].end - raw[0].inner <= 4 * LARGE:
            continue
        rest = [content[field.inner : raw[0].begin], content[raw[0].end : field.end]]
        pieces += [content[place : field.begin], *_message(_INITIALIZER, rest)]
        heavy[count - 1] = memoryview(content)[raw[0].inner : raw[0].end]
        place = field.end
    return [*pieces, content[place : graph.end]], heavy


def _fields(content: Content, place: int, end: int) -> Iterator[_Field]:
    """The fields of a message.

    Raises:
        ValueError: it is no message, or one of very many fields.
    """
    for _ in range(_MOST_FIELDS):
        if place == end:
            return
        begin = place
        tag, place = varint(content, place)
        wire, inner = tag & 7, place
        if wire == _BYTES:
            length, inner = varint(content, place)
            place = inner + length
        else:
            place = varint(content, place)[1] if wire == 0 else place + _FIXED.get(wire, end)
        if place > end:
            break
        yield _Field(tag >> 3, begin, inner, place)
    raise ValueError("no message, or one of very many fields")


def _message(number: int, pieces: list[Content]) -> list[Content]:
    """A field that holds the pieces, one behind the other."""
    return [_encoded(number << 3 | _BYTES), _encoded(sum(map(len, pieces))), *pieces]


def _encoded(value: int) -> bytes:
    """A number as a varint."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
