"""What a `.tflite` says of itself, in the form of metadata_schema.fbs (tensorflow/tflite-support).

The entry may be of any tool, and damaged: what is not sound is left out.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress

from flatbuffers.table import Table

from edgepress.text import one_line

ENTRY, _IDENTIFIER = "TFLITE_METADATA", b"M001"
_MOST, _LONGEST = 64, 1000
_TEXTS = {"name": 0, "version": 2, "description": 1, "author": 4, "license": 5}
"""Slots of ModelMetadata."""

_SUBGRAPHS, _INPUTS, _OUTPUTS, _FILES = 3, 2, 3, 6
_DAMAGE = (struct.error, ValueError, IndexError, TypeError, OverflowError)


def said_by_tflite(metadata: Mapping[str, bytes]) -> dict[str, str]:
    """The texts on the model, and on its inputs and outputs, of a file with these entries."""
    content = metadata.get(ENTRY, b"")
    if content[4:8] != _IDENTIFIER:
        return {}
    found = dict[str, str]()
    with suppress(*_DAMAGE):
        found.update(_told(content))
    return found


def _told(content: bytes) -> Iterator[tuple[str, str]]:
    root = Table(content, struct.unpack_from("<I", content)[0])
    for key, slot in _TEXTS.items():
        if text := _text(root, slot):
            yield key, text
    for graph in _tables(root, _SUBGRAPHS):
        for kind, slot in (("input", _INPUTS), ("output", _OUTPUTS)):
            for tensor in _tables(graph, slot):
                files = [f"labels in {_text(file, 0)}" for file in _tables(tensor, _FILES)]
                parts = list(filter(None, [_text(tensor, 1), *files]))
                if parts:
                    yield f"{kind} {_text(tensor, 0)}".strip(), "; ".join(parts)


def _text(table: Table, slot: int) -> str:
    place = table.Offset(4 + 2 * slot)
    if not place:
        return ""
    return one_line(table.String(place + table.Pos)[: 4 * _LONGEST].decode(errors="replace"), _LONGEST)


def _tables(table: Table, slot: int) -> Iterator[Table]:
    place = table.Offset(4 + 2 * slot)
    if place:
        begin = table.Vector(place)
        for number in range(min(table.VectorLen(place), _MOST)):
            yield Table(table.Bytes, table.Indirect(begin + 4 * number))
