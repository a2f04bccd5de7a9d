"""Where the constants of a `.tflite` lie: runtimes that read them in place want multiples of 16 bytes."""

from pathlib import Path

from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types

ALIGNMENT = 16
"""`force_align` of the field `data` of a buffer, in LiteRT's schema."""

_DATA_SLOT = 4


def misaligned_buffers(path: Path) -> int:
    """How many buffers with content do not begin at a multiple of 16 bytes of the file."""
    model = schema.Model.GetRootAs(path.read_bytes())
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    return sum(_place(buffer) % ALIGNMENT != 0 for buffer in buffers)


def _place(buffer: schema.Buffer) -> int:
    """Where its content begins, as a distance from the beginning of the file; 0 if there is none.

    A very large file has it behind all tables, at the offset that the buffer names.
    """
    if buffer.Offset() > 1:
        return int(buffer.Offset())
    if not buffer.DataLength():
        return 0
    table = buffer._tab
    return int(table.Vector(number_types.UOffsetTFlags.py_type(table.Offset(_DATA_SLOT))))
