"""The contents of constants between the tables of a `.tflite`.

FlatBuffers' builder wants all in one piece of memory. So a table of schema.Buffer is built with a number that
takes the place of where its content is, and gets that once the contents' places are known: behind the tables
that name them and before all others, where files compress best.

That holds for files of up to 2 GB, which is as far as offsets in a FlatBuffer go. In larger ones the contents
lie behind the FlatBuffer, and a table has the place from the file's beginning and the size (`offset` and
`size` in tensorflow/compiler/mlir/lite/schema/schema.fbs).
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

_ELSEWHERE = (1, 2, 3, 6, 7)
"""Slots of schema.Model with what was built before the buffers."""

_LATER = 2
"""Stands for a place that is not known yet; 0 and 1 mean none."""

Content = tuple[int, Array]
"""A table of schema.Buffer, as an offset in the builder, and what it is to hold."""


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


def filled(tables: Sequence[int], arrays: Sequence[Array | None], texts: int) -> list[Content]:
    """The tables that have contents, in the order in which these lie in the file; so many are texts.

    What is of one type lies together, which compresses better: codes are like codes, not like biases.
    """
    pairs = list(zip(tables, arrays, strict=True))
    constants = [(table, array) for table, array in pairs if array is not None and array.nbytes]
    behind = constants[len(constants) - texts :]
    del constants[len(constants) - texts :]
    return [*sorted(constants, key=lambda each: (each[1].dtype.name, -each[1].nbytes)), *behind]


def with_contents_behind(builder: flatbuffers.Builder, contents: Sequence[Content]) -> Pieces:
    """The finished FlatBuffer and, behind it, what its tables of schema.Buffer say."""
    head = builder.Output()
    parts, end = list[bytes | Array](), len(head)
    for offset, array in contents:
        begin = _aligned(end)
        parts += [bytes(begin - end), array]
        struct.pack_into("<Q", head, _field(head, len(head) - offset, _OFFSET), begin)
        end = begin + array.nbytes
    return Pieces([bytes(head), *parts])


def with_contents_within(
    builder: flatbuffers.Builder, contents: Sequence[Content], tables: Sequence[int], before: int
) -> Pieces:
    """The finished FlatBuffer with the contents as vectors in it.

    Args:
        builder: finished; the tables of schema.Buffer and that of schema.Model were built last.
        contents: what tables of schema.Buffer are to hold.
        tables: all of these, also those that hold nothing.
        before: the builder's offset before the first of these tables.
    """
    whole = builder.Output()
    split = len(whole) - before
    parts, end = list[bytes | Array](), split
    for offset, array in contents:
        begin = _aligned(end + 4)
        parts += [bytes(begin - end - 4) + struct.pack("<I", array.nbytes), array]
        place = _field(whole, len(whole) - offset, _DATA)
        struct.pack_into("<I", whole, place, begin - 4 - place)
        end = begin + array.nbytes
    moved = _aligned(end - split)
    parts.append(bytes(moved - (end - split)))
    _move_away(whole, split, moved, {len(whole) - offset for offset in tables})
    return Pieces([bytes(whole[:split]), *parts, bytes(whole[split:])])


def _move_away(whole: bytearray, split: int, moved: int, tables: set[int]) -> None:
    """Let the first tables find what lies behind the place `split`, and moves by so many bytes."""
    root: int = struct.unpack_from("<I", whole, 0)[0]
    fields = [_field(whole, root, slot) for slot in _ELSEWHERE if _has(whole, root, slot)]
    for place in fields:
        struct.pack_into("<I", whole, place, struct.unpack_from("<I", whole, place)[0] + moved)
    for table in tables | {root}:
        distance = struct.unpack_from("<i", whole, table)[0]
        if table - distance >= split:
            struct.pack_into("<i", whole, table, distance - moved)


def _aligned(place: int) -> int:
    return -(-place // ALIGNMENT) * ALIGNMENT


def _field(content: bytearray, table: int, slot: int) -> int:
    """Where in the file a table has its field of that slot; where it begins if it has none."""
    vtable: int = table - struct.unpack_from("<i", content, table)[0]
    place: int = struct.unpack_from("<H", content, vtable + 4 + 2 * slot)[0]
    return table + place


def _has(content: bytearray, table: int, slot: int) -> bool:
    vtable: int = table - struct.unpack_from("<i", content, table)[0]
    size: int = struct.unpack_from("<H", content, vtable)[0]
    return 4 + 2 * slot < size and _field(content, table, slot) > table
