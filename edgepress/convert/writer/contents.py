"""The contents of constants, behind the tables of a `.tflite` that name them.

FlatBuffers' builder wants all in one piece of memory. So a table of schema.Buffer is built with a number that
takes the place of where its content is, and gets that once the tables' size is known. In files of up to 2 GB,
which is as far as offsets in a FlatBuffer go, a content is a vector of it. In larger ones it lies outside,
and the table has its place from the file's beginning and its size (`offset` and `size` in
tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

import struct
from collections.abc import Sequence

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edgepress.convert.pieces import Pieces
from edgepress.convert.writer.graph import Array

ALIGNMENT = 16
"""Bytes, as the schema has it for `data` of a Buffer."""

MOST_BYTES = 2**31 - 2**24
"""Of a FlatBuffer's contents; what is left to 2 GB is for the tables."""

_DATA, _OFFSET = 0, 1
"""Slots of schema.Buffer."""

_LATER = 2
"""Stands for a place that is not known yet; 0 and 1 mean none."""


def buffer_table(builder: flatbuffers.Builder, array: Array | None, outside: bool) -> int:
    """A table of schema.Buffer for a content that follows later; None and empty arrays have none."""
    schema.BufferStart(builder)
    if array is not None and array.nbytes:
        if outside:
            schema.BufferAddOffset(builder, _LATER)
            schema.BufferAddSize(builder, array.nbytes)
        else:
            builder.PrependUint32Slot(_DATA, _LATER, 0)
    return int(schema.BufferEnd(builder))


def with_contents(
    builder: flatbuffers.Builder, tables: Sequence[tuple[int, Array | None]], outside: bool
) -> Pieces:
    """The finished tables and, behind them, the contents.

    `tables` are those of `buffer_table`, as offsets in the builder, each with its content.
    """
    head = builder.Output()
    parts, end = list[bytes | Array](), len(head)
    for offset, array in tables:
        if array is None or not array.nbytes:
            continue
        length = b"" if outside else struct.pack("<I", array.nbytes)
        begin = -(-(end + len(length)) // ALIGNMENT) * ALIGNMENT
        parts += [bytes(begin - end - len(length)) + length, array]
        end = begin + array.nbytes
        table = len(head) - offset
        if outside:
            struct.pack_into("<Q", head, _field(head, table, _OFFSET), begin)
        else:
            place = _field(head, table, _DATA)
            struct.pack_into("<I", head, place, begin - len(length) - place)
    return Pieces([bytes(head), *parts])


def _field(content: bytearray, table: int, slot: int) -> int:
    """Where in the file a table has its field of that slot."""
    distance: int = struct.unpack_from("<i", content, table)[0]
    place: int = struct.unpack_from("<H", content, table - distance + 4 + 2 * slot)[0]
    return table + place
