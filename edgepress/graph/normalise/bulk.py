"""How much memory a parsed model takes: an empty part is two bytes in a file, and hundreds in memory."""

from typing import Any

import onnx

from edgepress.files import SPARE_BYTES

Content = bytes | memoryview

_PART_BYTES = 200
"""About what protobuf takes for a message, beside what it holds; measured: 150 to 190."""

_LEAST_BYTES = 2
"""Of a part in the file: its number and its length."""

_TEXT_BYTES, _NUMBER_BYTES = 40, 16
_LONGEST_VARINT = 10


def require_proportion(content: bytes, size: int) -> None:
    """Refuse a model of so many small parts that it would take far more memory than its `size` bytes.

    `content` is the file, or all of it but the raw data of some weights, which are no small parts.

    Parts are counted by walking the file as protobuf's wire format has it (protobuf.dev/programming-guides/
    encoding); what is not in that format ends the walk, since the parser will refuse it.

    Raises:
        ValueError: in a few words.
    """
    room = SPARE_BYTES + size
    if len(content) // _LEAST_BYTES * _PART_BYTES <= room:  # whatever it consists of
        return
    waiting: list[tuple[int, int, Any]] = [(0, len(content), onnx.ModelProto.DESCRIPTOR)]
    while waiting:
        place, end, kind = waiting.pop()
        while place < end:
            tag, place = varint(content, place)
            wire, field = tag & 7, kind.fields_by_number.get(tag >> 3)
            inner = field.message_type if field is not None else None
            if wire == 2:
                length, place = varint(content, place)
                if length > end - place:
                    return
                if inner is not None:
                    waiting.append((place, place + length, inner))
                room -= _PART_BYTES if inner is not None else _TEXT_BYTES
                place += length
            elif wire in _FIXED:
                room -= _NUMBER_BYTES
                place = varint(content, place)[1] if wire == 0 else place + _FIXED[wire]
            if room < 0:
                raise ValueError(f"far too many small parts for a file of {size:,} bytes")


_FIXED = {0: 0, 1: 8, 5: 4}
"""Bytes of a number, by its wire type; 0 has as many as it needs."""


def varint(content: Content, place: int) -> tuple[int, int]:
    """A number of as many bytes as it needs, and the place behind it."""
    value = 0
    for index, byte in enumerate(content[place : place + _LONGEST_VARINT]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, place + index + 1
    return 0, len(content)
