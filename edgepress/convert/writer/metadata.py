"""TFLite metadata: what an application must know of a network, in the form that its tools read.

The tables are those of metadata_schema.fbs 1.5.0 (tensorflow/tflite-support,
tensorflow_lite_support/metadata), built by their slots: no maintained package has classes for them. The file
of labels is in a zip behind the model, uncompressed, as the readers of the Task Library want it; its places
count from the file's beginning.

Since it has to fit on microcontrollers, it tells of each stage's parameters the first one only. All of them
are in the ONNX models, which the version, a digest of them, belongs to.
"""

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers

from edgepress.convert.pieces import Pieces
from edgepress.convert.writer.file import to_pieces
from edgepress.convert.writer.graph import Graph, Tensor
from edgepress.files import parse_json
from edgepress.graph.about import MADE_BY, values

ENTRY = "TFLITE_METADATA"
LABELS = "labels.txt"

_IDENTIFIER, _MIN_PARSER_VERSION = b"M001", "1.0.0"
_FEATURE, _IMAGE = 1, 2
"""Of the union ContentProperties."""

_NORMALISATION, _AXIS_LABELS = 1, 2
"""Of the union ProcessUnitOptions, and of AssociatedFileType."""

_COLOURS = {"rgb": 1, "grayscale": 2}
_SUBGRAPH, _TENSOR, _MODEL = (10, 7, 8)
"""How many fields the tables SubGraphMetadata, TensorMetadata and ModelMetadata have."""

_LISTED = 4
_DAY = (1980, 1, 1, 0, 0, 0)


def explained(graph: Graph, about: Mapping[str, str]) -> Pieces:
    """A network's file with metadata and, where an output has that many elements, the labels of the classes.

    `about` is what the network says of itself, as `edgepress.graph.about` has it.
    """
    made = _Metadata(about)
    pieces = to_pieces(graph, metadata={ENTRY: made.model(graph)})
    if not made.labelled:
        return pieces
    return Pieces([*pieces.parts, zipped_labels(labels_of(about), pieces.size)])


def labels_of(about: Mapping[str, str]) -> list[str]:
    """The names of the classes, none where the model does not say."""
    try:
        found = parse_json(about.get("labels", "[]"))
    except ValueError:
        return []
    return list(map(str, found)) if isinstance(found, list) else []


def zipped_labels(labels: Sequence[str], place: int) -> bytes:
    """The zip with the file of labels, a line for each, that begins at a place of the model's file."""
    file = _Behind(place)
    with zipfile.ZipFile(file, "w") as archive:
        lines = "".join(" ".join(label.splitlines()) + "\n" for label in labels)
        archive.writestr(zipfile.ZipInfo(LABELS, _DAY), lines.encode(errors="replace"))
    return file.getvalue()


class _Behind(io.BytesIO):
    """What is written behind so many bytes that are there already."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self._place = place

    def tell(self) -> int:
        return super().tell() + self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return super().seek(offset - (self._place if whence == io.SEEK_SET else 0), whence) + self._place


class _Metadata:
    """Builds the tables; a field is its slot and what adds it to the builder."""

    def __init__(self, about: Mapping[str, str]) -> None:
        self._about, self._builder = about, flatbuffers.Builder(1024)
        self._labels, self._input, self.labelled = labels_of(about), values(about, "input"), False

    def model(self, graph: Graph) -> bytes:
        about, b = self._about, self._builder
        inputs = [
            self._entry(name, tensor) for name, tensor in zip(graph.input_names, graph.inputs, strict=True)
        ]
        single = len(graph.outputs) == 1
        outputs = [
            self._output(name, tensor, single)
            for name, tensor in zip(graph.output_names, graph.outputs, strict=True)
        ]
        subgraph = self._table(_SUBGRAPH, [self._vector_field(2, inputs), self._vector_field(3, outputs)])
        texts = {slot: about.get(key, "") for slot, key in ((0, "name"), (2, "version"), (4, "author"))}
        texts |= {1: self._description(), 5: about.get("license", ""), 7: _MIN_PARSER_VERSION}
        fields = [self._text_field(slot, text) for slot, text in texts.items() if text]
        b.Finish(self._table(_MODEL, [*fields, self._vector_field(3, [subgraph])]), _IDENTIFIER)
        return bytes(b.Output())

    def _description(self) -> str:
        """The description, and what made the network."""
        made = [_short(stage, told) for stage, told in values(self._about, MADE_BY).items()]
        return ". ".join(filter(None, [self._about.get("description", ""), "; ".join(filter(None, made))]))

    def _entry(self, name: str, tensor: Tensor) -> int:
        """An input: raw values, which an application is not to normalise."""
        known = self._input
        fields = [self._text_field(0, name), self._content(tensor)]
        if told := _scaling(known):
            fields.append(self._text_field(1, told))
            options = self._table(2, [self._floats_field(0, [0.0]), self._floats_field(1, [1.0])])
            unit = self._table(2, [_byte_field(0, _NORMALISATION), _offset_field(1, options)])
            fields.append(self._vector_field(4, [unit]))
        limits = (known.get("ranges") or {}).get(name, known.get("range"))
        if isinstance(limits, list) and len(limits) == 2 and all(isinstance(v, int | float) for v in limits):
            low, high = limits
            stats = self._table(2, [self._floats_field(0, [high]), self._floats_field(1, [low])])
            fields.append(_offset_field(5, stats))
        return self._table(_TENSOR, fields)

    def _output(self, name: str, tensor: Tensor, single: bool) -> int:
        fields = [self._text_field(0, name)]
        if single and (told := self._about.get("output")):
            fields.append(self._text_field(1, told))
        if single and self._labels and tensor.shape[-1:] == (len(self._labels),):
            file = self._table(5, [self._text_field(0, LABELS), _byte_field(2, _AXIS_LABELS)])
            fields.append(self._vector_field(6, [file]))
            self.labelled = True
        return self._table(_TENSOR, fields)

    def _content(self, tensor: Tensor) -> Any:
        colour = _COLOURS.get(str(self._input.get("color")), 0)
        if len(tensor.shape) == 4 and colour:
            kind, properties = _IMAGE, self._table(2, [_byte_field(0, colour)])
        else:
            kind, properties = _FEATURE, self._table(0, [])
        content = self._table(3, [_byte_field(0, kind), _offset_field(1, properties)])
        return _offset_field(3, content)

    # Fields

    def _table(self, size: int, fields: Sequence[Callable[[flatbuffers.Builder], None]]) -> int:
        self._builder.StartObject(size)
        for add in fields:
            add(self._builder)
        return int(self._builder.EndObject())

    def _text_field(self, slot: int, text: str) -> Callable[[flatbuffers.Builder], None]:
        return _offset_field(slot, int(self._builder.CreateSharedString(text, "utf-8", "replace")))

    def _floats_field(self, slot: int, numbers: Sequence[float]) -> Callable[[flatbuffers.Builder], None]:
        b = self._builder
        b.StartVector(4, len(numbers), 4)
        for number in reversed(numbers):
            b.PrependFloat32(number)
        return _offset_field(slot, int(b.EndVector()))

    def _vector_field(self, slot: int, tables: Sequence[int]) -> Callable[[flatbuffers.Builder], None]:
        b = self._builder
        b.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            b.PrependUOffsetTRelative(table)
        return _offset_field(slot, int(b.EndVector()))


def _offset_field(slot: int, offset: int) -> Callable[[flatbuffers.Builder], None]:
    return lambda builder: builder.PrependUOffsetTRelativeSlot(slot, offset, 0)


def _byte_field(slot: int, number: int) -> Callable[[flatbuffers.Builder], None]:
    return lambda builder: builder.PrependUint8Slot(slot, number, 0)


def _scaling(known: Mapping[str, Any]) -> str:
    """What an application must know of an input's values."""
    parts = [known[key] for key in ("mean", "std") if isinstance(known.get(key), list)]
    if len(parts) != 2 or not all(isinstance(v, int | float) for part in parts for v in part):
        return "raw values" if known else ""
    mean, std = (", ".join(f"{v:.6g}" for v in part[:_LISTED]) for part in parts)
    more = ", …" if len(parts[0]) > _LISTED else ""
    return f"raw values; the network scales them: mean {mean}{more}, std {std}{more}"


def _short(stage: str, told: Any) -> str:
    """What was chosen for a stage, and the first number of its parameters.

    Data and network are not named again: these are the name of it all.
    """
    if not isinstance(told, dict):
        return f"{stage}={told}"
    names = [] if stage in ("data", "model") else [f"{stage}={told['name']}" if "name" in told else stage]
    numbers = [f"{key}={value}" for key, value in told.items() if type(value) in (int, float)]
    return " ".join([*names, *numbers[:1]])
